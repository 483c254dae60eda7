"""How far a long call is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Union

Progress = Union[bool, Callable[[int, int], object]]


@contextmanager
def reporter(progress: Progress, total: int, start: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Gives a function to call with how much is done. `progress` is False for silence, True for a tqdm bar where tqdm is installed, or a
    function to be called with how much is done and the total."""
    if callable(progress):
        yield lambda done: (progress(done, total), None)[1]
        return
    bar = None
    if progress:
        try:
            from tqdm.auto import tqdm  # type: ignore[import-untyped,import-not-found,unused-ignore]
        except ImportError:
            pass
        else:
            bar = tqdm(total=total, initial=start, unit=unit)
    if bar is None:
        yield lambda done: None
        return
    with bar:
        yield lambda done: (bar.update(done - bar.n), None)[1]
