"""How far a long call is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Union

Progress = Union[bool, Callable[[int, int], object]]


@contextmanager
def reporter(progress: Progress, total: int, start: int, unit: str) -> Iterator[Callable[[int], None]]:
    """A function that is told how much is done. `progress`: False for silence, True for a bar of tqdm where it is installed, or a
    function that is called with what is done and all there is."""
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
