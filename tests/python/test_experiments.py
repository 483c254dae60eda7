"""Runs from Python: the same as the command line makes, stopped and resumed."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import lyceum
from lyceum import experiments

RECIPE = {
    "experiment": "train",
    "seed": 3,
    "data": {"name": "digits", "limit": 300},
    "model": {"mlp": {"hidden": [8]}},
    "training": {"epochs": 3, "learning_rate": 0.05},
    "arm": [{"name": "SGD", "estimator": "plain"}, {"name": "SAM", "estimator": {"sam": {"rho": 0.05}}}],
}


def test_a_run_and_its_folder(tmp_path):
    found = lyceum.run(RECIPE, out=tmp_path / "run")
    assert found.folder == tmp_path / "run" and (found.folder / "report.html").exists()
    assert found.values == json.loads((found.folder / "summary.json").read_text())["values"]
    assert "SAM" in found.table and 0 <= found.values["SAM/test_accuracy"] <= 1
    assert lyceum.resume(found.folder) == found
    again = lyceum.run(found.folder / "recipe.toml", set={"training.epochs": 4}, out=tmp_path / "again")
    assert again.values != found.values
    same = lyceum.run(found.folder / "recipe.toml", out=tmp_path / "same")
    assert same.values == found.values
    text = (found.folder / "recipe.toml").read_text()
    assert lyceum.run(text, out=tmp_path / "text").values == found.values
    for recipe in (text, RECIPE):
        assert lyceum.run(recipe, set={"training.epochs": 4}, out=tmp_path / f"set-{type(recipe).__name__}").values == again.values


def test_metrics_and_the_notebook(tmp_path):
    found = lyceum.run(RECIPE, out=tmp_path / "run")
    rows = found.metrics()
    assert [row["part"] for row in rows] == ["SAM"] * 3 + ["SGD"] * 3 and all("train_loss" in row for row in rows)
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    frame = found.to_pandas()
    assert isinstance(frame, pandas.DataFrame) and len(frame) == 6 and frame.groupby("part").train_loss.last().notna().all()
    table = found.to_arrow()
    assert isinstance(table, pyarrow.Table) and table.column_names == list(frame.columns) and table.num_rows == 6
    assert found.report().startswith("<!doctype html>") or "<html" in found.report()
    page = found._repr_html_()
    assert page.startswith("<iframe srcdoc=") and "<svg" not in page.split('style="')[0].replace("&lt;svg", "") and "&lt;" in page


def test_values_of_python_are_those_of_toml():
    tomllib = pytest.importorskip("tomllib")
    values = {
        "text": "a\"b\\c\n\t\x00\x7f\u2028é😀", "on": True, "off": np.bool_(False), "whole": np.int64(-3), "small": 1e-05, "large": 1e22,
        "not finite": float("inf"), "rows": np.arange(4).reshape(2, 2), "one": np.array([0.1], np.float64), "path": pathlib.Path("a/b"),
        "tuple": (1, 2.5), "inner": {"a.b": {"c d": []}},
    }
    text = "".join(f"{experiments._string(key)} = {experiments._toml(value)}\n" for key, value in values.items())
    found = tomllib.loads(text)
    expected = {**values, "off": False, "whole": -3, "rows": [[0, 1], [2, 3]], "one": [0.1], "path": "a/b", "tuple": [1, 2.5]}
    assert found == expected
    for wrong in [None, b"ab", {1, 2}, object()]:
        with pytest.raises(ValueError, match="allowed in a recipe"):
            experiments._toml(wrong)


def test_mistakes(tmp_path):
    out = tmp_path / "run"
    for recipe, told in [
        ({**RECIPE, "experiment": "trian"}, "trian"),
        ({**RECIPE, "training": {"epochs": 0}}, "epochs"),
        ({**RECIPE, "seed": None}, "None"),
        ({}, "experiment"),
    ]:
        with pytest.raises(ValueError, match=told):
            lyceum.run(recipe, out=out)
        assert not out.exists()
    with pytest.raises(FileNotFoundError):
        lyceum.run(tmp_path / "none.toml")
    with pytest.raises(ValueError, match="epocs"):
        lyceum.run(RECIPE, set={"training.epocs": 1}, out=out)


def test_experiments_are_those_of_the_command_line():
    assert {"train", "certify", "federated", "continual"} <= set(lyceum.experiments.experiments())


# What takes long, begun and then interrupted.
LONG = {
    "run": "lyceum.run({**recipe, 'training': {'epochs': 100_000}}, out=sys.argv[1])",
    "batch_bald": """lyceum.active.batch_bald(np.full((50, 20_000, 10), 0.1, np.float32), 50)""",
    "k_center_greedy": "lyceum.active.k_center_greedy(np.random.default_rng(0).random((50_000, 64), np.float32), 50_000)",
    "population": "lyceum.epidemic.Simulation(people=5_000_000)",
}


@pytest.mark.parametrize("work", LONG)
def test_ctrl_c_is_heard(tmp_path, work):
    lines = [
        "import sys, numpy as np, lyceum, lyceum.active, lyceum.epidemic",
        f"recipe = {RECIPE!r}",
        "print('begun', flush=True)",
        "try:",
        f"    {LONG[work]}",
        "except KeyboardInterrupt:",
        "    print('heard')",
    ]
    child = subprocess.Popen([sys.executable, "-c", "\n".join(lines), tmp_path / "run"], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "begun\n"
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=60)
    assert (child.returncode, out) == (0, "heard\n")
    if work == "run":
        assert list((tmp_path / "run").glob("*/checkpoints/*"))
