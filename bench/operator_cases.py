"""PyTorch's results for the operators of `lyceum-kernels` on random shapes, for tests/against_pytorch.rs.

    python bench/operator_cases.py crates/kernels/tests/data/pytorch.safetensors

Every case is a group of tensors: what goes in, a direction, the output, and the gradients of <output, direction>.
"""

import json
import struct
import sys
from pathlib import Path

import torch
from torch.nn import functional as F

torch.manual_seed(0)
tensors: dict[str, torch.Tensor] = {}
cases: list[dict] = []


def integer(low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, ()))


def case(operator: str, inputs: dict[str, torch.Tensor], forward, constants: dict | None = None, **options) -> None:
    name = f"{len(cases)}"
    inputs = {key: value.requires_grad_() for key, value in inputs.items()}
    output = forward(**inputs)
    direction = torch.randn_like(output)
    gradients = torch.autograd.grad((output * direction).sum(), list(inputs.values()))
    for key, value in {**inputs, **(constants or {}), "output": output, "direction": direction}.items():
        tensors[f"{name}/{key}"] = value.detach()
    for key, value in zip(inputs, gradients):
        tensors[f"{name}/d_{key}"] = value
    cases.append({"operator": operator, **options})


def convolutions() -> None:
    for index in range(16):
        groups = integer(1, 3)
        c, o = integer(1, 4) * groups, integer(1, 5) * groups
        kernel, stride, padding = [[integer(1, 4) for _ in range(2)] for _ in range(3)]
        dilation = [integer(1, 2) for _ in range(2)]
        if index == 0:
            kernel, stride, padding, dilation = [1, 1], [3, 2], [0, 0], [1, 1]  # stride > kernel
        if index == 1:
            kernel, padding = [2, 2], [3, 2]  # padding >= kernel
        extent = [max(integer(1, 11), d * (k - 1) + 1 - 2 * p) for k, p, d in zip(kernel, padding, dilation)]
        relu = index % 2 == 1
        inputs = {"x": torch.randn(integer(1, 5), c, *extent), "weight": torch.randn(o, c // groups, *kernel), "bias": torch.randn(o)}

        def forward(x, weight, bias):
            y = F.conv2d(x, weight, bias, stride, padding, dilation, groups)
            return F.relu(y) if relu else y

        case("conv2d", inputs, forward, stride=stride, padding=padding, dilation=dilation, groups=groups, relu=relu)


def others() -> None:
    for index in range(4):
        relu = index % 2 == 1
        n, d, k = integer(1, 70), integer(1, 90), integer(1, 50)
        inputs = {"x": torch.randn(n, d), "weight": torch.randn(d, k), "bias": torch.randn(k)}
        act = F.relu if relu else (lambda y: y)
        case("linear", inputs, lambda x, weight, bias: act(x @ weight + bias), relu=relu)

        n, c, h, w = integer(2, 5), integer(1, 5), integer(1, 7), integer(2, 7)
        inputs = {"x": torch.randn(n, c, h, w), "gamma": torch.randn(c), "beta": torch.randn(c), "residual": torch.randn(n, c, h, w)}
        case("batch_norm", inputs, lambda x, gamma, beta, residual: act(F.batch_norm(x, None, None, gamma, beta, True) + residual), relu=relu)

        size = integer(1, 3)
        x = torch.randn(integer(1, 4), integer(1, 4), size * integer(1, 5), size * integer(1, 5))
        case("max_pool", {"x": x}, lambda x: act(F.max_pool2d(x, size)), size=size, relu=relu)

        n, d = integer(1, 40), integer(2, 70)
        inputs = {"x": torch.randn(n, d), "residual": torch.randn(n, d), "gamma": torch.randn(d), "beta": torch.randn(d)}
        case("layer_norm", inputs, lambda x, residual, gamma, beta: F.layer_norm(x + residual, [d], gamma, beta, 1e-5))

        case("gelu", {"x": 3 * torch.randn(integer(1, 30), integer(1, 30))}, F.gelu)

        n, s, h, e = integer(1, 3), integer(1, 40), integer(1, 3), integer(1, 20)
        mask = (torch.rand(n, s) < 0.7).float()
        mask[:, 0] = 1

        def attend(qkv):
            q, k, v = qkv.reshape(n, s, 3, h, e).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=(mask > 0)[:, None, None, :])
            return y.transpose(1, 2).reshape(n * s, h * e)

        case("attention", {"qkv": torch.randn(n * s, 3 * h * e)}, attend, {"mask": mask.reshape(-1)}, sequences=n, heads=h)

        n, k = integer(1, 40), integer(1, 60)
        targets = torch.softmax(torch.randn(n, k), 1)
        case("softmax_cross_entropy", {"logits": 5 * torch.randn(n, k)}, lambda logits: F.cross_entropy(logits, targets, reduction="none"), {"targets": targets})


def of_networks() -> None:
    for index in range(5):
        n, c, h, w = integer(1, 3), integer(1, 4), integer(2, 7), integer(2, 7)
        o, kernel, stride = integer(1, 4), [integer(1, 4) for _ in range(2)], [integer(1, 3) for _ in range(2)]
        padding = [integer(0, (k - 1) // 2) for k in kernel]
        if index == 0:
            c, o, h, w, kernel, stride, padding = 16, 32, 9, 8, [3, 3], [1, 1], [1, 1]
        inputs = {"x": torch.randn(n, c, h, w), "weight": torch.randn(c, o, *kernel), "bias": torch.randn(o)}
        transposed = lambda x, weight, bias: F.conv_transpose2d(x, weight, bias, stride, padding)
        case("conv_transpose2d", inputs, transposed, stride=stride, padding=padding)

        groups = integer(1, 3)
        c = groups * integer(1, 4)
        inputs = {"x": torch.randn(n, c, h, w), "gamma": torch.randn(c), "beta": torch.randn(c)}
        case("group_norm", inputs, lambda x, gamma, beta: F.group_norm(x, groups, gamma, beta, 1e-5), groups=groups)

        x = torch.randn(n, c, h, w)
        size, step = integer(1, 2), integer(1, 3)
        around = integer(0, size // 2)
        case("average_pool", {"x": x}, lambda x: F.avg_pool2d(x, size, step, around), size=size, stride=step, padding=around)
        to = integer(1, 9)
        case("adaptive_average_pool", {"x": x}, lambda x: F.adaptive_avg_pool2d(x, to), size=to)
        factor = integer(1, 4)
        case("nearest", {"x": x}, lambda x: F.interpolate(x, scale_factor=factor, mode="nearest"), factor=factor)
        bilinear = lambda x: F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
        case("bilinear", {"x": x}, bilinear, factor=factor)


def main() -> None:
    convolutions()
    others()
    of_networks()
    header: dict = {"__metadata__": {"cases": json.dumps(cases), "torch": torch.__version__}}
    data = b""
    for name, tensor in tensors.items():
        raw = tensor.contiguous().numpy().astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    print(f"{len(cases)} cases, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
