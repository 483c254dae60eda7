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
    with pytest.raises(ValueError, match="set"):
        lyceum.run(RECIPE, set={"seed": 1}, out=out)


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
