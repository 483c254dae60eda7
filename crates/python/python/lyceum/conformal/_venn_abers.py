"""OfLogits probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _native
from ._classifiers import OfLogits


class VennAbers(OfLogits):
    """Probabilities that are calibrated, with the interval that each is known to (Vovk and Petej 2014).

    A new point joins the calibration points once with and once without the label; isotonic regression gives p0 and p1, one of which is
    calibrated whatever made the logits. `predict_proba` merges them, p1 / (1 - p0 + p1). Of more than two labels each is held against all
    others, and what comes out is divided by its sum.

    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 900)
    >>> logits = 9 * (rng.normal(size=(900, 2)) + np.eye(2)[y])  # far too sure
    >>> model = VennAbers().fit(logits[:600], y[:600])
    >>> p, (low, high) = model.predict_proba(logits[600:])[:, 1], model.predict_intervals(logits[600:])
    >>> bool(abs(y[600:][p > 0.7].mean() - p[p > 0.7].mean()) < 0.06), low.shape, bool((low <= high).all())
    (True, (300, 2), True)
    """

    _fitted_by = "_models"

    def __init__(self, *, classes: Union[Sequence[Any], None] = None) -> None:
        self.classes = classes

    def _classes(self) -> Union[Sequence[Any], None]:
        return self.classes

    def fit(self, logits: ArrayLike, y: ArrayLike) -> VennAbers:
        """Calibrates on labelled examples that were not used for training: logits or log-probabilities (n x classes), labels as numbers of
        columns or names."""
        z, labels = self._examples(logits, y)
        scores, outside = self._scores(z), (labels < 0) | (labels >= z.shape[1])
        if outside.any():
            raise ValueError(f"y: found the label {labels[outside][0]}; allowed: 0 to {z.shape[1] - 1}, the numbers of the columns")
        self._calibration = (scores, labels)
        self._models = self._calibrated()
        return self

    def _calibrated(self) -> list[Any]:
        scores, labels = self._calibration
        return [_native.VennAbers(np.ascontiguousarray(column), labels == label) for label, column in self._each(scores)]

    def _each(self, scores: NDArray[np.float64]) -> Any:
        """The labels that are held against the others, with their scores; of two labels one is enough."""
        count = scores.shape[1]
        return [(1, scores[:, 1])] if count == 2 else [(label, scores[:, label]) for label in range(count)]

    @staticmethod
    def _scores(z: NDArray[np.float32]) -> NDArray[np.float64]:
        """The log-odds of each label against the others."""
        wide = z.astype(np.float64)
        if not np.isfinite(wide).all():
            raise ValueError(f"logits: found {int((~np.isfinite(wide)).sum())} numbers that are not finite (NaN or infinity); allowed: none")
        others = np.empty_like(wide)
        for label in range(wide.shape[1]):
            rest = np.delete(wide, label, axis=1)
            others[:, label] = np.logaddexp.reduce(rest, axis=1) if rest.shape[1] else 0.0
        return wide - others

    def predict_intervals(self, logits: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The lower and the upper probability of each label, p0 and p1: rows x classes each."""
        scores = self._scores(self._new(logits))
        low, high = np.empty(scores.shape), np.empty(scores.shape)
        for (label, column), model in zip(self._each(scores), self._models):
            low[:, label], high[:, label] = model.probabilities(np.ascontiguousarray(column))
        if scores.shape[1] == 2:
            low[:, 0], high[:, 0] = 1 - high[:, 1], 1 - low[:, 1]
        return low, high

    def predict_proba(self, logits: ArrayLike) -> NDArray[np.float64]:
        """One probability for each label, rows x classes; each row adds up to 1."""
        low, high = self.predict_intervals(logits)
        merged: NDArray[np.float64] = high / (1 - low + high)
        merged /= merged.sum(1, keepdims=True)
        return merged

    def predict(self, logits: ArrayLike) -> NDArray[Any]:
        """The most likely label of each row."""
        best = self.predict_proba(logits).argmax(1)
        found: NDArray[Any] = self.classes_[best]
        return found

    def score(self, logits: ArrayLike, y: ArrayLike) -> float:
        """The share of rows whose most likely label is the true one."""
        return float(np.mean(self.predict(logits) == np.asarray(y)))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_models"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_calibration" in state:
            self._models = self._calibrated()
