"""Prediction sets of many points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Union, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _native
from .._arrays import array
from ._labels import codes


class Coverage(NamedTuple):
    """The share of sets that hold the true label, with an exact 95 % (Clopper-Pearson) interval."""

    share: float
    low: float
    high: float


class PredictionSets:
    """The sets of many points in compressed rows: point i has ``indices[indptr[i]:indptr[i + 1]]``, most likely first.

    Parameters
    ----------
    indptr, indices
        Where each set begins, and the columns of the labels of all sets.
    classes
        How many labels there are.
    names
        The labels in the order of the columns; the numbers of the columns if absent.

    >>> sets = PredictionSets(np.array([0, 2, 3]), np.array([4, 1, 0], dtype=np.int32), classes=5)
    >>> sets[0], len(sets), sets.sizes
    (array([4, 1], dtype=int32), 2, array([2, 1]))
    >>> sets.mask().astype(int).tolist()
    [[0, 1, 0, 0, 1], [1, 0, 0, 0, 0]]
    >>> sets[[True, False]]
    PredictionSets(1 points, 2.000 labels on average)
    """

    def __init__(
        self, indptr: NDArray[np.int64], indices: NDArray[np.int32], classes: int, names: Union[NDArray[Any], None] = None
    ) -> None:
        indptr, indices = np.asarray(indptr), np.asarray(indices)
        if len(indptr) == 0 or indptr[0] != 0 or indptr[-1] != len(indices) or (np.diff(indptr) < 0).any():
            raise ValueError(f"indptr: found {indptr!r}; allowed: numbers that rise from 0 to {len(indices)}, the number of indices")
        if len(indices) and not 0 <= indices.min() <= indices.max() < classes:
            raise ValueError(f"indices: found {indices.min()} to {indices.max()}; allowed: 0 to {classes - 1}")
        if names is not None and len(names) != classes:
            raise ValueError(f"names: found {len(names)}; allowed: one for each of {classes} classes")
        self.indptr, self.indices, self.classes, self.names = indptr, indices, classes, names

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @overload
    def __getitem__(self, point: int) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, point: Union[slice, Sequence[int], Sequence[bool], NDArray[Any]]) -> PredictionSets: ...
    def __getitem__(self, point: Any) -> Any:
        """The labels of one point; of a slice, a list of numbers or a mask the sets of these points."""
        if not isinstance(point, (int, np.integer)):
            places = point if isinstance(point, slice) else np.asarray(point, dtype=None if len(point) else np.int64)
            chosen = np.arange(len(self))[places]
            if chosen.ndim != 1:
                raise IndexError(f"found {chosen.ndim} axes; allowed: a number, a slice, or a list of numbers or booleans")
            sizes = self.sizes[chosen]
            indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
            places = np.arange(indptr[-1]) - np.repeat(indptr[:-1], sizes) + np.repeat(self.indptr[chosen], sizes)
            return PredictionSets(indptr, self.indices[places], self.classes, self.names)
        if not -len(self) <= point < len(self):
            raise IndexError(f"point {point} of {len(self)}")
        point %= len(self)
        labels = self.indices[self.indptr[point] : self.indptr[point + 1]]
        return labels if self.names is None else self.names[labels]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PredictionSets):
            return NotImplemented
        same = self.classes == other.classes and np.array_equal(self.indptr, other.indptr) and np.array_equal(self.indices, other.indices)
        own, others = (np.arange(sets.classes) if sets.names is None else sets.names for sets in (self, other))
        return same and np.array_equal(own, others)

    __hash__ = None  # type: ignore[assignment]

    def __contains__(self, label: object) -> bool:
        raise TypeError("ask one point's set: `label in sets[i]`, or all at once: `sets.covers(labels)`")

    def __repr__(self) -> str:
        return f"PredictionSets({len(self)} points, {self.sizes.mean() if len(self) else 0:.3f} labels on average)"

    def _repr_html_(self) -> str:
        from html import escape

        rows = [f"<tr><td>{i}</td><td>{escape(', '.join(map(str, self[i])))}</td></tr>" for i in range(min(len(self), 10))]
        more = f"<tr><td colspan=2>… and {len(self) - 10:,} more</td></tr>" if len(self) > 10 else ""
        head = f"<p>{escape(repr(self))}</p>"
        return f"{head}<table><thead><tr><th>point</th><th>labels, most likely first</th></tr></thead><tbody>{''.join(rows)}{more}</tbody></table>"

    @property
    def sizes(self) -> NDArray[np.int64]:
        """How many labels each set has."""
        return np.diff(self.indptr)

    def mask(self) -> NDArray[np.bool_]:
        """A dense matrix, points by classes, true where the label is in the set."""
        dense = np.zeros((len(self), self.classes), dtype=bool)
        dense[np.repeat(np.arange(len(self)), self.sizes), self.indices] = True
        return dense

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` of booleans: a row a point, a column a label."""
        import pandas  # type: ignore[import-untyped,import-not-found,unused-ignore]

        return pandas.DataFrame(self.mask(), columns=range(self.classes) if self.names is None else self.names)

    def to_arrow(self) -> Any:
        """A ``pyarrow.LargeListArray``: the labels of each point, most likely first. Indices are not copied."""
        import pyarrow  # type: ignore[import-untyped,import-not-found,unused-ignore]

        labels = self.indices if self.names is None else self.names[self.indices]
        return pyarrow.LargeListArray.from_arrays(pyarrow.array(self.indptr, pyarrow.int64()), pyarrow.array(labels))

    def covers(self, labels: ArrayLike) -> NDArray[np.bool_]:
        """Whether each set holds the true label."""
        truth = self._truth(labels)
        hits = self.indices == np.repeat(truth, self.sizes)
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
        truth = array(labels, np.int64, 1, "labels") if self.names is None else codes(labels, self.names, "labels")
        if len(truth) != len(self):
            raise ValueError(f"labels: found {len(truth)}; allowed: one for each of {len(self)} sets")
        return truth
