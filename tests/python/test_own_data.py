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


def sites(folder, per_class=12):
    """Pictures in one folder, with a table that tells what they show and where they were taken."""
    pictures(folder / "by-class", per_class)
    rows = ["file_name,label,site"]
    (folder / "flat").mkdir()
    for number, file in enumerate(sorted((folder / "by-class").rglob("*.png"))):
        name = f"{file.parent.name}-{file.name}"
        file.rename(folder / "flat" / name)
        rows.append(f"{name},{file.parent.name},{['leeds', 'york', 'hull'][number % 3]}")
        grouped = folder / "grouped" / ["leeds", "york", "hull"][number % 3] / file.parent.name
        grouped.mkdir(parents=True, exist_ok=True)
        (grouped / file.name).write_bytes((folder / "flat" / name).read_bytes())
    (folder / "flat" / "metadata.csv").write_text("\n".join(rows))
    return folder / "flat", folder / "grouped"


def split_of(found):
    rows = [line.rsplit(",", 1) for line in (found.folder / "split.csv").read_text().splitlines()[1:]]
    return {name: part for name, part in rows}


def test_groups(tmp_path):
    flat, grouped = sites(tmp_path)
    data = {"path": str(flat), "group": "site", "whole_groups": True, "held_out": 0.34, "test": 0.33}
    found = run({**TRAIN, "data": data}, out=tmp_path / "whole")
    site = dict(line.split(",")[::2] for line in (flat / "metadata.csv").read_text().splitlines()[1:])
    parts = {}
    for name, part in split_of(found).items():
        parts.setdefault(site[name], set()).add(part)
    assert len(parts) == 3 and all(len(part) == 1 for part in parts.values()), parts
    only = run({**TRAIN, "data": {"path": str(grouped), "layout": "group-class", "groups": ["york", "hull"], "classes": ["frame", "bar", "cross"]}}, out=tmp_path / "only")
    assert len(split_of(only)) == 24 and Model.load(only.folder).classes_.tolist() == ["frame", "bar", "cross"]
    # Each site is a client, or a task.
    federated = {
        "experiment": "federated", "seed": 1, "rounds": 2, "targets": [0.5], "data": {"path": str(grouped), "layout": "group-class", "held_out": 0.0},
        "model": "linear", "clients": {"split": "groups"}, "local": {"epochs": 1, "learning_rate": 0.1}, "arm": [{"method": "fedavg"}],
    }
    told = run(federated, out=tmp_path / "federated")
    assert Model.load(told.folder).predict(str(flat / "bar-000.png")).shape == (1,)
    continual = {
        "experiment": "continual", "seed": 1, "data": {"path": str(flat), "group": "site", "held_out": 0.0}, "model": {"mlp": {"hidden": [8]}},
        "stream": "groups", "training": {"epochs": 1, "learning_rate": 0.05}, "strategy": [{"method": "naive"}],
    }
    assert run(continual, out=tmp_path / "continual").values
    certify = {**TRAIN, "experiment": "certify", "data": {"path": str(flat), "group": "site", "held_out": 0.4}}
    report = (run(certify, out=tmp_path / "certify").folder / "report.html").read_text()
    assert "Classes and groups" in report and "leeds" in report
    for wrong, told in [
        ({"group": "town"}, "one called `town` (data.group)"),
        ({"group": "site", "groups": ["paris"]}, "no example of the group `paris`"),
        ({"groups": ["york"]}, "data.groups"),
        ({"whole_groups": True}, "data.whole_groups"),
        ({"classes": ["bar", "cross"]}, "class `frame`"),
        ({"classes": ["bar", "bar", "cross", "frame"]}, "each name once"),
        ({"label": "kind"}, "one called `kind` (data.label)"),
    ]:
        with pytest.raises(ValueError, match=__import__("re").escape(told)):
            run({**TRAIN, "data": {"path": str(flat), **wrong}}, out=tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()
    with pytest.raises(ValueError, match="allowed: together with"):
        run({**federated, "data": {"path": str(tmp_path / "by-class")}}, out=tmp_path / "wrong")


def test_class_incremental_streams(tmp_path):
    pictures(tmp_path / "pictures", 20)
    recipe = {
        "experiment": "continual", "seed": 1, "data": {"path": str(tmp_path / "pictures"), "held_out": 0.0}, "model": {"mlp": {"hidden": [8]}},
        "stream": {"split": {"classes": [2, 1], "scenario": "class-incremental", "shuffle": True}}, "training": {"epochs": 2, "learning_rate": 0.05},
        "strategy": [{"method": "naive"}, {"method": {"replay": {"memory": 20}}}],
    }
    found = run(recipe, out=tmp_path / "run")
    model = Model.load(found.folder / "naive")
    assert sorted(model.classes_) == ["bar", "cross", "frame"] and len(Model.load(found.folder / "ER").classes_) == 3
    # What was learnt last is all that is left without a strategy.
    files = [str(file) for file in sorted((tmp_path / "pictures").rglob("*.png"))]
    assert (model.predict(files) == model.classes_[2]).mean() > 0.9
    with pytest.raises(ValueError, match="which must know the task"):
        run({**recipe, "strategy": [{"method": {"hat": {}}}]}, out=tmp_path / "hat")
    for classes in ([2, 2], 2, 0):
        with pytest.raises(ValueError, match="stream.split.classes"):
            run({**recipe, "stream": {"split": {"classes": classes}}}, out=tmp_path / "wrong")


def test_augmentation_and_class_weights(tmp_path):
    pictures(tmp_path / "pictures", 20)
    everything = {"crop": 1, "flip": True, "rotate": 5, "zoom": 0.8, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "mixup": 0.2}
    recipe = {**TRAIN, "data": {"path": str(tmp_path / "pictures")}, "training": {"epochs": 6, "batch_size": 16, "augment": everything, "class_weights": "balanced"}}
    values = [run(recipe, out=tmp_path / name).values for name in "ab"]
    assert values[0] == values[1]
    plain = run({**recipe, "training": {"epochs": 6, "batch_size": 16}}, out=tmp_path / "plain").values
    assert plain["a/test_log_loss"] != values[0]["a/test_log_loss"] if "a/test_log_loss" in plain else plain != values[0]
    # Weights of 1 change nothing, others do.
    short = {"epochs": 2, "batch_size": 16}
    weighed = [run({**recipe, "training": {**short, **more}}, out=tmp_path / f"w{n}").values for n, more in enumerate([{}, {"class_weights": {"given": [1.0, 1.0, 1.0]}}, {"class_weights": {"given": [1.0, 5.0, 1.0]}}])]
    assert weighed[0] == weighed[1] != weighed[2]
    for wrong, told in [({"augment": {"zoom": 2.0}}, "zoom"), ({"augment": {"mixup": -1.0}}, "mixup"), ({"class_weights": {"given": [1.0]}}, "3 finite numbers")]:
        with pytest.raises(ValueError, match=told):
            run({**recipe, "training": wrong}, out=tmp_path / "wrong")
    rows = {**TRAIN, "model": {"mlp": {"hidden": [4]}}, "data": {"name": "digits", "limit": 50}, "training": {"epochs": 1, "augment": {"flip": True}}}
    assert run(rows, out=tmp_path / "digits").values


def test_predictions_are_compared_with_what_is_known(tmp_path):
    flat, grouped = sites(tmp_path)
    found = run({**TRAIN, "data": {"path": str(grouped), "layout": "group-class"}}, out=tmp_path / "run")
    predict = [LYCEUM, "--quiet", "predict", found.folder]
    out = [tmp_path / f"p.{kind}" for kind in ("csv", "jsonl", "parquet")]
    for file, source in zip(out, ([grouped, "--layout", "group-class"], [flat, "--layout", "list", "--group", "site"], [grouped, "--layout", "group-class"])):
        done = subprocess.run([*predict, *source, "--out", file, "--logits", tmp_path / "logits.csv"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "leeds" in done.stdout and "| all " in done.stdout, done.stdout
    pandas = pytest.importorskip("pandas")
    rows = pandas.read_csv(out[0])
    assert rows.columns.tolist() == ["input", "truth", "group", "label", "probability"] and len(rows) == 36
    table = pandas.read_parquet(out[2])
    assert table.label.tolist() == rows.label.tolist() and np.allclose(table.probability, rows.probability, atol=1e-6)
    lines = [json.loads(line) for line in out[1].read_text().splitlines()]
    assert sorted((line["truth"], line["group"], line["label"]) for line in lines) == sorted(zip(rows.truth, rows.group, rows.label))
    # Sets by class and by site, from the table of logits alone.
    for scheme, more in [("class-conditional", []), ("groups", ["--groups", tmp_path / "logits.csv"])]:
        command = [LYCEUM, "conformal", "calibrate", "--logits", tmp_path / "logits.csv", "--scheme", scheme, *more, "--alpha", "0.3", "--out", tmp_path / "sets.json"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        done = subprocess.run([*predict, grouped, "--layout", "group-class", "--sets", tmp_path / "sets.json", "--out", out[0]], capture_output=True, text=True)
        assert done.returncode == 0 and "labels a set" in done.stdout, done.stderr
    # Sets by group need groups, and go with the model.
    done = subprocess.run([*predict, tmp_path / "flat", "--sets", tmp_path / "sets.json"], capture_output=True, text=True)
    assert done.returncode == 2 and "groups of the examples" in done.stderr, done.stderr
    exported = subprocess.run([LYCEUM, "export", found.folder, "--sets", tmp_path / "sets.json", "--to", tmp_path / "with.onnx"], capture_output=True, text=True)
    assert exported.returncode == 0, exported.stderr
    again = subprocess.run([LYCEUM, "--quiet", "predict", tmp_path / "with.onnx", grouped, "--layout", "group-class", "--out", tmp_path / "q.csv"], capture_output=True, text=True)
    assert again.returncode == 0 and (tmp_path / "q.csv").read_text() == out[0].read_text(), again.stderr


def test_tables_of_numbers_are_predicted(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(120, 4)).astype(np.float32), rng.integers(0, 2, 120)
    x[:, 0] += 4 * y
    np.savez(tmp_path / "t.npz", x=x, y=y)
    recipe = {**TRAIN, "model": {"mlp": {"hidden": [8]}}, "data": {"path": str(tmp_path / "t.npz")}}
    found = run(recipe, out=tmp_path / "run")
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(x, columns=list("abcd")).assign(label=y.astype(str), group=np.where(x[:, 1] > 0, "up", "down"))
    frame.to_parquet(tmp_path / "t.parquet", index=False)
    frame.to_csv(tmp_path / "t.csv", index=False)
    told = []
    for source in ("t.npz", "t.parquet", "t.csv"):
        done = subprocess.run([LYCEUM, "--quiet", "predict", found.folder, tmp_path / source, "--out", tmp_path / "p.csv"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        rows = pandas.read_csv(tmp_path / "p.csv")
        told.append(rows[["label", "probability"]].to_numpy().tolist())
        assert ("truth" in rows) == (source != "t.npz") == ("| up " in done.stdout)
    assert told[0] == told[1] == told[2]
    own = {**recipe, "data": {"path": str(tmp_path / "t.parquet"), "group": "group"}}
    assert run(own, out=tmp_path / "parquet").values["a/test_accuracy"] > 0.8


def test_texts(tmp_path):
    rng = np.random.default_rng(0)
    words = {"sea": ["wave", "tide", "salt", "großer Hai"], "sky": ["cloud", "wind", "blue", "ciel étoilé"]}
    lines = []
    for number in range(240):
        label = ["sea", "sky"][number % 2]
        lines.append({"text": " ".join(rng.choice(words[label], 3)), "label": label, "site": number % 3})
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    lstm = {"lstm": {"symbols": 257, "embedding": 8, "hidden": 16, "layers": 1}}
    recipe = {**TRAIN, "model": lstm, "data": {"path": str(tmp_path / "t.jsonl"), "window": 24}, "training": {"epochs": 12, "batch_size": 16, "learning_rate": 0.02, "optimizer": {"adam": {}}}}
    found = run(recipe, out=tmp_path / "run")
    assert found.values["a/test_accuracy"] > 0.9, found.table
    model = Model.load(found.folder)
    assert model.predict(["wave tide", "cloud and blue"]).tolist() == ["sea", "sky"] and model.predict("salt").tolist() == ["sea"]
    done = subprocess.run([LYCEUM, "--quiet", "predict", found.folder, tmp_path / "t.jsonl", "--out", tmp_path / "p.jsonl"], capture_output=True, text=True)
    assert done.returncode == 0 and "| all " in done.stdout, done.stderr
    told = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [line["truth"] for line in told] == [line["label"] for line in lines]
    assert [line["label"] for line in told] == model.predict([line["text"] for line in lines]).tolist()
    piped = subprocess.run([LYCEUM, "predict", found.folder, "-"], input="wave\nwind\n", capture_output=True, text=True)
    assert [line.split(",")[1] for line in piped.stdout.splitlines()] == ["label", "sea", "sky"], piped.stderr
    bert = {"bert": {"symbols": 257, "width": 16, "heads": 2, "feed_forward": 32, "layers": 1}}
    certify = {**recipe, "experiment": "certify", "model": bert, "data": {**recipe["data"], "held_out": 0.4}}
    assert len(Model.load(run(certify, out=tmp_path / "certify").folder).predict_sets(["wave tide salt"])) == 1
    federated = {"experiment": "federated", "seed": 1, "rounds": 2, "targets": [0.5], "data": {**recipe["data"], "group": "site", "held_out": 0.0}, "model": lstm, "clients": {"split": "groups"}, "local": {"epochs": 1}, "arm": [{"method": "fedavg"}]}
    assert Model.load(run(federated, out=tmp_path / "federated").folder).predict("tide").shape == (1,)
    for wrong, told in [({"model": {"lstm": {}}}, "symbols.: absent"), ({"model": {"bert": {"symbols": 80}}}, "found 80"), ({"data": {**recipe["data"], "window": 0}}, "window"), ({"data": {**recipe["data"], "label": "kind"}}, "has no `kind`")]:
        with pytest.raises(ValueError, match=told):
            run({**recipe, **wrong}, out=tmp_path / "wrong")
    (tmp_path / "bad.jsonl").write_text('{"text": "a", "label": 1}\n{"label": 2}')
    with pytest.raises(ValueError, match="line 2: has no text"):
        run({**recipe, "data": {"path": str(tmp_path / "bad.jsonl")}}, out=tmp_path / "wrong")
    with pytest.raises(ValueError, match="not trained on texts"):
        subprocess_model = run({**TRAIN, "model": "linear", "data": {"name": "digits", "limit": 50}, "training": {"epochs": 1}}, out=tmp_path / "digits")
        Model.load(subprocess_model.folder)._native.texts(["a"])


def told(*arguments, **options):
    return subprocess.run([LYCEUM, "--quiet", *map(str, arguments)], capture_output=True, text=True, **options)


def test_columns_have_names_and_an_order(tmp_path):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 160)
    frame = pandas.DataFrame(rng.normal(size=(160, 4)), columns=["a", "b, c", "d", "e"])
    frame["a"] += 4 * y
    frame["kind"] = np.where(y, "cat, big", "dog")
    frame = frame.sample(frac=1, random_state=0)
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")  # with its index, which is no column
    for name in ("t.csv", "t.parquet"):
        found = run({**TRAIN, "model": "linear", "data": {"path": str(tmp_path / name), "label": "kind"}}, out=tmp_path / f"run-{name}")
        model = Model.load(found.folder)
        assert model.input_shape == (4,) and sorted(model.classes_) == ["cat, big", "dog"]
        frame[["kind", "e", "d", "b, c", "a"]].to_csv(tmp_path / "turned.csv", index=False)
        frame[["e", "kind", "a", "d", "b, c"]].to_parquet(tmp_path / "turned.parquet", index=False)
        right = []
        for file in ("t.csv", "turned.csv", "turned.parquet"):
            done = told("predict", found.folder, tmp_path / file, "--label", "kind", "--out", tmp_path / "p.csv")
            assert done.returncode == 0, done.stderr
            rows = pandas.read_csv(tmp_path / "p.csv")
            right.append((rows.truth == rows.label).mean())
        assert right[0] > 0.9 and right == [right[0]] * 3
    for columns, text in [(["a", "d", "e", "kind"], "one called `b, c`"), (["a", "b, c", "d", "e", "extra", "kind"], "a column `extra`")]:
        frame.assign(extra=1)[columns].to_csv(tmp_path / "other.csv", index=False)
        done = told("predict", found.folder, tmp_path / "other.csv", "--label", "kind")
        assert done.returncode == 2 and text in done.stderr, done.stderr
    # Without a header the order is that of training; 0, 1, 2, … are a header.
    values = frame[["a", "b, c", "d", "e"]].to_numpy()
    np.savetxt(tmp_path / "plain.csv", values, delimiter=";")
    pandas.DataFrame(values).to_csv(tmp_path / "counted.csv", index=False)
    plain = told("predict", found.folder, tmp_path / "plain.csv").stdout.splitlines()
    assert [line.rsplit(",", 1)[0].split(",", 1)[1] for line in plain[1:]] == [f'"{x}"' if "," in x else x for x in rows.label]
    done = told("predict", found.folder, tmp_path / "counted.csv")
    assert done.returncode == 2 and "one called `a`" in done.stderr


def test_inputs_of_which_some_is_known(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)).astype(np.float32), rng.integers(0, 2, 60)
    np.savez(tmp_path / "t.npz", x=x, y=y)
    found = run({**TRAIN, "model": "linear", "data": {"path": str(tmp_path / "t.npz")}}, out=tmp_path / "run")
    (tmp_path / "t.csv").write_text("p,q,r,label,group\n1,2,3,0,all\n3,2,1,1,all\n")
    done = told("predict", found.folder, tmp_path / "t.npz", tmp_path / "t.csv", "--out", tmp_path / "p.csv", "--logits", tmp_path / "l.csv")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines[0] == "input,truth,group,label,probability" and ",,," in lines[1].replace(",0,", ",,").replace(",1,", ",,") and ",1,all," in lines[-1]
    assert (tmp_path / "l.csv").read_text().splitlines()[0] == "input,label,group,0,1"
    end = subprocess.run([LYCEUM, "--json", "predict", found.folder, tmp_path / "t.csv", "--out", tmp_path / "p.csv"], capture_output=True, text=True)
    told_of = json.loads(end.stdout.splitlines()[-1])
    assert told_of["all"]["examples"] == 2 and told_of["groups"]["all"]["examples"] == 2
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame({"p": [1.0], "q": [2.0], "r": [0.0], "label": [True]}).to_parquet(tmp_path / "bool.parquet")
    done = told("predict", found.folder, tmp_path / "bool.parquet")
    assert done.returncode == 2 and "`label`" in done.stderr


def test_keys_that_say_nothing_of_the_data(tmp_path):
    flat, grouped = sites(tmp_path)
    np.savez(tmp_path / "t.npz", x=np.zeros((9, 3), np.float32), y=np.arange(9) % 3)
    np.savez(tmp_path / "empty.npz", x=np.zeros((9, 0), np.uint8), y=np.arange(9) % 3)
    (tmp_path / "t.jsonl").write_text('{"text": "a", "label": 1}\n{"text": "b", "label": 2}\n' * 8)
    by_class = grouped / "york"
    for data, text in [
        ({"name": "digits", "group": "x"}, "data.group"), ({"name": "digits", "window": 5}, "data.window"), ({"name": "digits", "classes": ["a", "b"]}, "data.classes"),
        ({"path": by_class, "window": 5}, "data.window"), ({"path": by_class, "label": "kind"}, "metadata.csv"), ({"path": tmp_path / "t.npz", "layout": "group-class"}, "data.layout"),
        ({"path": tmp_path / "t.npz", "size": [2, 2]}, "data.size"), ({"path": flat, "layout": "class"}, "no sub-folders"), ({"path": by_class, "layout": "list"}, "metadata.csv"),
        ({"path": by_class, "size": [10**6, 10**6]}, "data.size"), ({"path": tmp_path / "t.jsonl", "window": 10**18}, "data.window"), ({"path": tmp_path / "empty.npz"}, "no numbers"),
        ({"path": grouped, "layout": "group-class", "whole_groups": True, "groups": ["york", "hull"], "held_out": 0.3, "test": 0.3}, "data.whole_groups"),
    ]:
        data = {key: str(value) if key == "path" else value for key, value in data.items()}
        with pytest.raises((ValueError, FileNotFoundError), match=text):
            run({**TRAIN, "model": "linear", "data": data}, out=tmp_path / "wrong")
    for augment in ({"rotate": 1e308}, {"mixup": 1e308}, {"mixup": 1e-320}, {"crop": 99}):
        with pytest.raises(ValueError, match=next(iter(augment))):
            run({**TRAIN, "data": {"path": str(by_class)}, "training": {"epochs": 1, "augment": augment}}, out=tmp_path / "wrong")
    found = run({**TRAIN, "data": {"path": str(grouped), "layout": "group-class"}}, out=tmp_path / "run")
    done = told("predict", found.folder, by_class, "--layout", "list")
    assert done.returncode == 2 and "metadata.csv" in done.stderr
    # Linked folders belong to the run as others do.
    linked = tmp_path / "linked"
    linked.mkdir()
    for folder in by_class.iterdir():
        (linked / folder.name).symlink_to(folder)
    of_links = run({**TRAIN, "data": {"path": str(linked)}}, out=tmp_path / "links")
    assert len(json.loads((of_links.folder / "run.json").read_text())["inputs"]) == 12


def test_numbers_as_labels_of_a_model_with_names(tmp_path):
    pictures(tmp_path / "pictures", 20, size=(12, 12))
    found = run({**TRAIN, "data": {"path": str(tmp_path / "pictures")}}, out=tmp_path / "run")
    names = Model.load(found.folder).classes_.tolist()
    files = sorted((tmp_path / "pictures").rglob("*.png"))
    x = np.stack([np.asarray(image.open(file)).transpose(2, 0, 1) for file in files])
    y = np.array([names.index(file.parent.name) for file in files])
    np.savez(tmp_path / "t.npz", x=x, y=y)
    recipe = {**TRAIN, "model": {"onnx": {"file": str(found.folder / "a" / "model.onnx")}}, "training": {"epochs": 1}, "data": {"path": str(tmp_path / "t.npz")}}
    again = run(recipe, out=tmp_path / "again")
    assert Model.load(again.folder).classes_.tolist() == names and again.values["a/train_accuracy"] > 0.6
    (tmp_path / "pictures" / "cross").rename(tmp_path / "pictures" / "horse")
    with pytest.raises(ValueError, match="class `horse`; allowed: classes that the model knows"):
        run({**recipe, "data": {"path": str(tmp_path / "pictures")}}, out=tmp_path / "wrong")


def test_augmented_training_goes_on_where_it_stopped(tmp_path):
    pictures(tmp_path / "pictures", 40)
    training = {"epochs": 400, "batch_size": 16, "checkpoint_seconds": 0.0, "augment": {"crop": 2, "flip": True, "rotate": 5, "mixup": 0.3}}
    recipe = {**TRAIN, "training": training, "data": {"path": str(tmp_path / "pictures")}}
    whole = run({**recipe, "training": {**training, "epochs": 12}}, out=tmp_path / "whole").values
    text = "".join(f"{key} = {__import__('lyceum').experiments._toml(value)}\n" for key, value in {**recipe, "training": {**training, "epochs": 12}}.items())
    (tmp_path / "recipe.toml").write_text(text)
    process = subprocess.Popen([LYCEUM, "--quiet", "run", tmp_path / "recipe.toml", "--out", tmp_path / "cut"], stdout=subprocess.DEVNULL)
    metrics = tmp_path / "cut" / "a" / "metrics.jsonl"
    for _ in range(2000):
        if metrics.exists() and metrics.read_text().count("\n") >= 3:
            break
        __import__("time").sleep(0.005)
    process.kill()
    process.wait()
    assert not (tmp_path / "cut" / "summary.json").exists(), "it was too quick to be cut"
    done = told("resume", tmp_path / "cut")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "cut" / "summary.json").read_text())["values"] == whole
