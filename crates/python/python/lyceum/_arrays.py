"""Anything that holds numbers, as a numpy array: numpy, torch and other DLPack tensors, pandas, polars, Arrow, lists."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_numpy(values: Any) -> NDArray[Any]:
    """`values` as a numpy array of its own type and shape, without a copy where it can be."""
    if hasattr(values, "detach"):  # a torch tensor that may belong to a graph
        values = values.detach()
    if isinstance(values, np.ndarray):
        return values
    if hasattr(values, "__dlpack__") and not hasattr(values, "to_numpy"):
        return np.from_dlpack(values)
    if hasattr(values, "column_names") and hasattr(values, "combine_chunks"):  # an Arrow table
        return np.column_stack([column.to_numpy() for column in values.columns])
    if hasattr(values, "to_numpy"):  # pandas, polars, an Arrow array
        try:
            return np.asarray(values.to_numpy())
        except ValueError:  # an Arrow array of strings or with gaps
            return np.asarray(values.to_numpy(zero_copy_only=False))
    return np.asarray(values)


def array(values: Any, dtype: Any, ndim: int, name: str) -> NDArray[Any]:
    """`values` as a contiguous array of this type (`None`: of its own), without a copy where it is one already."""
    try:
        values = as_numpy(values)
    except (TypeError, ValueError, OverflowError, RuntimeError, BufferError) as error:
        raise ValueError(f"{name}: {error}; allowed: an array of numbers") from None
    if isinstance(values, np.ma.MaskedArray):
        masked = int(np.sum(np.ma.getmaskarray(values)))
        if masked:
            raise ValueError(f"{name}: found {masked} masked values; allowed: none. Fill them or leave them out first")
        values = values.data
    if values.ndim != ndim:
        hint = ". Reshape your data: a row a point" if (values.ndim, ndim) == (1, 2) else ""
        raise ValueError(f"{name}: found {values.ndim} axes; allowed: {ndim}{hint}")
    if values.dtype.kind == "O":
        try:
            values = values.astype(np.float64)
        except TypeError as error:
            raise TypeError(f"{name}: {error}; allowed: an array of numbers") from None
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{name}: {error}; allowed: an array of numbers") from None
    if values.dtype.kind == "c":
        raise ValueError(f"{name}: Complex data not supported: found {values.dtype}; allowed: real numbers")
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name}: found values of type {values.dtype}; allowed: numbers")
    if dtype is not None and np.issubdtype(dtype, np.integer) and not np.issubdtype(values.dtype, np.integer):
        whole = np.asarray(values, dtype=np.int64)
        if not np.array_equal(whole, values):
            raise ValueError(f"{name}: found {values.dtype} with fractions; allowed: whole numbers")
        values = whole
    return np.ascontiguousarray(values, dtype=dtype)


def seed(random_state: Any) -> int:
    """A seed as it is used here, from an int, None (chance) or a numpy generator."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(0, 2**63))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(0, 2**31))
    if isinstance(random_state, (int, np.integer)) and 0 <= random_state < 2**64:
        return int(random_state)
    raise ValueError(f"random_state: found {random_state!r}; allowed: None, a whole number from 0 to 2**64 - 1 or a numpy generator")
