"""Smaller networks from the command line and from Python."""

import json
import os
import subprocess

import numpy as np
import pytest
from lyceum import Model, run

LYCEUM = os.environ["LYCEUM"]


def shrunk(*arguments, **options):
    return subprocess.run([LYCEUM, "shrink", *map(str, arguments)], capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    recipe = {
        "experiment": "train", "seed": 3, "data": {"name": "digits"}, "model": {"cnn": {"channels": [16, 32], "hidden": 64}},
        "training": {"epochs": 8}, "arm": [{"name": "a", "estimator": "plain"}],
    }
    return run(recipe, out=tmp_path_factory.mktemp("trained") / "run")


def test_a_run_is_made_smaller_and_used_elsewhere(trained, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    done = shrunk(trained.folder, "--budget", "flops=0.5", "--criterion", "taylor,random", "--epochs", "5", "--out", tmp_path / "small")
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "small" / "summary.json").read_text())["values"]
    assert told["taylor/multiply_adds"] <= 0.5 * told["whole/multiply_adds"] and told["taylor/deviation"] < 1e-5
    assert told["taylor/test_accuracy_before_training"] > told["random/test_accuracy_before_training"]
    assert told["taylor/test_accuracy"] > told["whole/test_accuracy"] - 0.03
    # The examples that were tested are those that the run has tested.
    assert told["whole/test_accuracy"] == trained.values["a/test_accuracy"]
    small, whole = Model.load(tmp_path / "small" / "taylor"), Model.load(trained.folder)
    x = np.random.default_rng(0).uniform(size=(20, 64)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(tmp_path / "small" / "taylor" / "model.onnx"))
    (given,) = session.run(None, {session.get_inputs()[0].name: x.reshape(20, 1, 8, 8)})
    assert np.allclose(given, small.logits(x), atol=1e-3) and small.classes_.tolist() == whole.classes_.tolist()
    # A smaller one is a model like any other: it can be made smaller again, and certified.
    again = {
        "experiment": "shrink", "seed": 3, "data": {"name": "digits"}, "model": {"onnx": {"file": str(tmp_path / "small" / "taylor" / "model.onnx")}},
        "shrink": {"budget": {"parameters": 0.5}, "allocation": "uniform", "round_to": 4}, "training": {"epochs": 2},
        "distillation": {"share": 0.9, "temperature": 4}, "arm": [{"name": "l1", "criterion": "l1", "estimator": {"sam": {"rho": 0.05}}}],
    }
    values = run(again, out=tmp_path / "again").values
    assert values["l1/parameters"] <= 0.5 * values["whole/parameters"] and values["whole/parameters"] == told["taylor/parameters"]
    assert run(again, out=tmp_path / "twice").values == values


def test_the_split_of_the_run_is_kept(tmp_path):
    """Of each seed, and of a table that was standardised, from another folder."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 4)) * [1, 100, 0.01, 5], rng.integers(0, 3, 300)
    x[:, 1] += 150 * y
    (tmp_path / "t.csv").write_text("a,b,c,d,label\n" + "\n".join(",".join(map(str, row)) + f",k{label}" for row, label in zip(x, y)))
    recipe = tmp_path / "r.toml"
    recipe.write_text('''experiment = "train"
seed = 4
seeds = 2
[data]
path = "t.csv"
standardize = true
[model.mlp]
hidden = [16, 16]
[training]
epochs = 5
[[arm]]
name = "a"
estimator = "plain"
''')
    done = subprocess.run([LYCEUM, "run", recipe, "--out", "run"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "elsewhere").mkdir()
    for seed in (4, 5):
        done = shrunk(f"../run/seed-{seed}/a", "--budget", "parameters=0.6", "--epochs", "1", "--out", f"s{seed}", cwd=tmp_path / "elsewhere")
        assert done.returncode == 0, done.stderr
        ours, theirs = tmp_path / "elsewhere" / f"s{seed}", tmp_path / "run" / f"seed-{seed}"
        assert (ours / "split.csv").read_text() == (theirs / "split.csv").read_text()
        values, run_values = (json.loads((folder / "summary.json").read_text())["values"] for folder in (ours, theirs))
        assert values["whole/test_accuracy"] == run_values["a/test_accuracy"]
        small = Model.load(ours / "taylor")
        assert np.isfinite(small.logits(x)).all() and small.classes_.tolist() == ["k0", "k1", "k2"]
        assert Model.load(ours / "taylor" / "best" / "model.safetensors").logits(x).shape == (300, 3)
    done = shrunk("run/seed-4/a", "--budget", "parameters=0.6", "--epochs", "1", "--set", "shrink.rounds=200", "--out", "many", cwd=tmp_path)
    values = json.loads((tmp_path / "many" / "summary.json").read_text())["values"]
    assert 0.5 < values["taylor/parameters"] / values["whole/parameters"] <= 0.6


def test_mistakes(trained, tmp_path):
    (tmp_path / "net.onnx").write_bytes((trained.folder / "a" / "model.onnx").read_bytes())
    for arguments, said in [
        ([trained.folder, "--budget", "flops=2"], "flops=SHARE"),
        ([trained.folder, "--budget", "half"], "flops=SHARE"),
        ([trained.folder, "--budget", "parameters=0.001"], "the budget"),
        ([trained.folder, "--budget", "flops=0.5", "--criterion", "best"], "taylor"),
        ([tmp_path / "net.onnx", "--budget", "flops=0.5"], "--data"),
        ([tmp_path / "none.onnx", "--budget", "flops=0.5", "--data", "digits"], "none.onnx"),
        ([trained.folder, "--budget", "flops=0.5", "--data", tmp_path / "none.csv"], "none.csv"),
        ([trained.folder, "--budget", "flops=0.5", "--set", "shrink.round_to=0"], "round_to"),
    ]:
        done = shrunk(*arguments, "--out", tmp_path / "out", cwd=tmp_path)
        assert done.returncode == 2 and said in done.stderr, (arguments, done.stderr)
        assert not (tmp_path / "out").exists(), arguments
    # An arm that diverges ends alone.
    found = shrunk(trained.folder, "--budget", "flops=0.5", "--criterion", "l1", "--set", "training.learning_rate=1e30", "--out", tmp_path / "out")
    assert found.returncode == 1 and "diverged" in found.stderr, found.stderr
    recipe = {"experiment": "shrink", "data": {"name": "digits"}, "model": "linear"}
    with pytest.raises(ValueError, match="without weights"):
        run(recipe, out=tmp_path / "linear")
