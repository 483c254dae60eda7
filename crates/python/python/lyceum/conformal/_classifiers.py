"""Split conformal prediction: one threshold for all."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _native
from .._arrays import array, seed
from .._options import dumped
from ._estimator import Estimator, logits_of
from ._labels import codes, distinct, has_names, listed
from ._sets import PredictionSets

Randomization = Literal["exact", "conservative", "off"]
C = TypeVar("C", bound="Calibrated")
T = TypeVar("T", bound="Classifier")


class OfLogits(Estimator):
    """What is fitted to logits and labels: the labels of the columns."""

    classes_: NDArray[Any]

    def _classes(self) -> Union[Sequence[Any], None]:
        raise NotImplementedError

    def _examples(self, logits: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Logits, and labels by the number of their column."""
        z = logits_of(logits, "logits")
        if y is None:
            raise ValueError("y: found None; allowed: labels. This estimator requires y to be passed, but the target y is None")
        labels, given = listed(y, "y"), self._classes()
        if len(z) != len(labels):
            raise ValueError(f"y: found {len(labels)} labels; allowed: one for each of {len(z)} rows of logits")
        self._learn_columns(logits, z.shape[1])
        if given is None and not has_names(labels):
            self.classes_ = np.arange(z.shape[1])
            return z, array(y, np.int64, 1, "y")
        self.classes_ = distinct(labels, "y") if given is None else np.asarray(given)
        if len(set(self.classes_.tolist())) < len(self.classes_):
            raise ValueError(f"classes: found {list(self.classes_)}; allowed: each label once")
        if len(self.classes_) != z.shape[1]:
            found = f"{len(self.classes_)} classes for {z.shape[1]} columns of logits"
            raise ValueError(f"y: found {found}; allowed: one for each. Give `classes`, the labels in the order of the columns")
        return z, codes(labels, self.classes_, "y")

    def _new(self, logits: ArrayLike, ndim: int = 2) -> NDArray[np.float32]:
        self._check_is_fitted()
        z = logits_of(logits, "logits", ndim)
        self._check_columns(logits, z.shape[-1], "logits")
        return z


class Calibrated(OfLogits):
    """What all that makes sets has: its model, and files."""

    _model: Any
    _native_type: Any = _native.Predictor
    _fitted_by = "_model"

    def _sets(self, arrays: tuple[NDArray[np.int64], NDArray[np.int32]]) -> PredictionSets:
        numbers = self.classes_.dtype.kind in "iu" and np.array_equal(self.classes_, np.arange(len(self.classes_)))
        return PredictionSets(*arrays, len(self.classes_), None if numbers else self.classes_)

    def _fitted(self) -> None:
        """Sets what is found by fitting, from the model."""

    def _adopt(self, model: Any) -> None:
        """Takes a model of a file, and its options."""
        self._model = model
        classes = model.classes
        self.n_features_in_ = classes
        given = self._classes()
        if given is not None and len(given) != classes:
            raise ValueError(f"classes: found {len(given)}; allowed: {classes}, as the model has")
        self.classes_ = np.arange(classes) if given is None else np.asarray(given)
        self._fitted()

    def save(self, path: Union[str, PathLike[str]]) -> None:
        """Writes the fitted model as JSON, which ``lyceum conformal predict`` reads; names of labels and groups are not in it."""
        self._check_is_fitted()
        Path(path).write_text(self._model.to_json())

    def load(self: C, path: Union[str, PathLike[str]]) -> C:
        """Reads a model that `save` or ``lyceum conformal calibrate`` wrote; its options replace these."""
        # What does not fit must leave everything as it was.
        other = copy.deepcopy(self)
        other.__dict__.pop("feature_names_in_", None)
        other._adopt(self._native_type.from_json(Path(path).read_text()))
        self.__dict__ = other.__dict__
        return self

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if "_model" in state:
            state["_model"] = state["_model"].to_json()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_model" in state:
            self._model = self._native_type.from_json(state["_model"])


class Classifier(Calibrated):
    """One threshold for all: what the scores share."""

    threshold_: float
    temperature_: float
    _kind: str

    def __init__(
        self,
        alpha: float = 0.1,
        *,
        temperature: Union[float, Literal["fit"]] = 1.0,
        tuning_share: float = 0.3,
        randomization: Randomization = "exact",
        allow_empty: bool = True,
        classes: Union[Sequence[Any], None] = None,
        random_state: Any = 0,
    ) -> None:
        self.alpha = alpha
        self.temperature = temperature
        self.tuning_share = tuning_share
        self.randomization = randomization
        self.allow_empty = allow_empty
        self.classes = classes
        self.random_state = random_state

    def _classes(self) -> Union[Sequence[Any], None]:
        return self.classes

    def _score(self) -> Any:
        return self._kind

    def _take_score(self, constants: Mapping[str, Any]) -> None:
        """The constants of a file's score as options."""

    def _tunes(self) -> bool:
        return False

    def _config(self, score: Any) -> dict[str, Any]:
        if self.randomization not in ("exact", "conservative", "off"):
            raise ValueError(f"randomization: found {self.randomization!r}; allowed: 'exact', 'conservative' or 'off'")
        return {
            "alpha": self.alpha,
            "score": score,
            "randomization": self.randomization,
            "allow_empty": bool(self.allow_empty),
            "temperature": 1.0 if self._fits_temperature() else self.temperature,
        }

    def _fits_temperature(self) -> bool:
        if isinstance(self.temperature, str) and self.temperature != "fit":
            raise ValueError(f"temperature: found {self.temperature!r}; allowed: a number > 0, or 'fit'")
        return isinstance(self.temperature, str)

    def _plain_config(self) -> str:
        """The options for schemes that keep no data apart for tuning."""
        if self._tunes() or self._fits_temperature():
            raise ValueError(f"{self!r}: found options that are to be tuned; allowed: lam, k_reg and temperature given as numbers")
        return dumped(self._config(self._score()))

    def fit(self: T, logits: ArrayLike, y: ArrayLike) -> T:
        """Calibrates on labelled examples that were not used for training.

        Parameters
        ----------
        logits
            n x classes; log-probabilities will do.
        y
            n labels: the numbers of their columns, or names. Names belong to the columns in their order unless `classes` says otherwise.
            Where the temperature or the penalty is to be chosen, a share `tuning_share` of the examples is kept apart for it.
        """
        root = seed(self.random_state)
        z, labels = self._examples(logits, y)
        warn_of_probabilities(logits)
        config = self._config("aps" if self._tunes() else self._score())
        if self._tunes() or self._fits_temperature():
            if not 0 < self.tuning_share < 1:
                raise ValueError(f"tuning_share: found {self.tuning_share}; allowed: a number > 0 and < 1")
            order = np.random.default_rng(root).permutation(len(z))
            cut = int(np.ceil(self.tuning_share * len(z)))
            tuning, rest = order[:cut], order[cut:]
            if self._fits_temperature():
                config["temperature"] = fit_temperature(z[tuning], labels[tuning])
            if self._tunes():
                adaptive = getattr(self, "tune", "size") == "adaptiveness"
                penalty, k_reg = _native.tune_raps(dumped(config), z[tuning], labels[tuning], adaptive, root)
                config["score"] = {"raps": {"lambda": penalty, "k_reg": k_reg}}
            z, labels = z[rest], labels[rest]
        self._scores = _native.calibration_scores(dumped(config), z, labels, root)
        self._model = _native.Predictor.from_scores(dumped(config), self._scores, z.shape[1])
        self._fitted()
        if np.isinf(self.threshold_) and len(z):
            needed = int(np.ceil(1 / self.alpha)) - 1
            warnings.warn(
                f"{len(z)} examples are too few for alpha {self.alpha}: every set holds every label. {needed} are enough", stacklevel=2
            )
        return self

    def _fitted(self) -> None:
        if self._model.scheme != "marginal":
            allowed = "a model with one threshold for all: ClassConditional, Mondrian and Weighted load the others"
            raise ValueError(f"scheme: found {self._model.scheme}; allowed: {allowed}")
        self.threshold_ = float(self._model.thresholds[0])
        config = json.loads(self._model.config)
        self.temperature_ = config["temperature"]
        if isinstance(config["score"], dict) and "raps" in config["score"]:
            self.lambda_, self.k_reg_ = config["score"]["raps"]["lambda"], config["score"]["raps"]["k_reg"]

    def _take_options(self, config: Mapping[str, Any]) -> None:
        """The options of a file."""
        score = config["score"]
        kind, constants = (score, {}) if isinstance(score, str) else next(iter(score.items()))
        if kind != self._kind:
            raise ValueError(f"score: found {kind}; allowed: {self._kind}, which {type(self).__name__} has")
        for name in ("alpha", "randomization", "allow_empty", "temperature"):
            setattr(self, name, config[name])
        self._take_score(constants)

    def _adopt(self, model: Any) -> None:
        self._take_options(json.loads(model.config))
        self.__dict__.pop("_scores", None)
        super()._adopt(model)

    @overload
    def predict(self, logits: ArrayLike, alpha: Union[float, None] = None) -> PredictionSets: ...

    @overload
    def predict(self, logits: ArrayLike, alpha: Sequence[float]) -> list[PredictionSets]: ...

    def predict(self, logits: ArrayLike, alpha: Union[float, Sequence[float], None] = None) -> Union[PredictionSets, list[PredictionSets]]:
        """The set of each row of logits, at another `alpha` than the estimator's if one is given; at several, the sets of each.

        >>> logits = np.random.default_rng(0).normal(size=(200, 3)) + 3 * np.eye(3)[np.arange(200) % 3]
        >>> [sets.sizes.mean().round(1) for sets in LAC().fit(logits, np.arange(200) % 3).predict(logits, alpha=[0.2, 0.01])]
        [np.float64(0.8), np.float64(1.0)]
        """
        z, root = self._new(logits), seed(self.random_state)
        wanted: Any = alpha
        levels = [wanted] if np.ndim(wanted) == 0 else list(wanted)
        found = [self._sets(self._model_at(level).predict(z, root, None, None)) for level in levels]
        return found[0] if np.ndim(wanted) == 0 else found

    def _model_at(self, alpha: Union[float, None]) -> Any:
        if alpha is None:
            return self._model
        if not hasattr(self, "_scores"):
            raise ValueError(f"alpha: found {alpha}; allowed: none, as the model came from a file, which holds one threshold")
        return _native.Predictor.from_scores(dumped({**json.loads(self._model.config), "alpha": alpha}), self._scores, self._model.classes)

    def score(self, logits: ArrayLike, y: ArrayLike) -> float:
        """The coverage of the sets: the share that hold the true label."""
        return self.predict(logits).coverage(y).share


def warn_of_probabilities(logits: Any) -> None:
    """Probabilities are no logits: softmax would make them nearly even."""
    first = array(logits.iloc[:1000] if hasattr(logits, "iloc") else logits[:1000], None, 2, "logits") if hasattr(logits, "shape") else np.zeros(0)
    if first.size and first.shape[1] > 1 and first.min() >= 0 and first.max() <= 1 and np.allclose(first.sum(1), 1, atol=1e-3):
        warnings.warn("the rows of `logits` add up to 1, as probabilities do: give logits, or log-probabilities", stacklevel=3)


class RAPS(Classifier):
    """Regularised adaptive prediction sets (Angelopoulos, Bates, Malik and Jordan, ICLR 2021).

    E(x, y, u) = mass above y + u * mass of y + lam * max(0, rank of y - k_reg); a label is in the set if its score is at
    most the threshold. `lam` and `k_reg` are chosen on a share of the data for small sets (``tune="size"``) or for equal
    coverage of small and large ones (``tune="adaptiveness"``) unless both are given.

    >>> rng = np.random.default_rng(0)
    >>> y = rng.choice(["cat", "dog", "owl"], 600)
    >>> logits = rng.normal(size=(600, 3)) + 2 * (y[:, None] == ["cat", "dog", "owl"])
    >>> raps = RAPS(alpha=0.2, classes=["cat", "dog", "owl"]).fit(logits[:300], y[:300])
    >>> bool(raps.score(logits[300:], y[300:]) > 0.7)
    True
    """

    _kind = "raps"

    def __init__(
        self,
        alpha: float = 0.1,
        *,
        lam: Union[float, None] = None,
        k_reg: Union[int, None] = None,
        tune: Literal["size", "adaptiveness"] = "size",
        temperature: Union[float, Literal["fit"]] = 1.0,
        tuning_share: float = 0.3,
        randomization: Randomization = "exact",
        allow_empty: bool = True,
        classes: Union[Sequence[Any], None] = None,
        random_state: Any = 0,
    ) -> None:
        super().__init__(
            alpha,
            temperature=temperature,
            tuning_share=tuning_share,
            randomization=randomization,
            allow_empty=allow_empty,
            classes=classes,
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

    def _take_score(self, constants: Mapping[str, Any]) -> None:
        self.lam, self.k_reg = constants["lambda"], constants["k_reg"]


class APS(Classifier):
    """Adaptive prediction sets (Romano, Sesia and Candes 2020): RAPS without penalty."""

    _kind = "aps"


class LAC(Classifier):
    """Least ambiguous classifiers (Sadinle, Lei and Wasserman 2019), also THR: the score 1 - p. Smallest on average."""

    _kind = "lac"


class TopK(Classifier):
    """Sets of one size, mixed by chance between two neighbouring sizes."""

    _kind = "top-k"


class Naive(Classifier):
    """The labels whose probabilities add up to 1 - alpha: not calibrated, without the guarantee. A baseline."""

    _kind = "naive"


class SAPS(Classifier):
    """Sorted adaptive prediction sets (Huang et al. 2024): only the largest probability and the rank count."""

    _kind = "saps"

    def __init__(
        self,
        alpha: float = 0.1,
        *,
        weight: float = 0.1,
        temperature: Union[float, Literal["fit"]] = 1.0,
        tuning_share: float = 0.3,
        randomization: Randomization = "exact",
        allow_empty: bool = True,
        classes: Union[Sequence[Any], None] = None,
        random_state: Any = 0,
    ) -> None:
        super().__init__(
            alpha,
            temperature=temperature,
            tuning_share=tuning_share,
            randomization=randomization,
            allow_empty=allow_empty,
            classes=classes,
            random_state=random_state,
        )
        self.weight = weight

    def _score(self) -> Any:
        return {"saps": {"weight": self.weight}}

    def _take_score(self, constants: Mapping[str, Any]) -> None:
        self.weight = constants["weight"]


def fit_temperature(logits: ArrayLike, y: ArrayLike) -> float:
    """The temperature T that minimises the log-loss of softmax(logits / T).

    Warns where it is at an edge of the range that is searched, from 0.001 to 1,000: labels then have nothing to do with the logits, or all
    of them are right.
    """
    found = _native.fit_temperature(logits_of(logits, "logits"), array(y, np.int64, 1, "y"))
    if not 0.00101 < found < 990:
        warnings.warn(f"the temperature {found:.3g} is at an edge of the range that is searched", stacklevel=2)
    return found


def scores(method: Classifier, logits: ArrayLike) -> NDArray[np.float64]:
    """The score of every label for each row (points x classes): a label is in the set if its score is at most the threshold. With
    :class:`Online` they make sets on a stream.

    >>> from lyceum.conformal import Online
    >>> online, found = Online(alpha=0.2), scores(LAC(), [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    >>> np.flatnonzero(found[0] <= online.threshold).tolist(), online.observe(found[0, 0])
    ([0, 1, 2], True)
    """
    return _native.scores(method._plain_config(), logits_of(logits, "logits"), seed(method.random_state))


def p_values(method: Classifier, logits: ArrayLike, y: ArrayLike, new_logits: ArrayLike) -> NDArray[np.float64]:
    """The p-value of every label for each new row (new points x classes): (1 + #{calibration scores >= its score})/(n + 1).

    The labels with p > alpha are the set at any alpha. `method` says how labels are scored; its constants must be given.

    >>> logits = np.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1, 1]] * 4.0
    >>> p_values(LAC(), logits, [0, 1, 2, 0, 1, 2, 0, 1, 2], [[4.0, 0.0, 0.0]]).round(1).tolist()
    [[1.0, 0.2, 0.2]]
    """
    z, labels = copy.copy(method)._examples(logits, y)
    return _native.p_values(method._plain_config(), z, labels, logits_of(new_logits, "new_logits"), seed(method.random_state))
