"""Networks that grow while they are trained, from Python and the command line."""

import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest
from lyceum import Model, run

LYCEUM = os.environ["LYCEUM"]


def recipe(method, **more):
    sparsify = {"budget": {"multiply-adds": 0.5}, "method": method, "round_to": 4, **more}
    return {
        "experiment": "train", "seed": 2, "data": {"name": "digits"}, "model": {"resnet": {"widths": [16, 32], "blocks": 1}},
        "training": {"epochs": 14, "learning_rate": 0.1}, "sharpness": {"examples": 50, "iterations": 1},
        "arm": [{"name": "grown", "estimator": {"sam": {"rho": 0.02}}, "sparsify": sparsify}],
    }


def test_a_network_grows_under_sam_and_is_used(tmp_path):
    done = run(recipe({"grow": {}}, branches=True), out=tmp_path / "run")
    values = done.values
    whole = run({**recipe({"grow": {}}), "arm": [{"name": "whole", "estimator": "plain"}]}, out=tmp_path / "whole")
    assert values["grown/deviation"] < 1e-5 and values["grown/training_share"] < 0.6
    assert values["grown/test_accuracy"] > whole.values["whole/test_accuracy"] - 0.04
    model = Model.load(done.folder / "grown")
    x = np.random.default_rng(0).uniform(size=(10, 64)).astype(np.float32)
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(done.folder / "grown" / "model.onnx"))
    (given,) = session.run(None, {session.get_inputs()[0].name: x.reshape(10, 1, 8, 8)})
    assert np.allclose(given, model.logits(x), atol=1e-3)
    # One seed, one network.
    assert run(recipe({"grow": {}}, branches=True), out=tmp_path / "again").values == values
    report = (done.folder / "report.html").read_text()
    assert "Units in training: grown" in report and "Accuracy against the cost of training" in report


def test_a_stopped_run_keeps_a_network_and_goes_on_to_the_same_end(tmp_path):
    longer = recipe({"grow": {}})
    longer["training"]["epochs"] = 25
    longer["training"]["checkpoint_seconds"] = 0
    undisturbed = run(longer, out=tmp_path / "whole")
    file = tmp_path / "recipe.json"
    # TOML of nested tables is written by the first run.
    file.write_text((undisturbed.folder / "recipe.toml").read_text())
    folder = tmp_path / "stopped"
    started = subprocess.Popen([LYCEUM, "-q", "run", str(file), "--out", str(folder)], stderr=subprocess.PIPE)
    metrics, deadline = folder / "grown" / "metrics.jsonl", time.time() + 60
    while not (metrics.exists() and len(metrics.read_text().splitlines()) >= 5) and time.time() < deadline:
        time.sleep(0.02)
    started.send_signal(signal.SIGTERM)
    started.wait()
    if started.returncode == 0:
        pytest.skip("the run ended before it was stopped")
    assert Model.load(folder / "grown" / "model.onnx").classes_.tolist() == list(map(str, range(10)))
    subprocess.run([LYCEUM, "-q", "resume", str(folder)], check=True, capture_output=True)
    assert json.loads((folder / "summary.json").read_text())["values"] == undisturbed.values
    assert (folder / "grown" / "model.onnx").read_bytes() == (undisturbed.folder / "grown" / "model.onnx").read_bytes()


@pytest.mark.parametrize("method", ["narrow", {"random": {}}, {"prune": "taylor"}, {"prune": "l1"}, {"slimming": {"penalty": 1e-3}}, {"grow": {"sampled": False}}])
def test_baselines_meet_the_budget(method, tmp_path):
    short = recipe(method)
    short["training"]["epochs"] = 6
    values = run(short, out=tmp_path / "run").values
    assert values["grown/deviation"] < 1e-5 and values["grown/test_accuracy"] > 0.7


def test_what_is_wrong_is_refused(tmp_path):
    for more, told in [
        ({"budget": {"multiply-adds": 1.5}}, "found 1.5"),
        ({"budget": {"milliseconds": {"most": -1}}}, "found -1"),
        ({"settle": 2}, "found 2"),
        ({"budget": {"parameters": 0.001}}, "least"),
    ]:
        with pytest.raises(ValueError, match=told):
            run(recipe({"grow": {}}, **more), out=tmp_path / "refused")
        assert not (tmp_path / "refused").exists()
    with pytest.raises(ValueError, match="shrink|sparsify|method|grow"):
        run(recipe({"groww": {}}), out=tmp_path / "refused")
