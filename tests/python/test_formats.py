"""What Lyceum writes is read by the tools of its users."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

LYCEUM = os.environ["LYCEUM"]

RECIPE = """
experiment = "train"
[data]
name = "digits"
[model.mlp]
hidden = [16]
[training]
epochs = 3
[sharpness]
examples = 50
iterations = 2
[[arm]]
name = "SGD"
estimator = "plain"
"""


def lyceum(*arguments: object, status: int = 0) -> str:
    done = subprocess.run([LYCEUM, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "recipe.toml").write_text(RECIPE)
    lyceum("run", folder / "recipe.toml", "--quiet", "--out", folder / "out")
    return folder / "out"


def test_metrics_are_json_lines_and_tensorboard_reads_the_same(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "SGD/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    events = EventAccumulator(str(run / "SGD"))
    events.Reload()
    found = [(event.step, event.value) for event in events.Scalars("train_loss")]
    assert found == [(line["step"], pytest.approx(line["train_loss"], rel=1e-6)) for line in lines]


def test_checkpoints_are_safetensors(run: Path) -> None:
    newest = max((run / "SGD/checkpoints").iterdir())
    model = load_file(newest / "model.safetensors")
    assert model["Mlp.hidden.0.weight"].shape == (64, 16)
    assert all(np.isfinite(value).all() for value in model.values())


def test_json_progress_is_one_object_a_line(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    lines = lyceum("run", tmp_path / "recipe.toml", "--json", "--out", tmp_path / "out").splitlines()
    events = [json.loads(line) for line in lines]
    assert events[-1]["event"] == "end"
    assert events[-1]["summary"]["SGD/test_accuracy"] > 0.5


def test_prediction_sets_from_numpy_and_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 20, 4000)
    logits = rng.normal(size=(4000, 20)).astype(np.float32)
    logits[np.arange(4000), labels] += 2
    for name, rows in [("cal", slice(0, 2000)), ("test", slice(2000, 4000))]:
        np.save(tmp_path / f"{name}.npy", logits[rows])
        np.save(tmp_path / f"{name}_y.npy", labels[rows].astype(np.int32))
    model = tmp_path / "model.json"
    lyceum("conformal", "calibrate", "--logits", tmp_path / "cal.npy", "--labels", tmp_path / "cal_y.npy", "--out", model)
    lyceum("conformal", "predict", "--model", model, "--logits", tmp_path / "test.npy", "--out", tmp_path / "sets.npz")
    lyceum("conformal", "predict", "--model", model, "--logits", tmp_path / "test.npy", "--out", tmp_path / "sets.parquet")
    sets = np.load(tmp_path / "sets.npz")
    starts, members = sets["indptr"], sets["indices"]
    covered = np.mean([labels[2000 + i] in members[starts[i] : starts[i + 1]] for i in range(2000)])
    assert abs(covered - 0.9) < 0.03
    lists = pq.read_table(tmp_path / "sets.parquet").column(0).to_pylist()
    assert lists == [members[starts[i] : starts[i + 1]].tolist() for i in range(2000)]


def test_float64_and_fortran_order_are_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(500, 6)), rng.integers(0, 6, 500)
    np.save(tmp_path / "y.npy", labels)
    models = []
    for name, array in [("c", logits.astype(np.float32)), ("f", np.asfortranarray(logits.astype(np.float32))), ("d", logits)]:
        np.save(tmp_path / f"{name}.npy", array)
        out = tmp_path / f"{name}.json"
        lyceum("conformal", "calibrate", "--logits", tmp_path / f"{name}.npy", "--labels", tmp_path / "y.npy", "--out", out)
        models.append(json.loads(out.read_text()))
    assert models[0] == models[1] == models[2]
