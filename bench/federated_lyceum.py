"""`cargo xtask bench federated`: two rounds of FedDyn by Lyceum, called from Python. federated_lyceum.py FOLDER, the folder with MNIST's
IDX files."""

import json
import pathlib
import sys
import time

import numpy as np

from lyceum.federated import Local, Network, Rules, partition, simulate


def idx(path: pathlib.Path, header: int) -> np.ndarray:
    return np.frombuffer(path.read_bytes(), dtype=np.uint8)[header:]


folder = pathlib.Path(sys.argv[1])
x = idx(folder / "train-images-idx3-ubyte", 16).reshape(-1, 784).astype(np.float32)
x = (x / 255 - 0.1307) / 0.3081
y = idx(folder / "train-labels-idx1-ubyte", 8).astype(np.int64)
network = Network({"mlp": {"hidden": [200, 200]}}, shape=(1, 28, 28), classes=10)
parts = partition(y, clients=100)
start = time.perf_counter()
result = simulate(Rules("feddyn", alpha=0.01), network, x, y, parts, 2, local=Local(epochs=5, batch_size=50))
seconds = (time.perf_counter() - start) / 2
print(json.dumps({"work": "round", "peer": "lyceum", "seconds": seconds, "losses": [round["loss"] for round in result.history]}))
