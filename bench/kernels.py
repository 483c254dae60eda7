"""The PyTorch side of `cargo xtask bench kernels`: one training step of each net. kernels.py THREADS"""

import json
import sys
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from networks import Block, cnn, mobilenet_v2


def resnet() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    width = 32
    for stage, nxt in enumerate([32, 64, 128]):
        for block in range(2):
            layers.append(Block(width, nxt, 2 if stage > 0 and block == 0 else 1))
            width = nxt
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10))


class Bert(nn.Module):
    """Four layers, d 128, 4 heads, ff 512; logits over 1,000 tokens at the masked positions only."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(1000, 128)
        self.positions = nn.Embedding(128, 128)
        self.norm = nn.LayerNorm(128, eps=1e-12)
        layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, activation="gelu", batch_first=True, layer_norm_eps=1e-12)
        self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.head = nn.Linear(128, 128)
        self.head_norm = nn.LayerNorm(128, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(1000))

    def forward(self, tokens: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1])))
        hidden = self.layers(x).flatten(0, 1)[masked]
        hidden = self.head_norm(F.gelu(self.head(hidden)))
        return F.linear(hidden, self.tokens.weight, self.bias)


class Dense(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, 12, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.conv(F.relu(self.norm(x)))], 1)


def densenet40() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1, bias=False)]
    width = 16
    for block in range(3):
        for _ in range(12):
            layers.append(Dense(width))
            width += 12
        layers += [nn.BatchNorm2d(width), nn.ReLU()]
        if block < 2:
            layers += [nn.Conv2d(width, width, 1, bias=False), nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def forms(name: str, make: Callable[[], nn.Module], inputs: tuple[torch.Tensor, ...], targets: torch.Tensor, steps: int) -> None:
    """Each form that PyTorch offers; which is the fastest differs by network and processor."""
    measure(name, "eager", make(), inputs, targets, steps)
    if inputs[0].dim() == 4:
        last = tuple(x.to(memory_format=torch.channels_last) for x in inputs)
        measure(name, "channels-last", make().to(memory_format=torch.channels_last), last, targets, steps)
    try:
        measure(name, "compiled", torch.compile(make()), inputs, targets, steps)
    except Exception as error:  # No C++ compiler, or a form that cannot be compiled.
        print(f"{name} was not compiled: {error}", file=sys.stderr)


def measure(name: str, form: str, model: nn.Module, inputs: tuple[torch.Tensor, ...], targets: torch.Tensor, steps: int) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    times = []
    for step in range(steps + steps // 4 + 2):
        start = time.perf_counter()
        optimizer.zero_grad()
        F.cross_entropy(model(*inputs), targets).backward()
        optimizer.step()
        if step >= steps // 4 + 2:
            times.append(time.perf_counter() - start)
    times.sort()
    print(json.dumps({"work": f"{name}-{torch.get_num_threads()}", "peer": form, "seconds": times[len(times) // 2]}))


def main() -> None:
    torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(0)
    labels = torch.arange(64) % 10
    forms("mlp", mlp, (torch.randn(50, 784),), labels[:50], 400)
    forms("cnn", cnn, (torch.randn(50, 3, 32, 32),), labels[:50], 40)
    forms("resnet", resnet, (torch.randn(64, 3, 32, 32),), labels, 12)
    forms("mobilenet-v2", mobilenet_v2, (torch.randn(64, 3, 32, 32),), labels, 6)
    forms("densenet40", densenet40, (torch.randn(64, 3, 32, 32),), labels, 4)
    positions = torch.randperm(16 * 128)[:292]
    forms("transformer", Bert, (torch.randint(0, 1000, (16, 128)), positions), torch.randint(0, 1000, (292,)), 16)


if __name__ == "__main__":
    main()
