"""Numbers instead of classes: `regress`, what it leaves, and what is asked of it."""

import csv
import json
import os
import subprocess

import numpy as np
import pytest
from lyceum import Model, run

LYCEUM = os.environ["LYCEUM"]
ARM = {"name": "a", "estimator": "plain"}


def table(n, seed=0):
    """Columns in very unlike units; the spread of `height` grows with `b`."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(n, 3)) * [1, 1000, 0.01] + [0, -4000, 5]
    height = 170 + 30 * x[:, 0] - (x[:, 1] + 4000) / 50 + rng.normal(size=n) * (1 + 6 * (x[:, 2] - 5) / 0.01)
    return x, height


def written(path, x, height, site=None):
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["a", "height", "c", "b"] + ([] if site is None else ["site"]))
        for row in range(len(x)):
            out.writerow([x[row, 0], height[row], x[row, 1], x[row, 2]] + ([] if site is None else [site[row]]))
    return str(path)


def recipe(path, **changes):
    data = {"path": path, "target": "height", "standardize": True, "held_out": 0.3, **changes.pop("data", {})}
    return {
        "experiment": "regress", "seed": 1, "data": data, "model": {"mlp": {"hidden": [16]}},
        "training": {"epochs": 60, "batch_size": 32, "learning_rate": 0.02}, "arm": [ARM], **changes,
    }


def asked(*arguments):
    done = subprocess.run([LYCEUM, "predict", *map(str, arguments), "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line for line in map(json.loads, done.stdout.splitlines()) if "input" in line]


@pytest.mark.parametrize("loss", ["squared", "absolute", "huber", "quantile"])
def test_a_table_is_learned_and_asked(tmp_path, loss):
    x, height = table(900)
    path = written(tmp_path / "set.csv", x, height, site=["s" if a < 0.5 else "t" for a in x[:, 0]])
    found = run(recipe(path, data={"group": "site"}, regression={"loss": loss, "alpha": 0.2}), out=tmp_path / "run")
    assert found.values["a/test_r2"] > 0.8 and abs(found.values["a/coverage"] - 0.8) < 0.08, found.values
    assert "Groups" in (found.folder / "report.html").read_text(encoding="utf-8")

    model = Model.load(found.folder)
    assert model.target_ == "height" and model.alpha_ == 0.2 and len(model.classes_) == 0 and "height" in repr(model)
    new, truth = table(500, seed=7)
    rows = new[:, [0, 1, 2]]  # a, c, b: the order of the table
    values, ends = model.predict(rows), model.predict_interval(rows)
    assert 1 - np.mean((values - truth) ** 2) / truth.var() > 0.8
    covered = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
    assert abs(covered.mean() - 0.8) < 0.08
    # Quantiles that were too far apart are moved inward, beyond a median here and there.
    assert ((ends[:, 0] <= values) & (values <= ends[:, 1])).mean() >= (0.95 if loss == "quantile" else 1.0)
    widths = ends[:, 1] - ends[:, 0]
    calm, wild = widths[new[:, 2] < 5.002].mean(), widths[new[:, 2] > 5.008].mean()
    assert wild > 1.5 * calm if loss == "quantile" else np.allclose(widths, widths[0], rtol=1e-4)

    # The same from the command line, whole and line by line, in another order of columns.
    lines = asked(found.folder, written(tmp_path / "new.csv", new, truth))
    assert np.allclose([line["value"] for line in lines], values, rtol=1e-6) and lines[3]["truth"] == str(truth[3])
    assert np.allclose([[line["low"], line["high"]] for line in lines], ends, rtol=1e-6)
    assert np.allclose(np.concatenate([model.predict(row[None]) for row in rows[:20]]), values[:20], rtol=1e-6)
    np.savez(tmp_path / "new.npz", x=rows)
    assert np.allclose([line["value"] for line in asked(found.folder, tmp_path / "new.npz")], values, rtol=1e-6)

    done = subprocess.run([LYCEUM, "predict", found.folder, tmp_path / "new.csv", "--out", tmp_path / "out.csv"], capture_output=True, text=True)
    assert "RMSE" in done.stdout and "intervals with the number" in done.stdout, done.stdout + done.stderr
    with open(tmp_path / "out.csv", newline="") as file:
        assert list(csv.DictReader(file))[0].keys() == {"input", "truth", "value", "low", "high"}


def test_what_is_kept_is_in_units_of_the_target(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    x, height = table(600)
    found = run(recipe(written(tmp_path / "set.csv", x, height)), out=tmp_path / "run")
    model = Model.load(found.folder)
    session = onnxruntime.InferenceSession(str(found.folder / "a" / "model.onnx"))
    told = session.get_modelmeta().custom_metadata_map
    mean, deviation = (np.array(json.loads(told[key])) for key in ("lyceum.mean", "lyceum.std"))
    (given,) = session.run(None, {session.get_inputs()[0].name: ((x - mean) / deviation).astype(np.float32).reshape(-1, *session.get_inputs()[0].shape[1:])})
    assert np.allclose(given.ravel(), model.predict(x), rtol=1e-5)
    target = json.loads(told["lyceum.target"])
    assert target["name"] == "height" and target["intervals"]["calibration_size"] == 180 and "lyceum.classes" not in told
    half = np.diff(model.predict_interval(x)).ravel() / 2
    assert np.allclose(half, target["intervals"]["q"], rtol=1e-6)

    # Written again, and weights of the run, which are of the best epoch: in the same units.
    model.export(tmp_path / "again.onnx")
    again = Model.load(tmp_path / "again.onnx")
    assert np.allclose(again.predict_interval(x), model.predict_interval(x)) and again.target_ == "height"
    best = Model.load(found.folder / "a" / "best" / "model.safetensors")
    assert best.alpha_ is None and np.corrcoef(best.predict(x), height)[0, 1] > 0.9 and abs(best.predict(x).mean() - height.mean()) < 2
    with pytest.raises(ValueError, match="no calibrated intervals"):
        best.predict_interval(x)
    with pytest.raises(ValueError, match="one of classes"):
        model.predict_proba(x)

    # It is trained on where it stopped, with the columns, the normalisation and the scale that it tells.
    short = {"epochs": 1, "batch_size": 32, "learning_rate": 1e-4}
    onnx = {"onnx": {"file": str(tmp_path / "again.onnx")}}
    with open(tmp_path / "turned.csv", "w", newline="") as file:
        csv.writer(file).writerows([["b", "height", "c", "a"], *([x[row, 2], height[row], x[row, 1], x[row, 0]] for row in range(600))])
    for path in ("set.csv", "turned.csv"):
        further = run(recipe(str(tmp_path / path), data={"standardize": False}, model=onnx, training=short), out=tmp_path / f"further {path}")
        assert further.values["a/test_r2"] > 0.8, path
        assert np.allclose(Model.load(further.folder).predict(x), model.predict(x), atol=2), path
        assert Model.load(further.folder / "a" / "best" / "model.safetensors").predict(x).mean() == pytest.approx(height.mean(), abs=2)
    with pytest.raises(ValueError, match="data.standardize"):
        run(recipe(str(tmp_path / "set.csv"), model=onnx, training=short), out=tmp_path / "twice")
    onnx["onnx"]["new_head"] = True
    for loss in ("squared", "quantile"):
        found = run(recipe(str(tmp_path / "set.csv"), data={"standardize": False}, model=onnx, regression={"loss": loss}), out=tmp_path / f"head {loss}")
        assert found.values["a/test_r2"] > 0.8


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_units_do_not_matter(tmp_path, unit):
    """Not those of the target, also of a network of another tool."""
    onnx = pytest.importorskip("onnx")
    helper, rng = onnx.helper, np.random.default_rng(3)
    x, height = table(400)
    x = (x - x.mean(0)) / x.std(0)
    path = written(tmp_path / "set.csv", x, height * unit)
    weights = {"v": rng.normal(size=(3, 16)), "b": rng.normal(size=16), "w": rng.normal(size=(16, 1)) * unit * 5, "c": np.full(1, 160 * unit)}
    nodes = [helper.make_node("Gemm", ["x", "v", "b"], ["h"]), helper.make_node("Relu", ["h"], ["r"]), helper.make_node("Gemm", ["r", "w", "c"], ["y"])]
    value = lambda name, width: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", width])
    initial = [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "net", [value("x", 3)], [value("y", 1)], initial)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(tmp_path / "net.onnx"))
    data = {"standardize": False}
    for name, model in {"own": {"mlp": {"hidden": [16]}}, "theirs": {"onnx": {"file": str(tmp_path / "net.onnx")}}}.items():
        found = run(recipe(path, data=data, model=model), out=tmp_path / name)
        assert found.values["a/test_r2"] > 0.8, name
        assert found.values["a/test_rmse"] == pytest.approx(UNITS.setdefault(name, found.values["a/test_rmse"] / unit) * unit, rel=1e-2)
    assert np.allclose(Model.load(tmp_path / "theirs" / "a" / "best" / "model.safetensors").predict(x), height * unit, atol=30 * unit)


UNITS = {}


def test_every_kind_of_own_data_has_targets(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    x, height = table(300)
    expected = run(recipe(written(tmp_path / "set.csv", x, height), training={"epochs": 2}), out=tmp_path / "csv").values
    frame = pandas.DataFrame({"a": x[:, 0], "c": x[:, 1], "b": x[:, 2], "height": height.astype(np.float32)})
    frame.to_parquet(tmp_path / "set.parquet")
    np.savez(tmp_path / "set.npz", x=x, height=height, y=rng.integers(0, 3, 300))
    for kind in ("parquet", "npz"):
        found = run(recipe(str(tmp_path / f"set.{kind}"), training={"epochs": 2}), out=tmp_path / kind).values
        assert found == pytest.approx(expected, rel=1e-4), kind
    np.savez(tmp_path / "parts.npz", x_train=x[:200], x_test=x[200:], height_train=(height[:200] * 10).astype(np.int64), height_test=(height[200:] * 10)[:, None])
    assert run(recipe(str(tmp_path / "parts.npz"), training={"epochs": 20}), out=tmp_path / "parts").values["a/test_r2"] > 0.5
    # How bright a picture is; how long a text.
    (tmp_path / "pictures").mkdir()
    with open(tmp_path / "pictures" / "metadata.csv", "w") as file:
        file.write("file_name,brightness\n")
        for number in range(80):
            level = rng.integers(0, 200)
            image.fromarray(rng.integers(level, level + 55, (8, 8)).astype(np.uint8)).save(tmp_path / "pictures" / f"{number}.png")
            file.write(f"{number}.png,{level / 10}\n")
    data = {"path": str(tmp_path / "pictures"), "target": "brightness", "held_out": 0.3}
    found = run({**recipe("", training={"epochs": 80, "batch_size": 8, "learning_rate": 0.005}), "data": data}, out=tmp_path / "brightness")
    assert found.values["a/test_r2"] > 0.8
    assert [round(line["value"]) for line in asked(found.folder, tmp_path / "pictures" / "0.png")]
    with open(tmp_path / "texts.jsonl", "w") as file:
        for _ in range(120):
            text = "ab" * int(rng.integers(1, 8))
            file.write(json.dumps({"text": text, "length": len(text)}) + "\n")
    data = {"path": str(tmp_path / "texts.jsonl"), "target": "length", "window": 16, "held_out": 0.3}
    lstm = {"lstm": {"symbols": 257, "embedding": 8, "hidden": 16}}
    found = run({**recipe("", model=lstm, training={"epochs": 30, "batch_size": 8, "learning_rate": 0.05}), "data": data}, out=tmp_path / "texts")
    assert found.values["a/test_r2"] > 0.5 and Model.load(found.folder).predict(["ab" * 7])[0] > Model.load(found.folder).predict(["ab"])[0]


def test_mistakes(tmp_path):
    x, height = table(60)
    path = written(tmp_path / "set.csv", x, height)
    height[4] = np.nan
    holed = written(tmp_path / "holed.csv", x, height)
    flat = {"path": path, "target": "height"}
    for wrong, said in [
        (recipe(path, data={"target": "weight"}), "one called `weight` \\(data.target\\)"),
        (recipe(holed), "example 4: found `nan` as the target"),
        (recipe(path, data={"label": "height"}), "data.label"),
        (recipe(path, data={"held_out": 0.0}), "data.held_out"),
        (recipe(path, training={"patience": 2}), "training.patience"),
        (recipe(path, training={"class_weights": "balanced"}), "training.class_weights"),
        ({**recipe(path), "data": {"path": path}}, "data.target"),
        ({**recipe(path), "data": {"name": "digits", "target": "height"}}, "data.target"),
        ({**recipe(path), "experiment": "train"}, "data.target.*in `regress`"),
        ({"experiment": "federated", "data": flat, "model": "linear", "clients": {"count": 2}, "rounds": 1, "arm": [{"method": "fedavg"}]}, "data.target"),
        ({"experiment": "continual", "data": flat, "model": "linear", "stream": {"split": {"classes": 1}}, "strategy": [{"method": "naive"}]}, "data.target"),
    ]:
        with pytest.raises(ValueError, match=said):
            run(wrong, out=tmp_path / "run")
        assert not (tmp_path / "run").exists(), said
    # Single precision cannot tell numbers apart that are far from 0.
    far = written(tmp_path / "far.csv", x, 1.7e9 + np.arange(60.0))
    with pytest.raises(ValueError, match="data.target.*subtract a constant"):
        run(recipe(far), out=tmp_path / "run")
    with pytest.raises(ValueError, match="data.held_out: found 18 examples; allowed: 19 or more"):
        run(recipe(path, regression={"alpha": 0.05}), out=tmp_path / "run")
    found = run(recipe(path, training={"epochs": 1}), out=tmp_path / "run")
    for arguments, said in [(["--top", "2"], "--top"), (["--logits", "l.npy"], "--logits"), (["--label", "a"], "a")]:
        done = subprocess.run([LYCEUM, "predict", found.folder, path, *arguments], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 2 and said in done.stderr, done.stderr
    (tmp_path / "words.csv").write_text("a,c,b,height\n1,2,3,tall\n")
    done = subprocess.run([LYCEUM, "predict", found.folder, tmp_path / "words.csv"], capture_output=True, text=True)
    assert done.returncode == 2 and "`tall`" in done.stderr, done.stderr


@pytest.mark.parametrize("loss", ["squared", "quantile"])
def test_intervals_cover_over_many_runs(tmp_path, loss):
    """Of each run one number in five: whatever the network has learned."""
    shares = []
    for seed in range(1, 31):
        x, height = table(160, seed)
        path = written(tmp_path / f"{seed}.csv", x, height)
        short = {"epochs": 2, "batch_size": 32, "learning_rate": 0.02}
        found = run(recipe(path, data={"held_out": 0.25, "test": 0.5}, regression={"loss": loss, "alpha": 0.2}, training=short), out=tmp_path / str(seed))
        shares.append(found.values["a/coverage"])
    # 33 of 41 on average: the 33rd of 40 scores.
    assert abs(np.mean(shares) - 33 / 41) < 4 * np.std(shares, ddof=1) / np.sqrt(len(shares)), (np.mean(shares), np.std(shares))


def test_what_is_known_of_examples(tmp_path):
    image, pandas = pytest.importorskip("PIL.Image"), pytest.importorskip("pandas")
    x, height = table(200)
    frame = pandas.DataFrame({"a": x[:, 0], "c": x[:, 1], "b": x[:, 2], "group": height})
    frame.to_csv(tmp_path / "set.csv", index=False)
    frame.to_parquet(tmp_path / "set.parquet")
    found = run(recipe(str(tmp_path / "set.csv"), data={"target": "group"}), out=tmp_path / "run")
    model = Model.load(found.folder)
    # A target that is called as groups are; columns of a table in another order.
    for kind in ("csv", "parquet"):
        done = subprocess.run([LYCEUM, "predict", found.folder, tmp_path / f"set.{kind}", "--out", tmp_path / "out.csv"], capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.count("\n| ") == 2, done.stdout + done.stderr
    turned = frame[["b", "a", "c"]]
    assert np.array_equal(model.predict(turned), model.predict(x)) and np.array_equal(model.predict(turned.to_numpy()[:, [1, 2, 0]]), model.predict(x))
    with pytest.raises(ValueError, match="X: found the columns a, c, b, group"):
        model.predict(frame)
    # Numbers that are not known are not compared; inputs in other units void the intervals.
    frame["group"] = [*height[:150], *[np.nan] * 50]
    frame.to_csv(tmp_path / "holes.csv", index=False, na_rep="NA")
    done = subprocess.run([LYCEUM, "predict", found.folder, tmp_path / "holes.csv", "--out", tmp_path / "out.csv"], capture_output=True, text=True)
    assert "200 examples" in done.stdout and "150" in done.stdout, done.stdout + done.stderr
    other = asked(found.folder, tmp_path / "set.csv", "--mean", "0", "--std", "2")
    assert "low" not in other[0] and "low" in asked(found.folder, tmp_path / "set.csv")[0]

    # The same number everywhere: nothing to explain.
    frame["group"] = 0.1
    frame.to_csv(tmp_path / "flat.csv", index=False)
    flat = run(recipe(str(tmp_path / "flat.csv"), data={"target": "group"}, training={"epochs": 2}), out=tmp_path / "flat")
    assert "a/test_r2" not in flat.values and np.allclose(Model.load(flat.folder).predict(x), 0.1, atol=3)

    (tmp_path / "pictures").mkdir()
    lines = ["file_name,level,group"]
    for number in range(60):
        image.fromarray(np.full((6, 6), number * 4, np.uint8)).save(tmp_path / "pictures" / f"{number}.png")
        lines.append(f"{number}.png,{number},{'even' if number % 2 == 0 else 'odd'}")
    (tmp_path / "pictures" / "metadata.csv").write_text("\n".join(lines))
    data = {"path": str(tmp_path / "pictures"), "target": "level", "held_out": 0.3}
    found = run({**recipe("", training={"epochs": 30, "batch_size": 8, "learning_rate": 0.01}), "data": data}, out=tmp_path / "levels")
    listed = asked(found.folder, tmp_path / "pictures", "--layout", "list")
    assert {line["truth"] for line in listed} == {str(number) for number in range(60)} and {line["group"] for line in listed} == {"even", "odd"}
    (tmp_path / "pictures" / "metadata.csv").write_text("\n".join(["file_name,group", "0.png,even", "1.png,odd"]))
    listed = asked(found.folder, tmp_path / "pictures", "--layout", "list")
    assert len(listed) == 2 and "truth" not in listed[0]
    with pytest.raises(ValueError, match="one called `level` \\(data.target\\)"):
        run({**recipe(""), "data": data}, out=tmp_path / "none")
    (tmp_path / "pictures" / "metadata.csv").unlink()
    with pytest.raises(FileNotFoundError, match="`file_name`, `level`"):
        run({**recipe(""), "data": data}, out=tmp_path / "none")
