"""Makes the network and the pictures of the walk-through "Chess pieces".

    python crates/python/examples/chess.py chess

writes `chess/pieces.onnx`, the classifier of the package chess-cv (MIT) as an ONNX file, and pictures `SET/CLASS/BOARD.png`: the pieces of
seventeen sets of Debian's pychess (GPL-3+) on ten boards, and the empty squares. A half drawn at random lies in `chess/train`, the other in
`chess/test`. Both packages are fetched with pip and apt; nothing of them is part of Lyceum.

Needs: numpy, onnx, pillow, safetensors, resvg-py; Debian's apt, or `--pychess` with the path of an installed `share/pychess`.
"""

import argparse
import io
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

import numpy as np
import onnx
import resvg_py
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.numpy import load

CHESS_CV, PYCHESS = "chess-cv==0.7.2", "pychess"
SETS = (
    "ada alfonso alpha cburnett chessicons chessmonk freestaunton kilfiger kosal leipzig magnetic maya merida merida_new metaltops pirat regular"
).split()
BOARDS = "aluminium brazilwood cherry lanta lapis maple marble sand slate wood".split()
# The order of the network's outputs (chess_cv/constants.py).
CLASSES = ["bB", "bK", "bN", "bP", "bQ", "bR", "wB", "wK", "wN", "wP", "wQ", "wR", "xx"]
SIDE = 32


def network(weights):
    """The classifier as an ONNX model: three convolutions with pooling, two fully connected layers (chess_cv/model.py)."""
    nodes, initializers = [], []

    def constant(name, array):
        initializers.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype=np.float32), name))
        return name

    reads = "input"
    for layer in ("conv1", "conv2", "conv3"):
        # Outputs x height x width x inputs become outputs x inputs x height x width.
        kernel = constant(f"{layer}.weight", weights[f"{layer}.weight"].transpose(0, 3, 1, 2))
        bias = constant(f"{layer}.bias", weights[f"{layer}.bias"])
        nodes.append(helper.make_node("Conv", [reads, kernel, bias], [layer], layer, kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [layer], [f"{layer}.relu"], f"{layer}.relu"))
        nodes.append(helper.make_node("MaxPool", [f"{layer}.relu"], [f"{layer}.pool"], f"{layer}.pool", kernel_shape=[2, 2], strides=[2, 2]))
        reads = f"{layer}.pool"
    nodes.append(helper.make_node("Flatten", [reads], ["flat"], "flat"))
    # Channels come last in the package and first here.
    first = weights["fc1.weight"].reshape(128, 4, 4, 64).transpose(0, 3, 1, 2).reshape(128, 1024)
    nodes.append(helper.make_node("Gemm", ["flat", constant("fc1.weight", first), constant("fc1.bias", weights["fc1.bias"])], ["fc1"], "fc1", transB=1))
    nodes.append(helper.make_node("Relu", ["fc1"], ["fc1.relu"], "fc1.relu"))
    last = [constant("fc2.weight", weights["fc2.weight"]), constant("fc2.bias", weights["fc2.bias"])]
    nodes.append(helper.make_node("Gemm", ["fc1.relu", *last], ["logits"], "fc2", transB=1))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "chess-cv",
        [value("input", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [value("logits", TensorProto.FLOAT, ["n", len(CLASSES)])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"lyceum.classes": json.dumps(CLASSES)})
    onnx.checker.check_model(model)
    return model


def weights():
    """The weights of the package, from its wheel."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--python-version", "3.13", "--only-binary=:all:"]
        subprocess.run([*pip, "--dest", folder, CHESS_CV], check=True)
        (wheel,) = pathlib.Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as files:
            return load(files.read("chess_cv/weights/pieces.safetensors"))


def pychess(folder):
    """The folder share/pychess of Debian's package, unpacked."""
    download = ["apt-get", "download", "-qq", PYCHESS]
    if subprocess.run(download, cwd=folder, stderr=subprocess.DEVNULL).returncode:
        # Where no list of packages has been read yet.
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(download, check=True, cwd=folder)
    (package,) = pathlib.Path(folder).glob("*.deb")
    subprocess.run(["dpkg", "--extract", package, folder], check=True)
    return pathlib.Path(folder) / "usr" / "share" / "pychess"


def drawn(file):
    """A piece as a picture of SIDE x SIDE pixels; the sizes that the files give are in many units."""
    text = file.read_text(encoding="utf-8")
    root = re.search(r"<svg\b[^>]*>", text)
    tag = root.group(0)
    sizes = [re.search(rf'(?<![-\w]){side}="([\d.]+)', tag) for side in ("width", "height")]
    bare = re.sub(r'(?<![-\w])(width|height)="[^"]*"', "", tag)
    if "viewBox" not in bare:
        bare = bare.replace("<svg", f'<svg viewBox="0 0 {sizes[0].group(1)} {sizes[1].group(1)}"', 1)
    bare = bare.replace("<svg", f'<svg width="{SIDE}" height="{SIDE}"', 1)
    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=text.replace(tag, bare, 1))))).convert("RGBA")


def pictures(share, out, sets, boards):
    """Each piece of each set on a square of each board; light squares for white pieces, dark ones for black."""
    half = np.random.default_rng(0)

    def save(picture, name, label, board):
        folder = out / half.choice(["train", "test"]) / name / label
        folder.mkdir(parents=True, exist_ok=True)
        picture.convert("RGB").save(folder / f"{board}.png")

    for name in sets:
        for label in CLASSES[:-1]:
            piece = drawn(share / "pieces" / name / f"{label.lower()}.svg")
            for board in boards:
                square = Image.open(share / "boards" / f"{board}_{'l' if label[0] == 'w' else 'd'}.png").convert("RGBA")
                # The middle of a square of the board's texture.
                square = square.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
                square.alpha_composite(piece)
                save(square, name, label, board)
    for board in boards:
        save(Image.open(share / "boards" / f"{board}_l.png").convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR), "empty", "xx", board)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--pychess", type=pathlib.Path, help="an installed share/pychess; fetched if absent")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--boards", nargs="+", default=BOARDS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    onnx.save(network(weights()), options.out / "pieces.onnx")
    with tempfile.TemporaryDirectory() as folder:
        pictures(options.pychess or pychess(folder), options.out, options.sets, options.boards)
    count = sum(1 for _ in options.out.rglob("*.png"))
    print(f"{options.out / 'pieces.onnx'}, and {count} pictures in {options.out}")


if __name__ == "__main__":
    main()
