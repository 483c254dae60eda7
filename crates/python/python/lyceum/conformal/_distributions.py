"""Intervals and distributions of numbers."""

from __future__ import annotations

from typing import Any, NamedTuple, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _native
from .._arrays import array, seed


class Intervals(NamedTuple):
    """Lower and upper ends, one a point; at several levels points x levels."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]


class Distributions:
    """A conformal predictive system (Vovk et al. 2020): the distribution of each point's number, from :meth:`SplitRegressor.predict_distribution`.

    On exchangeable data the true number is uniform in its own distribution: ``cdf(y)`` with `random_state` is uniform on [0, 1].
    """

    def __init__(self, calibration: Any, center: NDArray[np.float64], difficulty: Union[NDArray[np.float64], None]) -> None:
        self._calibration = calibration
        self._points = np.stack([center, np.ones(len(center)) if difficulty is None else difficulty], axis=1)
        self._native = _native.Predictive(*calibration)

    def __reduce__(self) -> Any:
        return Distributions, (self._calibration, *self._points.T)

    def __len__(self) -> int:
        return len(self._points)

    def __repr__(self) -> str:
        return f"Distributions({len(self)} points, {len(self._calibration[0])} calibrated)"

    def cdf(self, y: ArrayLike, random_state: Any = "middle") -> NDArray[np.float64]:
        """The probability of a number up to y, for one y or one a point.

        A calibrated distribution has steps of 1/(n + 1); by default the middle of the step at y is given, and with a `random_state` a place
        in it by chance.
        """
        middle = isinstance(random_state, str) and random_state == "middle"
        tau = np.full(len(self), 0.5) if middle else np.random.default_rng(seed(random_state)).random(len(self))
        return self._native.cdf(self._points, self._of_points(y), tau)

    def quantile(self, levels: ArrayLike) -> NDArray[np.float64]:
        """The quantile of each point at this level, or points x levels; infinite where too few points were calibrated."""
        wanted = array(np.atleast_1d(np.asarray(levels)), np.float64, 1, "levels")
        if not ((wanted >= 0) & (wanted <= 1)).all():
            raise ValueError(f"levels: found {levels!r}; allowed: from 0 to 1")
        found = self._native.quantiles(self._points, wanted)
        return found[:, 0] if np.ndim(levels) == 0 else found

    def interval(self, alpha: float = 0.1) -> Intervals:
        """The interval of each point that misses at each end with probability alpha / 2 at most."""
        if not 0 < alpha < 1:
            raise ValueError(f"alpha: found {alpha}; allowed: a number > 0 and < 1")
        return Intervals(*self._native.intervals(self._points, alpha))

    def crps(self, y: ArrayLike) -> NDArray[np.float64]:
        """The continuous ranked probability score of each point at its true number, 0 at best: the mean distance from it, less half the
        mean distance within the distribution."""
        return self._native.crps(self._points, self._of_points(y))

    def _of_points(self, y: ArrayLike) -> NDArray[np.float64]:
        found = array(np.full(len(self), y) if np.ndim(y) == 0 else y, np.float64, 1, "y")
        if len(found) != len(self) or not np.isfinite(found).all():
            raise ValueError(f"y: found {len(found)} numbers, {int((~np.isfinite(found)).sum())} of them not finite; allowed: {len(self)}")
        return found
