"""`cargo xtask bench federated`: a round of FedDyn in PyTorch, in the form of its authors: client after client, the linear term as a
product of all parameters with a vector, the quadratic one as weight decay. federated.py FOLDER, the folder with MNIST's IDX files.

Prints the seconds of local training and of the server's step: evaluation is not in it.
"""

import copy
import json
import pathlib
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

CLIENTS, EPOCHS, BATCH, RATE, ALPHA, DECAY, CLIP = 100, 5, 50, 0.1, 0.01, 1e-4, 10.0


def idx(path: pathlib.Path, header: int) -> np.ndarray:
    return np.frombuffer(path.read_bytes(), dtype=np.uint8)[header:]


def net() -> torch.nn.Module:
    linear, relu = torch.nn.Linear, torch.nn.ReLU()
    return torch.nn.Sequential(linear(784, 200), relu, linear(200, 200), relu, linear(200, 10))


def flat(model: torch.nn.Module) -> np.ndarray:
    return torch.cat([p.data.reshape(-1) for p in model.parameters()]).numpy().copy()


def fill(model: torch.nn.Module, values: np.ndarray) -> None:
    place = 0
    for p in model.parameters():
        p.data.copy_(torch.from_numpy(values[place : place + p.numel()]).reshape(p.shape))
        place += p.numel()


def train(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, linear: np.ndarray) -> tuple[np.ndarray, float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, weight_decay=ALPHA + DECAY)
    linear = torch.from_numpy(linear)
    data = torch.utils.data.TensorDataset(x, y)
    losses = []
    for _ in range(EPOCHS):
        for inputs, labels in torch.utils.data.DataLoader(data, batch_size=BATCH, shuffle=True):
            loss = F.cross_entropy(model(inputs), labels)
            losses.append(loss.item())
            parameters = torch.cat([p.reshape(-1) for p in model.parameters()])
            loss = loss + ALPHA * torch.sum(parameters * linear)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
    return flat(model), float(np.mean(losses))


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    images = idx(folder / "train-images-idx3-ubyte", 16).reshape(-1, 784).astype(np.float32)
    images = torch.from_numpy((images / 255 - 0.1307) / 0.3081)
    labels = torch.from_numpy(idx(folder / "train-labels-idx1-ubyte", 8).astype(np.int64))
    torch.manual_seed(1)
    parts = torch.randperm(len(images)).chunk(CLIENTS)
    model = net()
    server = flat(model)
    duals = np.zeros((CLIENTS, len(server)), dtype=np.float32)
    for _ in range(2):
        start = time.perf_counter()
        models, losses = [], []
        for client, part in enumerate(parts):
            local = copy.deepcopy(model)
            fill(local, server)
            found, loss = train(local, images[part], labels[part], duals[client] - server)
            duals[client] += found - server
            models.append(found)
            losses.append(loss)
        server = np.mean(models, axis=0) + duals.mean(axis=0)
        seconds = time.perf_counter() - start
        print(json.dumps({"work": "round", "peer": "authors' form", "seconds": seconds, "loss": float(np.mean(losses))}))


main()
