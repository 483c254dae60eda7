"""Options as the native side reads them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Any


def dumped(options: Any) -> str:
    """Options as JSON: numpy's numbers and arrays as Python's, paths as strings. What JSON cannot hold is a ValueError with its name."""
    return json.dumps(_plain(options, ""))


def _plain(value: Any, name: str) -> Any:
    if hasattr(value, "tolist"):  # numpy's numbers and arrays, tensors
        value = value.tolist()
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{name or 'option'}: found {value}; allowed: finite numbers")
        return float(value)
    if isinstance(value, PathLike):
        return fspath(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, f"{name}.{key}" if name else str(key)) for key, inner in value.items()}
    if isinstance(value, Sequence):
        return [_plain(inner, name) for inner in value]
    raise ValueError(f"{name or 'option'}: found {value!r} of type {type(value).__name__}; allowed: numbers, strings, lists and dictionaries")


def method_json(method: str, options: Mapping[str, Any], allowed: Mapping[str, tuple[str, ...]]) -> Any:
    """`method` with those of its `allowed` options that are given; a method or option that there is not is a ValueError."""
    if method not in allowed:
        raise ValueError(f"method: found {method!r}; allowed: {', '.join(allowed)}")
    for name in options:
        if name not in allowed[method]:
            raise ValueError(f"{name}: {method} has no such option; allowed: {', '.join(allowed[method]) or 'none'}")
    return {method: dict(options)} if allowed[method] else method
