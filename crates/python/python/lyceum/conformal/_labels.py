"""Labels and groups of any kind as numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import as_numpy


def listed(values: Any, name: str) -> NDArray[Any]:
    """Labels as an array of one axis, of whatever type they are."""
    try:
        found = as_numpy(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name}: {error}; allowed: a list of labels") from None
    if found.dtype.kind == "O" and found.ndim == 1:  # numbers or strings, as lists of them would be
        found = np.asarray(found.tolist())
    if found.ndim != 1:
        raise ValueError(f"{name}: found {found.ndim} axes; allowed: 1")
    return found


def distinct(values: NDArray[Any], name: str) -> NDArray[Any]:
    """The values that there are, rising."""
    try:
        return np.unique(values)
    except TypeError as error:
        raise ValueError(f"{name}: {error}; allowed: labels of one kind") from None


def has_names(values: NDArray[Any]) -> bool:
    """Whether these are no numbers."""
    return values.dtype.kind not in "biuf"


def codes(values: Any, names: NDArray[Any], name: str, unknown: bool = False) -> NDArray[np.int64]:
    """The place of each value among `names`; one that is not among them is an error, or counts as one more where `unknown`."""
    found = listed(values, name)
    places = {known: place for place, known in enumerate(names.tolist())}
    numbers = np.array([places.get(value, -1) for value in found.tolist()], dtype=np.int64)
    if unknown:
        numbers[numbers < 0] = len(names)
    elif (numbers < 0).any():
        row = int(np.flatnonzero(numbers < 0)[0])
        shown = ", ".join(map(repr, names[:10].tolist())) + (", …" if len(names) > 10 else "")
        raise ValueError(f"{name}, row {row}: found {found.tolist()[row]!r}; allowed: {shown}")
    return numbers
