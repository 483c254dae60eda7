"""Data of a user's own in recipes: folders of pictures, arrays, tables."""

import json
import os
import subprocess

import numpy as np
import pytest
from lyceum import Model, run

image = pytest.importorskip("PIL.Image")
LYCEUM = os.environ["LYCEUM"]


def pictures(folder, per_class=30, size=(14, 12), seed=0):
    """Crosses, bars and frames on noise."""
    rng = np.random.default_rng(seed)
    for kind, name in enumerate(["bar", "cross", "frame"]):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            x = rng.integers(0, 90, (*size, 3))
            row, column = rng.integers(3, size[0] - 3), rng.integers(3, size[1] - 3)
            if kind < 2:
                x[row] = 220
            if kind == 1:
                x[:, column] = 220
            if kind == 2:
                x[[0, -1]] = x[:, [0, -1]] = 220
            image.fromarray(x.astype(np.uint8)).save(folder / name / f"{number:03}.png")


TRAIN = {"experiment": "train", "seed": 1, "model": {"cnn": {"channels": [8], "hidden": 16}}, "training": {"epochs": 12, "batch_size": 16}, "arm": [{"name": "a", "estimator": "plain"}]}


def test_pictures_are_trained_on_and_predicted(tmp_path):
    pictures(tmp_path / "pictures")
    found = run({**TRAIN, "data": {"path": str(tmp_path / "pictures"), "size": [12, 12]}}, out=tmp_path / "run")
    assert found.values["a/test_accuracy"] > 0.7
    model = Model.load(found.folder)
    assert model.classes_.tolist() == ["bar", "cross", "frame"] and model.input_shape == (3, 12, 12)
    pictures(tmp_path / "new", 20, seed=5)
    done = subprocess.run([LYCEUM, "predict", found.folder, tmp_path / "new", "--out", tmp_path / "labels.jsonl"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    right = [line["label"] == os.path.basename(os.path.dirname(line["input"])) for line in lines]
    assert len(lines) == 60 and np.mean(right) > 0.7
    paths = [line["input"] for line in lines]
    assert model.predict(paths).tolist() == [line["label"] for line in lines] and model.predict(paths[0]).tolist() == [lines[0]["label"]]
    # A picture that has changed is another run.
    assert len(json.loads((found.folder / "run.json").read_text())["inputs"]) == 90
    (found.folder / "summary.json").unlink()
    image.fromarray(np.zeros((14, 12, 3), np.uint8)).save(tmp_path / "pictures" / "bar" / "000.png")
    again = subprocess.run([LYCEUM, "resume", found.folder], capture_output=True, text=True)
    assert again.returncode == 2 and "000.png" in again.stderr, again.stderr


def test_every_recipe_takes_own_data(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 240)
    x = (rng.integers(0, 60, (240, 6, 6, 3)) + 180 * (np.arange(36).reshape(6, 6, 1) % 4 == y[:, None, None, None])).astype(np.uint8)
    np.savez(tmp_path / "set.npz", x_train=x[:180], y_train=y[:180], x_test=x[180:], y_test=y[180:].astype(np.uint8))
    rows = np.concatenate([x.reshape(240, -1)[:, :9] / 255, y[:, None]], axis=1)
    names = [f"f{k}" for k in range(9)] + ["kind"]
    (tmp_path / "set.csv").write_text(",".join(names) + "\n" + "\n".join(",".join(map(str, row[:-1])) + f",class {int(row[-1])}" for row in rows))
    data = {"path": str(tmp_path / "set.npz")}
    short = {"epochs": 4, "batch_size": 32}
    recipes = {
        "train": {**TRAIN, "data": data, "training": short},
        "certify": {**TRAIN, "experiment": "certify", "data": {**data, "held_out": 0.3}, "training": short},
        "continual": {
            "experiment": "continual", "data": {**data, "held_out": 0.1}, "stream": {"split": {"classes": 2}}, "model": {"mlp": {"hidden": [16]}},
            "training": {"epochs": 2}, "strategy": [{"method": "naive"}],
        },
        "federated": {"experiment": "federated", "data": data, "model": {"mlp": {"hidden": [8]}}, "clients": {"count": 4}, "rounds": 2, "arm": [{"method": "fedavg"}]},
        "table": {**TRAIN, "data": {"path": str(tmp_path / "set.csv"), "label": "kind"}, "model": {"mlp": {"hidden": [16]}}, "training": short},
    }
    for name, recipe in recipes.items():
        try:
            found = run(recipe, out=tmp_path / name)
        except ValueError as error:
            raise AssertionError(f"{name}: {error}") from error
        assert found.values, name
    assert Model.load(tmp_path / "table").classes_.tolist() == [f"class {k}" for k in range(4)]
    assert len(Model.load(tmp_path / "certify").predict_sets(x[:3].transpose(0, 3, 1, 2) / 255)) == 3


def test_mistakes_are_told_and_nothing_is_written(tmp_path):
    (tmp_path / "empty").mkdir()
    for data, told in [
        ({"path": str(tmp_path / "none")}, "no such file"),
        ({"path": str(tmp_path / "empty")}, "sub-folders"),
        ({"path": str(tmp_path / "empty"), "name": "digits"}, "found `name` too"),
        ({}, "neither `name` nor `path`"),
        ({"path": __file__}, "allowed: a folder of pictures"),
    ]:
        with pytest.raises((ValueError, FileNotFoundError), match=told):
            run({**TRAIN, "data": data}, out=tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_the_package_brings_the_command(tmp_path):
    import pathlib
    import sys

    script = pathlib.Path(sys.executable).with_name("lyceum")
    for command in ([script], [sys.executable, "-m", "lyceum"]):
        told = subprocess.run([*command, "--version"], capture_output=True, text=True)
        assert told.stdout == subprocess.run([LYCEUM, "--version"], capture_output=True, text=True).stdout and told.returncode == 0
        wrong = subprocess.run([*command, "--json", "predict", tmp_path / "none.onnx", "-"], capture_output=True, text=True)
        assert wrong.returncode == 2 and json.loads(wrong.stdout.splitlines()[-1])["event"] == "error", wrong
        assert subprocess.run([*command, "explain", "train"], capture_output=True).returncode == 0
