"""Intervals for numbers, from predictions or around an estimator of scikit-learn's kind."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Callable, Literal, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _native
from .._arrays import array, as_numpy, seed
from ._distributions import Distributions, Intervals
from ._estimator import Estimator


def split_interval(
    calibration: ArrayLike,
    y: ArrayLike,
    predictions: ArrayLike,
    alpha: float = 0.1,
    *,
    calibration_difficulty: Union[ArrayLike, None] = None,
    difficulty: Union[ArrayLike, None] = None,
) -> Intervals:
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
    return Intervals(*_native.split_interval(_numbers(calibration, "calibration"), known, _numbers(y, "y"), center, new, alpha))


def cqr(
    calibration_low: ArrayLike,
    calibration_high: ArrayLike,
    y: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    alpha: float = 0.1,
    *,
    symmetric: bool = True,
) -> Intervals:
    """Conformalised quantile regression (Romano, Patterson and Candes 2019): the regression's quantiles, widened; where `symmetric` is
    False each end by its own quantile, and is missed with probability alpha / 2 at most.

    Where the two quantiles cross, sort them first: ``np.sort(np.stack([low, high]), axis=0)``.

    >>> low, high = cqr([0.0] * 9, [4.0] * 9, range(1, 10), [1.0], [2.0])
    >>> low, high
    (array([-4.]), array([7.]))
    """
    ends = _ends(calibration_low, calibration_high, "calibration_low", "calibration_high")
    return Intervals(*_native.quantile_interval(ends, _numbers(y, "y"), _ends(low, high, "low", "high"), alpha, symmetric))


def jackknife_plus(residuals: ArrayLike, predictions: ArrayLike, alpha: float = 0.1, *, minmax: bool = False) -> Intervals:
    """Jackknife+ and CV+ (Barber et al. 2021) from |y - prediction| of each training point by a model that did not see it,
    and the predictions of each new point by each of these models (new points x training points). With `minmax` the wider intervals whose
    coverage is at least 1 - alpha, not 1 - 2 alpha."""
    return Intervals(
        *_native.jackknife_plus(_numbers(residuals, "residuals"), array(predictions, np.float64, 2, "predictions"), alpha, minmax)
    )


class _Regressor(Estimator):
    alpha: float
    _fitted_by = "_calibration"

    def _data(self, X: Any, y: Any) -> tuple[Any, NDArray[np.float64]]:
        if y is None:
            raise ValueError("y: found None; allowed: numbers. This estimator requires y to be passed, but the target y is None")
        rows, truth = _rows(X), _numbers(y, "y")
        if rows.shape[0] != len(truth):
            raise ValueError(f"y: found {len(truth)} numbers; allowed: one for each of {rows.shape[0]} rows of X")
        self._learn_columns(X, rows.shape[1])
        return rows, truth

    def _new(self, X: Any) -> Any:
        self._check_is_fitted()
        rows = _rows(X)
        self._check_columns(X, rows.shape[1], "X")
        return rows

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # What the estimator inside takes.
        tags.input_tags.sparse = True
        return tags

    def _at(self, rows: Any) -> Callable[[float], Intervals]:
        """The intervals of these rows, for a level."""
        raise NotImplementedError

    def predict(self, X: ArrayLike, alpha: Union[float, Sequence[float], None] = None) -> Intervals:
        """The interval of each row, at another `alpha` than the estimator's if one is given; at several, both ends are rows x levels."""
        at = self._at(self._new(X))
        wanted: Any = self.alpha if alpha is None else alpha
        if np.ndim(wanted) == 0:
            return at(wanted)
        found = [at(float(level)) for level in _numbers(wanted, "alpha")]
        if not found:
            raise ValueError("alpha: found no levels; allowed: one or more")
        return Intervals(*(np.stack(ends, axis=1) for ends in zip(*found)))

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """The coverage of the intervals: the share that hold the true number."""
        low, high = self.predict(X)
        truth = _numbers(y, "y")
        if len(truth) != len(low) or not np.isfinite(truth).all():
            raise ValueError(f"y: found {len(truth)} numbers, {int((~np.isfinite(truth)).sum())} of them not finite; allowed: {len(low)}")
        return float(np.mean((low <= truth) & (truth <= high)))


class SplitRegressor(_Regressor):
    """Split conformal intervals around any regressor with `fit` and `predict` (Lei et al. 2018): coverage 1 - alpha.

    Parameters
    ----------
    estimator
        The regressor; a copy of it is fitted.
    alpha
        The share of intervals that may miss.
    difficulty
        A second regressor, fitted to |y - prediction| of the training part: intervals are wider where it says so.
    calibration_share
        The share of the data that calibrates; the others train. With ``prefit=True`` the estimators are fitted already, and all data
        calibrate.

    >>> from sklearn.linear_model import LinearRegression
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(900, 3)); y = X @ [1, 2, 3] + rng.normal(size=900)
    >>> split = SplitRegressor(LinearRegression(), alpha=0.2).fit(X[:600], y[:600])
    >>> abs(split.score(X[600:], y[600:]) - 0.8) < 0.06
    True
    """

    def __init__(
        self,
        estimator: Any,
        alpha: float = 0.1,
        *,
        difficulty: Any = None,
        calibration_share: float = 0.3,
        prefit: bool = False,
        random_state: Any = 0,
    ) -> None:
        self.estimator = estimator
        self.alpha = alpha
        self.difficulty = difficulty
        self.calibration_share = calibration_share
        self.prefit = prefit
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> SplitRegressor:
        """Fits the estimator on one part of the data and calibrates on the other."""
        rows, truth = self._data(X, y)
        if self.prefit:
            self.estimator_, self.difficulty_ = self.estimator, self.difficulty
            apart = np.arange(rows.shape[0])
        else:
            train, apart = _parted(rows.shape[0], self.calibration_share, self.random_state)
            self.estimator_ = _copy(self.estimator).fit(_taken(rows, train), truth[train])
            self.difficulty_ = None
            if self.difficulty is not None:
                errors = np.abs(truth[train] - _predicted(self.estimator_, _taken(rows, train)))
                self.difficulty_ = _copy(self.difficulty).fit(_taken(rows, train), errors)
        self._calibration = (_predicted(self.estimator_, _taken(rows, apart)), self._difficulty(_taken(rows, apart)), truth[apart])
        return self

    def _difficulty(self, rows: Any) -> Any:
        # A difficulty of 0 would make an interval of one number.
        return None if self.difficulty_ is None else np.maximum(_predicted(self.difficulty_, rows), 1e-12)

    def _at(self, rows: Any) -> Callable[[float], Intervals]:
        center, known, truth = self._calibration
        found, difficulty = _predicted(self.estimator_, rows), self._difficulty(rows)
        return lambda alpha: split_interval(center, truth, found, alpha, calibration_difficulty=known, difficulty=difficulty)

    def predict_distribution(self, X: ArrayLike) -> Distributions:
        """The distribution of each row's number: a conformal predictive system (Vovk et al. 2020) from the same calibration.

        >>> from sklearn.linear_model import LinearRegression
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(900, 3)); y = X @ [1, 2, 3] + rng.normal(size=900)
        >>> found = SplitRegressor(LinearRegression()).fit(X[:600], y[:600]).predict_distribution(X[600:])
        >>> found.quantile([0.1, 0.5, 0.9]).shape, abs(np.mean(found.cdf(y[600:]) <= 0.3) - 0.3) < 0.06
        ((300, 3), np.True_)
        """
        rows = self._new(X)
        return Distributions(self._calibration, _predicted(self.estimator_, rows), self._difficulty(rows))


class CQRRegressor(_Regressor):
    """Conformalised quantile regression (Romano, Patterson and Candes 2019) around two regressors of the lower and the upper quantile:
    coverage 1 - alpha, with intervals as wide as the data are uncertain.

    Parameters: `low` and `high`, regressors of the quantiles, copies of which are fitted; `alpha`; `symmetric`, whether both ends are
    widened alike; `calibration_share`; ``prefit=True`` where they are fitted already.
    """

    def __init__(
        self,
        low: Any,
        high: Any,
        alpha: float = 0.1,
        *,
        symmetric: bool = True,
        calibration_share: float = 0.3,
        prefit: bool = False,
        random_state: Any = 0,
    ) -> None:
        self.low = low
        self.high = high
        self.alpha = alpha
        self.symmetric = symmetric
        self.calibration_share = calibration_share
        self.prefit = prefit
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> CQRRegressor:
        """Fits both regressors on one part of the data and calibrates on the other."""
        rows, truth = self._data(X, y)
        if self.prefit:
            self.low_, self.high_, apart = self.low, self.high, np.arange(rows.shape[0])
        else:
            train, apart = _parted(rows.shape[0], self.calibration_share, self.random_state)
            self.low_, self.high_ = (_copy(part).fit(_taken(rows, train), truth[train]) for part in (self.low, self.high))
        self._calibration = (*self._quantiles(_taken(rows, apart)), truth[apart])
        return self

    def _quantiles(self, rows: Any) -> Any:
        """Sorted, as they may cross."""
        return np.sort(np.stack([_predicted(self.low_, rows), _predicted(self.high_, rows)]), axis=0)

    def _at(self, rows: Any) -> Callable[[float], Intervals]:
        low, high = self._quantiles(rows)
        known_low, known_high, truth = self._calibration
        return lambda alpha: cqr(known_low, known_high, truth, low, high, alpha, symmetric=self.symmetric)


class CrossRegressor(_Regressor):
    """Jackknife+, CV+ and their minmax kin (Barber et al. 2021) around any regressor: all data train and calibrate.

    Parameters: `estimator`, copies of which are fitted, one without each fold; `alpha`; `folds`, as many as there are points for the
    jackknife (``folds=None``); `method`: "plus" covers 1 - 2 alpha at least and about 1 - alpha in practice, "minmax" 1 - alpha at least.
    """

    def __init__(
        self,
        estimator: Any,
        alpha: float = 0.1,
        *,
        folds: Union[int, None] = 10,
        method: Literal["plus", "minmax"] = "plus",
        random_state: Any = 0,
    ) -> None:
        self.estimator = estimator
        self.alpha = alpha
        self.folds = folds
        self.method = method
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> CrossRegressor:
        """Fits an estimator without each fold."""
        if self.method not in ("plus", "minmax"):
            raise ValueError(f"method: found {self.method!r}; allowed: 'plus' or 'minmax'")
        rows, truth = self._data(X, y)
        n = rows.shape[0]
        folds = n if self.folds is None else self.folds
        if not 2 <= folds <= n:
            raise ValueError(f"folds: found {folds}; allowed: 2 to {n}, the number of rows (n_samples = {n}; a minimum of 2 is required)")
        places = np.random.default_rng(seed(self.random_state)).permutation(n) * folds // n
        self.estimators_ = [_copy(self.estimator).fit(_taken(rows, places != fold), truth[places != fold]) for fold in range(folds)]
        residuals = np.empty(n)
        for fold, estimator in enumerate(self.estimators_):
            apart = places == fold
            residuals[apart] = np.abs(truth[apart] - _predicted(estimator, _taken(rows, apart)))
        self._calibration = (residuals, places)
        return self

    def _at(self, rows: Any) -> Callable[[float], Intervals]:
        residuals, places = self._calibration
        by_fold = np.stack([_predicted(estimator, rows) for estimator in self.estimators_], axis=1)

        def at(alpha: float) -> Intervals:
            # A number for each training point: some rows at a time.
            at_once = max(1, 2**24 // max(len(places), 1))
            parts = [
                jackknife_plus(residuals, np.take(by_fold[start : start + at_once], places, axis=1), alpha, minmax=self.method == "minmax")
                for start in range(0, max(len(by_fold), 1), at_once)
            ]
            return Intervals(*(np.concatenate(ends) for ends in zip(*parts)))

        return at


class EnbPIRegressor(_Regressor):
    """Intervals of a series whose numbers depend on one another (EnbPI; Xu and Xie 2021): coverage about 1 - alpha, in the long run.

    An ensemble is fitted to stretches of the series; what it misses on the points that each member has not seen makes the intervals. Call
    `update` with the numbers that have become known, and intervals follow a series that drifts.

    Parameters
    ----------
    estimator
        The regressor; copies of it are fitted.
    alpha
        The share of intervals that may miss.
    members
        How many copies.
    block_length
        Points that are drawn together for a copy: about as many as depend on one another.
    symmetric
        Whether intervals reach as far down as up; otherwise they are the shortest that hold enough of what was missed, which suits errors that
        lean to one side, and cover less where the points are few (0.74 for 0.8 with 80 independent points).

    >>> from sklearn.linear_model import LinearRegression
    >>> rng = np.random.default_rng(0)
    >>> t = np.arange(600.0); X = np.sin(t / 9)[:, None]; y = 3 * X[:, 0] + rng.normal(size=600)
    >>> model, held = EnbPIRegressor(LinearRegression(), alpha=0.2, block_length=10).fit(X[:300], y[:300]), []
    >>> for i in range(300, 600, 20):
    ...     held.append(model.score(X[i : i + 20], y[i : i + 20]))
    ...     model = model.update(X[i : i + 20], y[i : i + 20])
    >>> bool(abs(np.mean(held) - 0.8) < 0.06)
    True
    """

    def __init__(
        self,
        estimator: Any,
        alpha: float = 0.1,
        *,
        members: int = 25,
        block_length: int = 1,
        symmetric: bool = True,
        random_state: Any = 0,
    ) -> None:
        self.estimator = estimator
        self.alpha = alpha
        self.members = members
        self.block_length = block_length
        self.symmetric = symmetric
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> EnbPIRegressor:
        """Fits the ensemble; rows in the order of time."""
        rows, truth = self._data(X, y)
        n = rows.shape[0]
        if not 1 <= self.block_length <= n:
            raise ValueError(f"block_length: found {self.block_length}; allowed: 1 to {n}, the number of rows (n_samples = {n})")
        if self.members < 1:
            raise ValueError(f"members: found {self.members}; allowed: 1 or more")
        random = np.random.default_rng(seed(self.random_state))
        starts = random.integers(0, n - self.block_length + 1, size=(self.members, -(-n // self.block_length)))
        drawn = (starts[:, :, None] + np.arange(self.block_length)).reshape(self.members, -1)[:, :n]
        unseen = np.ones((self.members, n), dtype=bool)
        np.put_along_axis(unseen, drawn, False, axis=1)
        counts = unseen.sum(0)
        if not counts.any():
            raise ValueError(f"X: found {n} sample(s), all of which every member has seen; allowed: more rows, or a minimum of 2 members")
        self.estimators_ = [_copy(self.estimator).fit(_taken(rows, np.sort(places)), truth[places[np.argsort(places)]]) for places in drawn]
        # The mean over the points' ensembles without each of them (the authors' aggregate), as weights of the members.
        shares = np.divide(unseen, counts, out=np.zeros(unseen.shape), where=counts > 0)
        self._weights = shares.sum(1) / np.count_nonzero(counts)
        without = sum(share * _predicted(estimator, rows) for share, estimator in zip(shares, self.estimators_))
        self._calibration = (truth - without)[counts > 0]
        return self

    def _center(self, rows: Any) -> NDArray[np.float64]:
        center: NDArray[np.float64] = sum(weight * _predicted(estimator, rows) for weight, estimator in zip(self._weights, self.estimators_))
        return center

    def _at(self, rows: Any) -> Callable[[float], Intervals]:
        center = self._center(rows)

        def at(alpha: float) -> Intervals:
            low, high = _native.enbpi_ends(self._calibration, alpha, bool(self.symmetric))
            return Intervals(center + low, center + high)

        return at

    def update(self, X: ArrayLike, y: ArrayLike) -> EnbPIRegressor:
        """Takes in the numbers of the next rows: what was missed on them replaces the oldest. The ensemble stays as it is."""
        rows, truth = self._new(X), _numbers(y, "y")
        if rows.shape[0] != len(truth) or not np.isfinite(truth).all():
            raise ValueError(f"y: found {len(truth)} numbers; allowed: a finite one for each of {rows.shape[0]} rows of X")
        size = len(self._calibration)
        self._calibration = np.concatenate([self._calibration, truth - self._center(rows)])[-size:]
        return self


def _parted(n: int, share: float, random_state: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which rows train, and which calibrate."""
    if not 0 < share < 1:
        raise ValueError(f"calibration_share: found {share}; allowed: a number > 0 and < 1")
    apart = int(np.ceil(share * n))
    if n - apart < 1:
        raise ValueError(f"X: found {n} sample(s), of which {apart} calibrate; allowed: a minimum of 2 is required")
    order = np.random.default_rng(seed(random_state)).permutation(n)
    return np.sort(order[apart:]), np.sort(order[:apart])


def _copy(estimator: Any) -> Any:
    """An estimator like this one that is not fitted."""
    if hasattr(estimator, "get_params"):
        try:
            from sklearn.base import clone  # type: ignore[import-untyped,import-not-found,unused-ignore]
        except ImportError:
            pass
        else:
            return clone(estimator)
    return copy.deepcopy(estimator)


def _predicted(estimator: Any, rows: Any) -> NDArray[np.float64]:
    return _numbers(np.ravel(as_numpy(estimator.predict(rows))), "predictions")


def _rows(X: Any) -> Any:
    """Rows that can be taken: a data frame or sparse matrix as it is, which the estimator may know what to do with; the rest as an array."""
    rows = X if hasattr(X, "iloc") or hasattr(X, "tocsr") else as_numpy(X)
    if rows.ndim != 2:
        raise ValueError(f"X: found {rows.ndim} axes; allowed: 2. Reshape your data: a row a point")
    return rows.tocsr() if hasattr(rows, "tocsr") else rows


def _taken(rows: Any, places: Any) -> Any:
    return rows.iloc[places] if hasattr(rows, "iloc") else rows[places]


def _numbers(values: ArrayLike, name: str) -> NDArray[np.float64]:
    return array(values, np.float64, 1, name)


def _ends(low: ArrayLike, high: ArrayLike, low_name: str, high_name: str) -> NDArray[np.float64]:
    a, b = _numbers(low, low_name), _numbers(high, high_name)
    if len(a) != len(b):
        raise ValueError(f"{high_name}: found {len(b)} values; allowed: as many as {low_name}: {len(a)}")
    return np.stack([a, b], axis=1)
