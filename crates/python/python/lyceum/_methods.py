"""A method with its options, as the native side reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def method_json(method: str, options: Mapping[str, Any], allowed: Mapping[str, tuple[str, ...]]) -> Any:
    """`method` with those of its `allowed` options that are given; a method or option that there is not is a ValueError."""
    if method not in allowed:
        raise ValueError(f"method: found {method!r}; allowed: {', '.join(allowed)}")
    for name in options:
        if name not in allowed[method]:
            raise ValueError(f"{name}: {method} has no such option; allowed: {', '.join(allowed[method]) or 'none'}")
    return {method: dict(options)} if allowed[method] else method
