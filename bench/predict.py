"""ONNX Runtime's side of `cargo xtask bench predict`: logits of networks with trained statistics. predict.py THREADS"""

import io
import json
import sys
import time
import warnings

import numpy as np
import onnxruntime
import torch
from torch import nn

from networks import Block, cnn, mobilenet_v2


def resnet20() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    width = 16
    for stage, channels in enumerate([16, 32, 64]):
        for block in range(3):
            layers.append(Block(width, channels, 2 if stage > 0 and block == 0 else 1))
            width = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def measure(name: str, model: nn.Module, parameters: int, threads: int) -> None:
    assert sum(p.numel() for p in model.parameters()) == parameters, f"{name} is another network"
    model.train()
    model(torch.randn(8, 3, 32, 32))
    model.eval()
    file = io.BytesIO()
    axes = {"x": {0: "n"}, "y": {0: "n"}}
    torch.onnx.export(
        model, (torch.randn(2, 3, 32, 32),), file, dynamo=False, input_names=["x"], output_names=["y"], dynamic_axes=axes,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    for batch in [1, 32, 256]:
        x = np.random.default_rng(0).standard_normal((batch, 3, 32, 32), dtype=np.float32)
        times: list[float] = []
        begun = time.perf_counter()
        while len(times) < 5 or time.perf_counter() - begun < 1.5:
            start = time.perf_counter()
            session.run(None, {"x": x})
            times.append(time.perf_counter() - start)
        times.sort()
        print(json.dumps({"work": f"{name}-{batch}-{threads}", "peer": "onnxruntime", "seconds": times[len(times) // 2]}))


def main() -> None:
    warnings.simplefilter("ignore")
    threads = int(sys.argv[1])
    torch.manual_seed(0)
    measure("resnet20", resnet20(), 272_474, threads)
    measure("feddyn-cnn", cnn(), 797_962, threads)
    measure("mobilenet-v2", mobilenet_v2(), 2_236_682, threads)


if __name__ == "__main__":
    main()
