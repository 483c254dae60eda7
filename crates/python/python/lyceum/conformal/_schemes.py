"""Coverage within classes and groups, under shift, over folds, on a stream."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _native
from .._arrays import array, seed
from ._classifiers import LAC, Calibrated, Classifier, warn_of_probabilities
from ._labels import codes, distinct, has_names, listed
from ._sets import PredictionSets


class _Scheme(Calibrated):
    """A scheme over the scores of a `method`, whose constants must be given."""

    method: Union[Classifier, None]
    _scheme: str

    def _method(self) -> Classifier:
        return LAC() if self.method is None else self.method

    def _classes(self) -> Union[Sequence[Any], None]:
        return self._method().classes

    def _seed(self) -> int:
        return seed(self._method().random_state)

    def _calibrate(
        self, logits: ArrayLike, y: ArrayLike, groups: Any = None, weights: Any = None, clusters: Union[tuple[int, float], None] = None
    ) -> None:
        z, labels = self._examples(logits, y)
        warn_of_probabilities(logits)
        config = self._method()._plain_config()
        self._model = _native.Predictor.calibrate(self._scheme, config, z, labels, self._seed(), groups, weights, clusters)
        self._fitted()

    def _adopt(self, model: Any) -> None:
        self.__dict__.pop("_names_of_groups", None)
        if model.scheme != self._scheme:
            raise ValueError(f"scheme: found {model.scheme}; allowed: {self._scheme}, which {type(self).__name__} is")
        if self.method is not None:
            self.method._take_options(json.loads(model.config))
        super()._adopt(model)

    def _predict(self, logits: ArrayLike, groups: Any = None, weights: Any = None) -> PredictionSets:
        z = self._new(logits)
        return self._sets(self._model.predict(z, self._seed(), groups, weights))


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

    _scheme = "class-conditional"

    def __init__(self, method: Union[Classifier, None] = None, *, clusters: Union[int, None] = None, clustering_share: float = 0.3) -> None:
        self.method = method
        self.clusters = clusters
        self.clustering_share = clustering_share

    def fit(self, logits: ArrayLike, y: ArrayLike) -> ClassConditional:
        """Calibrates on held-out logits (n x classes) and labels."""
        self._calibrate(logits, y, clusters=None if self.clusters is None else (self.clusters, self.clustering_share))
        return self

    def _fitted(self) -> None:
        self.thresholds_, self.clusters_ = self._model.thresholds, self._model.clusters

    def predict(self, logits: ArrayLike) -> PredictionSets:
        """The set of each row of logits."""
        return self._predict(logits)

    def score(self, logits: ArrayLike, y: ArrayLike) -> float:
        """The coverage of the sets: the share that hold the true label."""
        return self.predict(logits).coverage(y).share


class Mondrian(_Scheme):
    """Coverage 1 - alpha within every group of examples, with any score. Groups are whole numbers from 0, or names.

    >>> logits, labels = np.eye(2)[[0, 1] * 50] * 3, [0, 1] * 50
    >>> mondrian = Mondrian(LAC(0.1)).fit(logits, labels, ["day", "night"] * 50)
    >>> mondrian.groups_.tolist(), len(mondrian.predict(logits[:3], ["day", "night", "dusk"])[2])
    (['day', 'night'], 2)
    """

    _scheme = "groups"

    def __init__(self, method: Union[Classifier, None] = None) -> None:
        self.method = method

    def fit(self, logits: ArrayLike, y: ArrayLike, groups: ArrayLike) -> Mondrian:
        """Calibrates on held-out logits, labels and the group of each example."""
        found = listed(groups, "groups")
        self._names_of_groups = distinct(found, "groups") if has_names(found) else None
        self._calibrate(logits, y, groups=self._numbers(groups))
        return self

    def _numbers(self, groups: ArrayLike) -> NDArray[np.int64]:
        names = getattr(self, "_names_of_groups", None)
        return array(groups, np.int64, 1, "groups") if names is None else codes(groups, names, "groups", unknown=True)

    def _fitted(self) -> None:
        self.thresholds_ = self._model.thresholds
        names = getattr(self, "_names_of_groups", None)
        self.groups_ = np.arange(len(self.thresholds_)) if names is None else names

    def predict(self, logits: ArrayLike, groups: ArrayLike) -> PredictionSets:
        """The set of each row; a group that was not seen gets every label."""
        self._check_is_fitted()
        return self._predict(logits, groups=self._numbers(groups))


class Weighted(_Scheme):
    """Coverage under covariate shift: each example has a weight, the likelihood ratio of the new distribution to that of
    the calibration data, up to a constant (Tibshirani et al. 2019)."""

    _scheme = "weighted"

    def __init__(self, method: Union[Classifier, None] = None) -> None:
        self.method = method

    def fit(self, logits: ArrayLike, y: ArrayLike, weights: ArrayLike) -> Weighted:
        """Calibrates on held-out logits, labels and the weight of each example."""
        self._calibrate(logits, y, weights=array(weights, np.float64, 1, "weights"))
        return self

    def predict(self, logits: ArrayLike, weights: ArrayLike) -> PredictionSets:
        """The set of each row, with the weight of each."""
        return self._predict(logits, weights=array(weights, np.float64, 1, "weights"))


class CrossConformal(_Scheme):
    """No data apart for calibration: K models, each trained without one fold of the training data."""

    _native_type = _native.CrossConformal
    _scheme = "cross"

    def __init__(self, method: Union[Classifier, None] = None) -> None:
        self.method = method

    def fit(self, logits: ArrayLike, y: ArrayLike, folds: ArrayLike) -> CrossConformal:
        """From the logits of every training example by the model that did not see its fold, and the folds (from 0)."""
        z, labels = self._examples(logits, y)
        config = self._method()._plain_config()
        self._model = _native.CrossConformal.calibrate(config, z, labels, array(folds, np.int64, 1, "folds"), self._seed())
        return self

    def predict(self, logits: ArrayLike) -> PredictionSets:
        """The set of each new example from its logits by each model (folds x n x classes)."""
        z = self._new(logits, 3)
        return self._sets(self._model.predict(z, self._seed()))


class Online:
    """Coverage on a stream that drifts: adaptive conformal inference (Gibbs and Candes 2021) over the last scores.

    Parameters: `alpha`, the share of misses that is aimed at; `gamma`, the step by which the level follows; `window`, how many of the last
    scores count.

    >>> import numpy as np
    >>> online, rng = Online(alpha=0.1, gamma=0.02, window=200), np.random.default_rng(0)
    >>> covered = [online.observe(abs(rng.normal(scale=1 + t / 500))) for t in range(3000)]
    >>> bool(abs(np.mean(covered) - 0.9) < 0.02)
    True
    """

    def __init__(self, alpha: float = 0.1, gamma: float = 0.005, window: int = 500) -> None:
        self._arguments = (float(alpha), float(gamma), int(window))
        self._native = _native.Online(*self._arguments)

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

    def __getstate__(self) -> dict[str, Any]:
        return {"arguments": self._arguments, "level": self._native.level, "scores": self._native.scores}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._arguments = state["arguments"]
        self._native = _native.Online(*self._arguments)
        self._native.restore(state["level"], state["scores"])

    def __repr__(self) -> str:
        alpha, gamma, window = self._arguments
        return f"Online(alpha={alpha}, gamma={gamma}, window={window})"
