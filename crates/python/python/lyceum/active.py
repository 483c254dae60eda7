"""Active learning and active testing without bias (Farquhar, Gal and Rainforth, ICLR 2021).

>>> import numpy as np
>>> from lyceum.active import Sampler
>>> losses = np.where(np.arange(1000) % 10 == 0, 3.0, 0.1)
>>> sampler = Sampler(1000, proposal="proportional", random_state=1)
>>> taken = sampler.draw(losses + 0.2, 50)
>>> lure = sampler.estimate(losses[taken])
>>> naive = sampler.estimate(losses[taken], estimator="naive")
>>> bool(abs(lure.value - losses.mean()) < 0.1), bool(naive.value > 1)
(True, True)
"""

from __future__ import annotations

import os
import threading
import warnings
from os import PathLike
from typing import Any, Literal, NamedTuple, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _native
from ._arrays import array, seed
from ._options import dumped

__all__ = [
    "Estimate", "Sampler", "bald", "batch_bald", "distance", "entropy", "expected_loss", "k_center_greedy", "least_confidence",
    "margin", "variation_ratio",
]

Proposal = Literal["uniform", "proportional", "softmax", "epsilon-greedy"]
Estimator = Literal["lure", "pure", "naive"]


class Estimate(NamedTuple):
    """An estimate of the risk on the whole pool."""

    value: float
    standard_error: float
    effective_size: float
    largest_share: float
    low: float
    high: float


class Sampler:
    """Draws points from a pool without replacement and remembers with which probability.

    Parameters
    ----------
    pool_size
        how many points the pool has, labelled or not; test and validation data do not belong to it.
    proposal
        "uniform"; "proportional" to the scores; "softmax", q proportional to exp(inverse_temperature * s) with
        scores divided by their sum if `normalize`; "epsilon-greedy".
    clip
        every probability is raised to at least this over the number of points left.
    random_state
        what is drawn depends on it, the draws so far and the scores alone.

    Weights change with every draw, so they are computed when they are asked for.
    """

    def __init__(
        self,
        pool_size: int,
        proposal: Proposal = "proportional",
        *,
        inverse_temperature: float = 10_000.0,
        normalize: bool = True,
        epsilon: float = 0.1,
        clip: float = 0.0,
        random_state: Any = 0,
    ) -> None:
        options: Any = {
            "uniform": "uniform",
            "proportional": "proportional",
            "softmax": {"softmax": {"inverse_temperature": inverse_temperature, "normalize": normalize}},
            "epsilon-greedy": {"epsilon-greedy": {"epsilon": epsilon}},
        }
        if proposal not in options:
            raise ValueError(f"proposal: found {proposal!r}; allowed: {', '.join(map(repr, options))}")
        if not isinstance(pool_size, (int, np.integer)) or pool_size < 1:
            raise ValueError(f"pool_size: found {pool_size!r}; allowed: a whole number >= 1")
        if 32 * int(pool_size) > _memory():
            raise ValueError(f"pool_size: found {pool_size}; allowed: as many points as fit into memory, 32 bytes each")
        if not 0.0 <= clip <= 1.0:
            raise ValueError(f"clip: found {clip}; allowed: a number from 0 to 1")
        self.pool_size = int(pool_size)
        self._lock = threading.RLock()
        self._options = (dumped(options[proposal]), float(clip), seed(random_state))
        self._begin(np.empty(0, dtype=np.int64), np.empty(0))

    def _begin(self, indices: NDArray[np.int64], log_q: NDArray[np.float64]) -> None:
        proposal, clip, root = self._options
        self._native = _native.Sampler(proposal, self.pool_size, indices, log_q, clip, root)

    def draw(self, scores: Union[ArrayLike, None] = None, count: int = 1) -> NDArray[np.int64]:
        """Takes `count` points; `scores` has one number for each point of the pool (all alike if absent)."""
        if count < 0:
            raise ValueError(f"count: found {count}; allowed: a whole number >= 0")
        values = np.ones(self.pool_size) if scores is None else array(scores, np.float64, 1, "scores")
        with self._lock:
            return self._native.draw(values, count)

    @property
    def indices(self) -> NDArray[np.int64]:
        """The points taken so far, in their order."""
        with self._lock:
            return self._native.indices

    @property
    def log_q(self) -> NDArray[np.float64]:
        """ln q of each draw."""
        with self._lock:
            return self._native.log_q

    @property
    def remaining(self) -> NDArray[np.int64]:
        """The points that are left, by number."""
        left = np.ones(self.pool_size, dtype=bool)
        left[self.indices] = False
        return np.flatnonzero(left)

    def weights(self, estimator: Estimator = "lure") -> NDArray[np.float64]:
        """The weight of each draw: (1/M) sum(weights * losses) is unbiased for the pool. Do not divide by their sum."""
        with self._lock:
            return self._native.weights(estimator)

    def estimate(self, losses: ArrayLike, estimator: Estimator = "lure", level: float = 0.95) -> Estimate:
        """The risk on the whole pool from the loss at each draw, with its error and an interval by Student's t."""
        with self._lock:
            return Estimate(*self._native.estimate(array(losses, np.float64, 1, "losses"), estimator, level))

    def confidence_sequence(self, losses: ArrayLike, bound: float = 1.0, level: float = 0.95) -> tuple[float, float]:
        """An interval for the risk that holds whenever labelling is stopped; losses lie in [0, bound]."""
        with self._lock:
            return self._native.confidence_sequence(array(losses, np.float64, 1, "losses"), bound, level)

    def save(self, path: Union[str, PathLike[str]]) -> None:
        """Writes the record as JSON, whole or not at all; `lyceum active` reads it."""
        with self._lock:
            self._native.save(path)

    def load(self, path: Union[str, PathLike[str]]) -> "Sampler":
        """Goes on from a record."""
        pool_size, indices, log_q = _native.Sampler.read(path)
        if pool_size != self.pool_size:
            raise ValueError(f"pool_size: found {self.pool_size}; allowed: that of the record, {pool_size}")
        self._begin(indices, log_q)
        return self

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {"pool_size": self.pool_size, "options": self._options, "indices": self.indices, "log_q": self.log_q}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.pool_size, self._options, self._lock = state["pool_size"], state["options"], threading.RLock()
        self._begin(state["indices"], state["log_q"])

    def __repr__(self) -> str:
        return f"Sampler({len(self.indices)} of {self.pool_size} points taken)"


def _probabilities(values: ArrayLike, ndim: int, name: str) -> NDArray[np.float32]:
    """Probabilities; logits in their place are an error of the native side, rows that do not add up to 1 a warning."""
    found = array(values, np.float32, ndim, name)
    first = found.reshape(-1, found.shape[-1])[:1000] if found.size else found
    if found.size and first.min() >= 0 and not np.allclose(first.sum(-1), 1, atol=1e-2):
        warnings.warn(f"{name}: the rows do not add up to 1, as probabilities do", stacklevel=3)
    return found


def entropy(probabilities: ArrayLike) -> NDArray[np.float64]:
    """-sum p ln p of each row (n x classes)."""
    return _native.entropy(_probabilities(probabilities, 2, "probabilities"))


def least_confidence(probabilities: ArrayLike) -> NDArray[np.float64]:
    """1 - the largest probability of each row."""
    return _native.least_confidence(_probabilities(probabilities, 2, "probabilities"))


def margin(probabilities: ArrayLike) -> NDArray[np.float64]:
    """1 - the gap between the two largest probabilities of each row."""
    return _native.margin(_probabilities(probabilities, 2, "probabilities"))


def bald(samples: ArrayLike) -> NDArray[np.float64]:
    """Mutual information of label and parameters from posterior samples (K x n x classes).

    >>> bald([[[0.9, 0.1]], [[0.1, 0.9]]]).round(6)
    array([0.368064])
    """
    return _native.bald(_probabilities(samples, 3, "samples"))


def variation_ratio(samples: ArrayLike) -> NDArray[np.float64]:
    """The share of posterior samples (K x n x classes) that disagree with the most frequent class."""
    return _native.variation_ratio(_probabilities(samples, 3, "samples"))


def expected_loss(
    model: ArrayLike, surrogate: ArrayLike, loss: Literal["cross-entropy", "zero-one"] = "cross-entropy"
) -> NDArray[np.float64]:
    """The loss of `model` that a test expects if labels are distributed as `surrogate` says (both n x classes)."""
    if loss not in ("cross-entropy", "zero-one"):
        raise ValueError(f"loss: found {loss!r}; allowed: 'cross-entropy' or 'zero-one'")
    return _native.expected_loss(_probabilities(model, 2, "model"), _probabilities(surrogate, 2, "surrogate"), loss == "zero-one")


def distance(features: ArrayLike, taken: ArrayLike) -> NDArray[np.float64]:
    """sqrt(sum over taken points of squared distances) of each point; 1 where nothing is taken."""
    return _native.distance(_features(features), _points(taken))


def k_center_greedy(features: ArrayLike, count: int, taken: ArrayLike = ()) -> NDArray[np.int64]:
    """A core set: `count` points, each the one farthest from all that are taken."""
    return _native.k_center_greedy(_features(features), _points(taken), count)


def batch_bald(
    samples: ArrayLike, count: int, *, labellings: int = 10_000, random_state: Any = 0
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The batch with the largest joint mutual information (BatchBALD), and what each point adds to it."""
    return _native.batch_bald(_probabilities(samples, 3, "samples"), count, labellings, seed(random_state))


def _memory() -> float:
    """Bytes of memory that this machine has, where that can be told."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return float("inf")


def _points(taken: ArrayLike) -> NDArray[np.int64]:
    return array(taken, np.int64, 1, "taken")


def _features(features: ArrayLike) -> NDArray[np.float32]:
    found = array(features, np.float32, 2, "features")
    if not np.isfinite(found).all():
        row, column = np.argwhere(~np.isfinite(found))[0]
        raise ValueError(f"features, row {row}, column {column}: found {found[row, column]}; allowed: finite numbers")
    return found
