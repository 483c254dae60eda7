"""Conformal prediction sets in scikit-learn's manner.

>>> import numpy as np
>>> from lyceum.conformal import RAPS
>>> rng = np.random.default_rng(0)
>>> labels = rng.integers(0, 10, 2000)
>>> logits = rng.normal(size=(2000, 10)); logits[np.arange(2000), labels] += 2
>>> raps = RAPS(alpha=0.1, random_state=0).fit(logits[:1000], labels[:1000])
>>> sets = raps.predict(logits[1000:])
>>> len(sets), bool(raps.score(logits[1000:], labels[1000:]) > 0.85)
(1000, True)
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _native
from ._arrays import array, seed

__all__ = [
    "APS", "LAC", "RAPS", "SAPS", "ClassConditional", "Coverage", "CrossConformal", "Mondrian", "Naive", "NotFittedError", "Online",
    "PredictionSets", "TopK", "Weighted", "control_risk", "cqr", "fit_temperature", "jackknife_plus", "learn_then_test", "p_values",
    "split_interval",
]


class NotFittedError(ValueError, AttributeError):
    """A method that needs a fitted estimator was called before `fit`."""


class Coverage(NamedTuple):
    """The share of sets that hold the true label, with an exact 95 % (Clopper-Pearson) interval."""

    share: float
    low: float
    high: float


class PredictionSets:
    """The sets of many points in compressed rows: point i has ``indices[indptr[i]:indptr[i + 1]]``, most likely first.

    >>> sets = PredictionSets(np.array([0, 2, 3]), np.array([4, 1, 0], dtype=np.int32), classes=5)
    >>> sets[0], len(sets), sets.sizes
    (array([4, 1], dtype=int32), 2, array([2, 1]))
    >>> sets.mask().astype(int).tolist()
    [[0, 1, 0, 0, 1], [1, 0, 0, 0, 0]]
    """

    def __init__(self, indptr: NDArray[np.int64], indices: NDArray[np.int32], classes: int) -> None:
        if len(indptr) == 0 or indptr[0] != 0 or indptr[-1] != len(indices) or (np.diff(indptr) < 0).any():
            raise ValueError(f"indptr: found {indptr!r}; allowed: numbers that rise from 0 to {len(indices)}, the number of indices")
        self.indptr = indptr
        self.indices = indices
        self.classes = classes

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @overload
    def __getitem__(self, point: int) -> NDArray[np.int32]: ...
    @overload
    def __getitem__(self, point: slice) -> list[NDArray[np.int32]]: ...
    def __getitem__(self, point: Union[int, slice]) -> Any:
        if isinstance(point, slice):
            return [self[i] for i in range(*point.indices(len(self)))]
        if not -len(self) <= point < len(self):
            raise IndexError(f"point {point} of {len(self)}")
        point %= len(self)
        return self.indices[self.indptr[point] : self.indptr[point + 1]]

    def __iter__(self) -> Iterator[NDArray[np.int32]]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, label: object) -> bool:
        raise TypeError("ask one point's set: `label in sets[i]`, or all at once: `sets.covers(labels)`")

    def __repr__(self) -> str:
        return f"PredictionSets({len(self)} points, {self.sizes.mean() if len(self) else 0:.3f} labels on average)"

    @property
    def sizes(self) -> NDArray[np.int64]:
        """How many labels each set has."""
        return np.diff(self.indptr)

    def mask(self) -> NDArray[np.bool_]:
        """A dense matrix, points by classes, true where the label is in the set."""
        dense = np.zeros((len(self), self.classes), dtype=bool)
        dense[np.repeat(np.arange(len(self)), self.sizes), self.indices] = True
        return dense

    def covers(self, labels: ArrayLike) -> NDArray[np.bool_]:
        """Whether each set holds the true label."""
        labels = self._truth(labels)
        hits = self.indices == np.repeat(labels, self.sizes)
        covered = np.zeros(len(self), dtype=bool)
        covered[np.repeat(np.arange(len(self)), self.sizes)[hits]] = True
        return covered

    def coverage(self, labels: ArrayLike) -> Coverage:
        """The share of sets that hold the true label, with its exact interval."""
        return Coverage(*_native.coverage_interval(self.indptr, self.indices, self._truth(labels)))

    def sscv(self, labels: ArrayLike, alpha: float) -> float:
        """The size-stratified coverage violation: the largest |coverage - (1 - alpha)| over sets of like size."""
        if not 0.0 < alpha < 1.0:
            raise ValueError(f"alpha: found {alpha}; allowed: a number between 0 and 1")
        return _native.sscv(self.indptr, self.indices, self._truth(labels), alpha)

    def _truth(self, labels: ArrayLike) -> NDArray[np.int64]:
        truth = array(labels, np.int64, 1, "labels")
        if len(truth) != len(self):
            raise ValueError(f"labels: found {len(truth)}; allowed: one for each of {len(self)} sets")
        return truth


class _Estimator:
    """What scikit-learn asks of an estimator, without needing scikit-learn."""

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The options by name."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Any:
        """Changes options; the estimator must be fitted again."""
        for name, value in params.items():
            if name not in self._names():
                raise ValueError(f"{type(self).__name__} has no option {name!r}; allowed: {', '.join(self._names())}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        shown = [f"{name}={value!r}" for name, value in self.get_params().items() if value != defaults[name].default]
        return f"{type(self).__name__}({', '.join(shown)})"


class _Classifier(_Estimator):
    def __init__(
        self,
        alpha: float = 0.1,
        *,
        temperature: Union[float, Literal["fit"]] = 1.0,
        tuning_share: float = 0.3,
        randomization: Literal["exact", "conservative", "off"] = "exact",
        allow_empty: bool = True,
        random_state: Any = 0,
    ) -> None:
        self.alpha = alpha
        self.temperature = temperature
        self.tuning_share = tuning_share
        self.randomization = randomization
        self.allow_empty = allow_empty
        self.random_state = random_state

    def _score(self) -> Any:
        raise NotImplementedError

    def _tunes(self) -> bool:
        return False

    def _config(self, score: Any) -> dict[str, Any]:
        if self.randomization not in ("exact", "conservative", "off"):
            raise ValueError(f"randomization: found {self.randomization!r}; allowed: 'exact', 'conservative' or 'off'")
        return {
            "alpha": self.alpha,
            "score": score,
            "randomization": self.randomization,
            "allow_empty": self.allow_empty,
            "temperature": 1.0 if self.temperature == "fit" else self.temperature,
        }

    def _plain_config(self) -> str:
        """The options for schemes that keep no data apart for tuning."""
        if self._tunes() or self.temperature == "fit":
            raise ValueError(f"{self!r}: found options that are to be tuned; allowed: lam, k_reg and temperature given as numbers")
        return json.dumps(self._config(self._score()))

    def fit(self, logits: ArrayLike, y: ArrayLike) -> Any:
        """Calibrates on labelled examples that were not used for training.

        Parameters: `logits` (n x classes; log-probabilities will do), `y` (n labels from 0). Where the temperature or the
        penalty is to be chosen, a share `tuning_share` of the examples is kept apart for it.
        """
        z, labels = _logits(logits, "logits"), array(y, np.int64, 1, "y")
        if len(z) != len(labels):
            raise ValueError(f"y: found {len(labels)} labels; allowed: one for each of {len(z)} rows of logits")
        root = seed(self.random_state)
        config = self._config("aps" if self._tunes() else self._score())
        if self._tunes() or self.temperature == "fit":
            if not 0 < self.tuning_share < 1:
                raise ValueError(f"tuning_share: found {self.tuning_share}; allowed: a number > 0 and < 1")
            order = np.random.default_rng(root).permutation(len(z))
            cut = int(np.ceil(self.tuning_share * len(z)))
            tuning, rest = order[:cut], order[cut:]
            if self.temperature == "fit":
                config["temperature"] = _native.fit_temperature(z[tuning], labels[tuning])
            if self._tunes():
                adaptive = getattr(self, "tune", "size") == "adaptiveness"
                penalty, k_reg = _native.tune_raps(json.dumps(config), z[tuning], labels[tuning], adaptive, root)
                self.lambda_, self.k_reg_ = penalty, k_reg
                config["score"] = {"raps": {"lambda": penalty, "k_reg": k_reg}}
            z, labels = z[rest], labels[rest]
        self._model = _native.Conformal.calibrate(json.dumps(config), z, labels, root)
        self._fitted()
        return self

    def _fitted(self) -> None:
        self.threshold_ = self._model.threshold
        self.n_features_in_ = self._model.classes
        self.classes_ = np.arange(self._model.classes)
        self.temperature_ = json.loads(self._model.to_json())["config"]["temperature"]

    def predict(self, logits: ArrayLike) -> PredictionSets:
        """The set of each row of logits."""
        if not hasattr(self, "_model"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit(logits, y) first")
        z = _logits(logits, "logits")
        indptr, indices = self._model.predict(z, seed(self.random_state))
        return PredictionSets(indptr, indices, self._model.classes)

    def score(self, logits: ArrayLike, y: ArrayLike) -> float:
        """The coverage of the sets: the share that hold the true label."""
        return self.predict(logits).coverage(y).share

    def save(self, path: Union[str, PathLike[str]]) -> None:
        """Writes the fitted model as JSON, which `lyceum conformal predict` reads."""
        if not hasattr(self, "_model"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit(logits, y) first")
        Path(path).write_text(self._model.to_json())

    def load(self, path: Union[str, PathLike[str]]) -> Any:
        """Reads a model that `save` or `lyceum conformal calibrate` wrote; its options replace these."""
        self._model = _native.Conformal.from_json(Path(path).read_text())
        config = json.loads(self._model.to_json())["config"]
        for name in ("alpha", "randomization", "allow_empty", "temperature"):
            setattr(self, name, config[name])
        self._fitted()
        return self

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if "_model" in state:
            state["_model"] = state["_model"].to_json()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_model" in state:
            self._model = _native.Conformal.from_json(state["_model"])


class RAPS(_Classifier):
    """Regularised adaptive prediction sets (Angelopoulos, Bates, Malik and Jordan, ICLR 2021).

    E(x, y, u) = mass above y + u * mass of y + lam * max(0, rank of y - k_reg); a label is in the set if its score is at
    most the threshold. `lam` and `k_reg` are chosen on a share of the data for small sets (``tune="size"``) or for equal
    coverage of small and large ones (``tune="adaptiveness"``) unless both are given.
    """

    def __init__(
        self,
        alpha: float = 0.1,
        *,
        lam: Union[float, None] = None,
        k_reg: Union[int, None] = None,
        tune: Literal["size", "adaptiveness"] = "size",
        temperature: Union[float, Literal["fit"]] = 1.0,
        tuning_share: float = 0.3,
        randomization: Literal["exact", "conservative", "off"] = "exact",
        allow_empty: bool = True,
        random_state: Any = 0,
    ) -> None:
        super().__init__(
            alpha,
            temperature=temperature,
            tuning_share=tuning_share,
            randomization=randomization,
            allow_empty=allow_empty,
            random_state=random_state,
        )
        self.lam = lam
        self.k_reg = k_reg
        self.tune = tune

    def _tunes(self) -> bool:
        if (self.lam is None) != (self.k_reg is None):
            raise ValueError("lam and k_reg: found one of them; allowed: both or neither")
        if self.tune not in ("size", "adaptiveness"):
            raise ValueError(f"tune: found {self.tune!r}; allowed: 'size' or 'adaptiveness'")
        return self.lam is None

    def _score(self) -> Any:
        return {"raps": {"lambda": self.lam, "k_reg": self.k_reg}}


class APS(_Classifier):
    """Adaptive prediction sets (Romano, Sesia and Candes 2020): RAPS without penalty."""

    def _score(self) -> Any:
        return "aps"


class LAC(_Classifier):
    """Least ambiguous classifiers (Sadinle, Lei and Wasserman 2019), also THR: the score 1 - p. Smallest on average."""

    def _score(self) -> Any:
        return "lac"


class TopK(_Classifier):
    """Sets of one size, mixed by chance between two neighbouring sizes."""

    def _score(self) -> Any:
        return "top-k"


class Naive(_Classifier):
    """The labels whose probabilities add up to 1 - alpha: not calibrated, without the guarantee. A baseline."""

    def _score(self) -> Any:
        return "naive"


class SAPS(_Classifier):
    """Sorted adaptive prediction sets (Huang et al. 2024): only the largest probability and the rank count."""

    def __init__(
        self,
        alpha: float = 0.1,
        *,
        weight: float = 0.1,
        temperature: Union[float, Literal["fit"]] = 1.0,
        tuning_share: float = 0.3,
        randomization: Literal["exact", "conservative", "off"] = "exact",
        allow_empty: bool = True,
        random_state: Any = 0,
    ) -> None:
        super().__init__(
            alpha,
            temperature=temperature,
            tuning_share=tuning_share,
            randomization=randomization,
            allow_empty=allow_empty,
            random_state=random_state,
        )
        self.weight = weight

    def _score(self) -> Any:
        return {"saps": {"weight": self.weight}}


def fit_temperature(logits: ArrayLike, y: ArrayLike) -> float:
    """The temperature T that minimises the log-loss of softmax(logits / T)."""
    return _native.fit_temperature(_logits(logits, "logits"), array(y, np.int64, 1, "y"))


def p_values(method: _Classifier, logits: ArrayLike, y: ArrayLike, new_logits: ArrayLike) -> NDArray[np.float64]:
    """The p-value of every label of every row of `new_logits`: (1 + #{calibration scores >= its score})/(n + 1).

    The labels with p > alpha are the set at any alpha. `method` says how labels are scored; its constants must be given.

    >>> logits = np.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1, 1]] * 4.0
    >>> p_values(LAC(), logits, [0, 1, 2, 0, 1, 2, 0, 1, 2], [[4.0, 0.0, 0.0]]).round(1).tolist()
    [[1.0, 0.2, 0.2]]
    """
    z, labels = _logits(logits, "logits"), array(y, np.int64, 1, "y")
    return _native.p_values(method._plain_config(), z, labels, _logits(new_logits, "new_logits"), seed(method.random_state))


class _Scheme(_Estimator):
    method: Any
    _model: Any

    def _fitted_model(self) -> Any:
        if not hasattr(self, "_model"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit first")
        return self._model

    def _sets(self, arrays: tuple[NDArray[np.int64], NDArray[np.int32]]) -> PredictionSets:
        return PredictionSets(*arrays, self.n_features_in_)

    def _data(self, logits: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        z, labels = _logits(logits, "logits"), array(y, np.int64, 1, "y")
        if len(z) != len(labels):
            raise ValueError(f"y: found {len(labels)} labels; allowed: one for each of {len(z)} rows of logits")
        self.n_features_in_ = z.shape[1]
        return z, labels


class ClassConditional(_Scheme):
    """Coverage 1 - alpha among the examples of every class, with any score.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> labels = rng.integers(0, 3, 3000)
    >>> logits = rng.normal(size=(3000, 3)); logits[np.arange(3000), labels] += 1
    >>> sets = ClassConditional(LAC(0.1)).fit(logits[:2000], labels[:2000]).predict(logits[2000:])
    >>> bool(min(sets.covers(labels[2000:])[labels[2000:] == c].mean() for c in range(3)) > 0.85)
    True

    With `clusters`, classes with like scores share a threshold (Ding et al. 2023), for many rare classes; a share
    `clustering_share` of the examples is used to find them.
    """

    def __init__(self, method: Union[_Classifier, None] = None, *, clusters: Union[int, None] = None, clustering_share: float = 0.3) -> None:
        self.method = method if method is not None else LAC()
        self.clusters = clusters
        self.clustering_share = clustering_share

    def fit(self, logits: ArrayLike, y: ArrayLike) -> "ClassConditional":
        """Calibrates on held-out logits (n x classes) and labels."""
        z, labels = self._data(logits, y)
        config, root = self.method._plain_config(), seed(self.method.random_state)
        self._model = _native.ClassConditional.calibrate(config, self.clusters, self.clustering_share, z, labels, root)
        self.thresholds_, self.clusters_ = self._model.thresholds, self._model.clusters
        return self

    def predict(self, logits: ArrayLike) -> PredictionSets:
        """The set of each row of logits."""
        return self._sets(self._fitted_model().predict(_logits(logits, "logits"), seed(self.method.random_state)))


class Mondrian(_Scheme):
    """Coverage 1 - alpha within every group of examples (groups are whole numbers from 0), with any score."""

    def __init__(self, method: Union[_Classifier, None] = None) -> None:
        self.method = method if method is not None else LAC()

    def fit(self, logits: ArrayLike, y: ArrayLike, groups: ArrayLike) -> "Mondrian":
        """Calibrates on held-out logits, labels and the group of each example."""
        z, labels = self._data(logits, y)
        config, root = self.method._plain_config(), seed(self.method.random_state)
        self._model = _native.Mondrian.calibrate(config, z, labels, array(groups, np.int64, 1, "groups"), root)
        self.thresholds_ = self._model.thresholds
        return self

    def predict(self, logits: ArrayLike, groups: ArrayLike) -> PredictionSets:
        """The set of each row; a group that was not seen gets every label."""
        z, g = _logits(logits, "logits"), array(groups, np.int64, 1, "groups")
        return self._sets(self._fitted_model().predict(z, g, seed(self.method.random_state)))


class Weighted(_Scheme):
    """Coverage under covariate shift: each example has a weight, the likelihood ratio of the new distribution to that of
    the calibration data, up to a constant (Tibshirani et al. 2019)."""

    def __init__(self, method: Union[_Classifier, None] = None) -> None:
        self.method = method if method is not None else LAC()

    def fit(self, logits: ArrayLike, y: ArrayLike, weights: ArrayLike) -> "Weighted":
        """Calibrates on held-out logits, labels and the weight of each example."""
        z, labels = self._data(logits, y)
        config, root = self.method._plain_config(), seed(self.method.random_state)
        self._model = _native.Weighted.calibrate(config, z, labels, array(weights, np.float64, 1, "weights"), root)
        return self

    def predict(self, logits: ArrayLike, weights: ArrayLike) -> PredictionSets:
        """The set of each row, with the weight of each."""
        z, w = _logits(logits, "logits"), array(weights, np.float64, 1, "weights")
        return self._sets(self._fitted_model().predict(z, w, seed(self.method.random_state)))


class CrossConformal(_Scheme):
    """No data apart for calibration: K models, each trained without one fold of the training data."""

    def __init__(self, method: Union[_Classifier, None] = None) -> None:
        self.method = method if method is not None else LAC()

    def fit(self, logits: ArrayLike, y: ArrayLike, folds: ArrayLike) -> "CrossConformal":
        """From the logits of every training example by the model that did not see its fold, and the folds (from 0)."""
        z, labels = self._data(logits, y)
        config, root = self.method._plain_config(), seed(self.method.random_state)
        self._model = _native.CrossConformal.calibrate(config, z, labels, array(folds, np.int64, 1, "folds"), root)
        return self

    def predict(self, logits: ArrayLike) -> PredictionSets:
        """The set of each new example from its logits by each model (folds x n x classes)."""
        return self._sets(self._fitted_model().predict(_logits(logits, "logits", 3), seed(self.method.random_state)))


class Online:
    """Coverage on a stream that drifts: adaptive conformal inference (Gibbs and Candes 2021) over the last scores.

    >>> import numpy as np
    >>> online, rng = Online(alpha=0.1, gamma=0.02, window=200), np.random.default_rng(0)
    >>> covered = [online.observe(abs(rng.normal(scale=1 + t / 500))) for t in range(3000)]
    >>> bool(abs(np.mean(covered) - 0.9) < 0.02)
    True
    """

    def __init__(self, alpha: float = 0.1, gamma: float = 0.005, window: int = 500) -> None:
        self._native = _native.Online(alpha, gamma, window)

    @property
    def threshold(self) -> float:
        """What scores at most this is in the next set."""
        return self._native.threshold

    @property
    def level(self) -> float:
        """The level alpha now."""
        return self._native.level

    def observe(self, score: float) -> bool:
        """Learns the score of the truth; says whether the set held it."""
        return self._native.observe(float(score))


def split_interval(
    calibration: ArrayLike,
    y: ArrayLike,
    predictions: ArrayLike,
    alpha: float = 0.1,
    *,
    calibration_difficulty: Union[ArrayLike, None] = None,
    difficulty: Union[ArrayLike, None] = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Split conformal intervals for regression: predictions +- q, or +- q * difficulty.

    >>> low, high = split_interval([0] * 9, range(1, 10), [100.0])
    >>> low, high
    (array([91.]), array([109.]))
    """
    if (calibration_difficulty is None) != (difficulty is None):
        raise ValueError("difficulty: found it for one part of the data; allowed: for both or neither")
    known = None if calibration_difficulty is None else _numbers(calibration_difficulty, "calibration_difficulty")
    new = None if difficulty is None else _numbers(difficulty, "difficulty")
    center = _numbers(predictions, "predictions")
    return _native.split_interval(_numbers(calibration, "calibration"), known, _numbers(y, "y"), center, new, alpha)


def cqr(
    calibration_low: ArrayLike, calibration_high: ArrayLike, y: ArrayLike, low: ArrayLike, high: ArrayLike, alpha: float = 0.1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Conformalised quantile regression (Romano, Patterson and Candes 2019): the regression's quantiles, widened.

    Where the two quantiles cross, sort them first: ``np.sort(np.stack([low, high]), axis=0)``.

    >>> low, high = cqr([0.0] * 9, [4.0] * 9, range(1, 10), [1.0], [2.0])
    >>> low, high
    (array([-4.]), array([7.]))
    """
    ends = _ends(calibration_low, calibration_high, "calibration_low", "calibration_high")
    return _native.quantile_interval(ends, _numbers(y, "y"), _ends(low, high, "low", "high"), alpha)


def jackknife_plus(residuals: ArrayLike, predictions: ArrayLike, alpha: float = 0.1) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Jackknife+ and CV+ (Barber et al. 2021) from |y - prediction| of each training point by a model that did not see it,
    and the predictions of each new point by each of these models (new points x training points)."""
    return _native.jackknife_plus(_numbers(residuals, "residuals"), array(predictions, np.float64, 2, "predictions"), alpha)


def control_risk(losses: ArrayLike, alpha: float, bound: float = 1.0) -> Union[int, None]:
    """Conformal risk control: the first column (lambda, losses falling) at which a new point's expected loss is at most
    alpha; None where there is none. `losses` has a row for each calibration point, at most `bound`."""
    return _native.control_risk(array(losses, np.float64, 2, "losses"), alpha, bound)


def learn_then_test(losses: ArrayLike, alpha: float, delta: float = 0.1) -> list[int]:
    """Learn then test: the columns whose risk is at most alpha, all of them with probability 1 - delta; losses in [0, 1],
    columns from the safest on."""
    return _native.learn_then_test(array(losses, np.float64, 2, "losses"), alpha, delta)


def _numbers(values: ArrayLike, name: str) -> NDArray[np.float64]:
    return array(values, np.float64, 1, name)


def _ends(low: ArrayLike, high: ArrayLike, low_name: str, high_name: str) -> NDArray[np.float64]:
    a, b = _numbers(low, low_name), _numbers(high, high_name)
    if len(a) != len(b):
        raise ValueError(f"{high_name}: found {len(b)} values; allowed: as many as {low_name}: {len(a)}")
    return np.stack([a, b], axis=1)


def _logits(values: ArrayLike, name: str, ndim: int = 2) -> NDArray[np.float32]:
    """Logits as float32; of wider types each row less its maximum, so that what float32 rounds is the distance from it."""
    own = array(values, None, ndim, name)
    return own.astype(np.float32, copy=False) if own.dtype in (np.float16, np.float32) else _native.logits_from_f64(own.astype(np.float64, copy=False))
