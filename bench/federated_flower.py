"""`cargo xtask bench federated`: the same round by Flower's simulation engine (Ray), a hundred PyTorch clients with FedAvg, one processor
each. federated_flower.py FOLDER, the folder with MNIST's IDX files. Prints the seconds from sending the model to its mean; starting
Ray is not in it, and neither is the first round, in which the workers import PyTorch.
"""

import json
import logging
import os
import pathlib
import sys
import time

os.environ.update(FLWR_TELEMETRY_ENABLED="0", RAY_DISABLE_IMPORT_WARNING="1", OMP_NUM_THREADS="1")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402
from flwr.serverapp import ServerApp  # noqa: E402
from flwr.serverapp.strategy import FedAvg  # noqa: E402
from flwr.simulation import run_simulation  # noqa: E402

CLIENTS, EPOCHS, BATCH, RATE, DECAY, CLIP, ROUNDS = 100, 5, 50, 0.1, 1e-4, 10.0, 3
FOLDER = pathlib.Path(sys.argv[1])


def idx(path: pathlib.Path, header: int) -> np.ndarray:
    return np.memmap(path, dtype=np.uint8, mode="r")[header:]


def net() -> torch.nn.Module:
    linear, relu = torch.nn.Linear, torch.nn.ReLU()
    return torch.nn.Sequential(linear(784, 200), relu, linear(200, 200), relu, linear(200, 10))


client = ClientApp()


@client.train()
def train(message, context):
    torch.set_num_threads(1)
    number = int(context.node_config["partition-id"])
    images = idx(FOLDER / "train-images-idx3-ubyte", 16).reshape(-1, 784)
    labels = idx(FOLDER / "train-labels-idx1-ubyte", 8)
    part = slice(number * len(images) // CLIENTS, (number + 1) * len(images) // CLIENTS)
    x = torch.from_numpy((images[part].astype(np.float32) / 255 - 0.1307) / 0.3081)
    y = torch.from_numpy(labels[part].astype(np.int64))
    model = net()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, weight_decay=DECAY)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
    content = {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord({"num-examples": len(x)})}
    return Message(RecordDict(content), reply_to=message)


class Timed(FedAvg):
    seconds: list[float] = []

    def configure_train(self, *arguments):
        self.start_time = time.perf_counter()
        return super().configure_train(*arguments)

    def aggregate_train(self, *arguments):
        found = super().aggregate_train(*arguments)
        Timed.seconds.append(time.perf_counter() - self.start_time)
        return found


server = ServerApp()


@server.main()
def main(grid, context):
    strategy = Timed(fraction_evaluate=0.0, min_train_nodes=CLIENTS, min_available_nodes=CLIENTS)
    strategy.start(grid, ArrayRecord(net().state_dict()), num_rounds=ROUNDS)
    for seconds in Timed.seconds[1:]:
        print(json.dumps({"work": "round", "peer": "Flower's simulation", "seconds": seconds}), flush=True)


if __name__ == "__main__":
    logging.getLogger("flwr").setLevel(logging.ERROR)
    run_simulation(server, client, num_supernodes=CLIENTS, backend_config={"client_resources": {"num_cpus": 1}})
