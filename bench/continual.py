"""`cargo xtask bench continual`: Gradient Projection Memory on permuted MNIST in PyTorch, as its authors write it: a dense projector
a layer, taken out of every gradient. continual.py FOLDER TASKS EPOCHS, the folder with MNIST's IDX files.

Prints the seconds of learning alone: loading the data and evaluation are not in it.
"""

import json
import pathlib
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

THRESHOLDS = (0.95, 0.99, 0.99)


def idx(path: pathlib.Path, header: int) -> np.ndarray:
    return np.frombuffer(path.read_bytes(), dtype=np.uint8)[header:]


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(a, b, bias=False) for a, b in ((784, 100), (100, 100), (100, 10))])

    def forward(self, x):
        self.inputs = []
        for number, layer in enumerate(self.layers):
            self.inputs.append(x)
            x = layer(x)
            if number < 2:
                x = F.relu(x)
        return x


def update(net, x, bases, task):
    net.eval()
    sample = torch.randperm(len(x))[:300]
    net(x[sample])
    for number, inputs in enumerate(net.inputs):
        r = inputs.detach().numpy().T
        if task == 0:
            u, s, _ = np.linalg.svd(r, full_matrices=False)
            ratio = np.cumsum(s**2) / (s**2).sum()
            bases.append(u[:, : np.sum(ratio < THRESHOLDS[number])])
            continue
        total = (np.linalg.svd(r, full_matrices=False)[1] ** 2).sum()
        rest = r - bases[number] @ bases[number].T @ r
        u, s, _ = np.linalg.svd(rest, full_matrices=False)
        held, count = (total - (s**2).sum()) / total, 0
        while held < THRESHOLDS[number] and count < len(s):
            held += s[count] ** 2 / total
            count += 1
        bases[number] = np.hstack([bases[number], u[:, :count]])[:, : r.shape[0]]


def main() -> None:
    folder, tasks, epochs = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    images = idx(folder / "train-images-idx3-ubyte", 16).reshape(-1, 784)[6_000:]
    labels = torch.from_numpy(idx(folder / "train-labels-idx1-ubyte", 8)[6_000:].astype(np.int64))
    images = torch.from_numpy((images.astype(np.float32) / 255 - 0.1307) / 0.3081)
    torch.manual_seed(1)
    net, bases, projectors = Net(), [], []
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    start = time.perf_counter()
    for task in range(tasks):
        x = images[:, torch.randperm(784)].contiguous()
        projectors = [torch.from_numpy(basis @ basis.T) for basis in bases]
        for _ in range(epochs):
            net.train()
            for positions in torch.randperm(len(x)).split(10):
                optimizer.zero_grad()
                F.cross_entropy(net(x[positions]), labels[positions]).backward()
                for layer, projector in zip(net.layers, projectors):
                    layer.weight.grad -= layer.weight.grad @ projector
                optimizer.step()
        update(net, x, bases, task)
    print(json.dumps({"work": "stream", "peer": "authors' form", "seconds": time.perf_counter() - start}))


main()
