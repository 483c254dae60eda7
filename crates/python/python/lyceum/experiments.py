"""Experiments: a recipe in, a run folder out, as ``lyceum run`` makes them.

>>> import tempfile
>>> recipe = {
...     "experiment": "train", "seed": 1, "data": {"name": "digits", "limit": 300}, "model": {"mlp": {"hidden": [8]}},
...     "training": {"epochs": 2}, "arm": [{"name": "SAM", "estimator": {"sam": {"rho": 0.05}}}],
... }
>>> found = run(recipe, out=tempfile.mkdtemp())
>>> 0 <= found.values["SAM/test_accuracy"] <= 1
True
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

from . import _native

__all__ = ["Finished", "experiments", "resume", "run"]


class Finished(NamedTuple):
    """A run that has ended."""

    folder: Path
    """Where everything is: ``recipe.toml``, ``metrics.jsonl`` of each arm, ``summary.json``, ``report.html``."""

    values: dict[str, float]
    """What was found, by name, for example ``SAM/test_accuracy``."""

    table: str
    """The same as a table in Markdown."""

    def metrics(self) -> list[dict[str, Any]]:
        """What was logged on the way: a row for each line of each ``metrics.jsonl``; ``part`` is the arm, or seed and arm."""
        rows = []
        for file in sorted(self.folder.rglob("metrics.jsonl")):
            part = file.parent.relative_to(self.folder).as_posix()
            lines = file.read_text(encoding="utf-8").splitlines()
            rows += [{"part": "" if part == "." else part, **json.loads(line)} for line in lines]
        return rows

    def to_pandas(self) -> Any:
        """:meth:`metrics` as a ``pandas.DataFrame``."""
        import pandas  # type: ignore[import-untyped,import-not-found,unused-ignore]

        return pandas.DataFrame(self.metrics())

    def to_arrow(self) -> Any:
        """:meth:`metrics` as a ``pyarrow.Table``."""
        import pyarrow  # type: ignore[import-untyped,import-not-found,unused-ignore]

        rows = self.metrics()
        # A column of the first row alone would be all that a list of rows tells of its columns.
        names = dict.fromkeys(name for row in rows for name in row)
        return pyarrow.table({name: [row.get(name) for row in rows] for name in names})

    def report(self) -> str:
        """The report, one HTML page with all tables and charts."""
        return (self.folder / "report.html").read_text(encoding="utf-8")

    def _repr_html_(self) -> str:
        page = html.escape(self.report(), quote=True)
        return f'<iframe srcdoc="{page}" style="width: 100%; height: 640px; border: 1px solid #8884" title="{html.escape(str(self.folder))}"></iframe>'


def experiments() -> dict[str, str]:
    """The experiments that a recipe can name, with a line on each."""
    return dict(_native.experiments())


def run(
    recipe: str | PathLike[str] | Mapping[str, Any],
    *,
    out: str | PathLike[str] | None = None,
    set: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> Finished:
    """Runs a recipe to its end. Ctrl-C saves the run and raises ``KeyboardInterrupt``; :func:`resume` continues it.

    Parameters
    ----------
    recipe
        The path of a TOML file, the text of one (of several lines), or the same as a dictionary.
    out
        The run folder, absent or empty; by default ``runs/NAME``, or ``runs/NAME-2`` and so on where that is taken.
    set
        Keys with other values than the recipe has, for example ``{"training.epochs": 5}``.
    progress
        Whether progress is shown on standard error.

    Raises
    ------
    ValueError
        The recipe has a mistake, or the folder is taken. Nothing was written.
    """
    out = None if out is None else fspath(out)
    changes = [f"{key}={_toml(value)}" for key, value in (set or {}).items()]
    if isinstance(recipe, Mapping):
        recipe = "".join(f"{_string(key)} = {_toml(value)}\n" for key, value in recipe.items()) + "\n"
    if isinstance(recipe, str) and "\n" in recipe:
        return _finished(_native.run(None, recipe, changes, out, progress))
    return _finished(_native.run(fspath(recipe), None, changes, out, progress))


def resume(folder: str | PathLike[str], *, progress: bool = False) -> Finished:
    """Goes on with a run that was interrupted, or gives what one that has ended found."""
    return _finished(_native.resume(fspath(folder), progress))


def _finished(found: tuple[str, str]) -> Finished:
    told = json.loads(found[1])
    return Finished(Path(found[0]), told["values"], told["table"])


def _string(value: str) -> str:
    # As in JSON, but for characters beyond 16 bits, which JSON would write in halves, and DEL, which it would leave.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml(value: Any) -> str:
    """A value as TOML."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_string(key)} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, PathLike):
        return _string(fspath(value))
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        # Exact, and with a point or an exponent, as TOML wants it.
        return float.__repr__(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return "[" + ", ".join(_toml(inner) for inner in value) + "]"
    raise ValueError(f"found {value!r}; allowed in a recipe: numbers, strings, booleans, lists and dictionaries")
