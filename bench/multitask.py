"""`cargo xtask bench multitask`: eight gradients of ten million numbers combined. multitask.py torchjd|sequential|wheel

torchjd is PCGrad in Gram space by that library; sequential is Gradient Vaccine vector after vector, as LibMTL writes it; wheel is
Lyceum called from Python on numpy arrays.
"""

import json
import sys
import time

import numpy as np

TASKS, NUMBERS = 8, 10_000_000


def torchjd(values: np.ndarray):
    import torch
    from torchjd.aggregation import PCGrad

    matrix, aggregate = torch.from_numpy(values), PCGrad()
    return {"pcgrad": lambda: aggregate(matrix)}


def sequential(values: np.ndarray):
    import torch

    gradients = torch.from_numpy(values)
    targets = torch.zeros(TASKS, TASKS)
    beta = 0.5

    def step():
        altered = gradients.clone()
        for i in range(TASKS):
            order = [int(j) for j in torch.randperm(TASKS) if j != i]
            for j in order:
                phi = torch.dot(altered[i], gradients[j]) / (altered[i].norm() * gradients[j].norm() + 1e-8)
                target = targets[i, j]
                if phi < target:
                    scale = altered[i].norm() * (target * (1 - phi**2).sqrt() - phi * (1 - target**2).sqrt())
                    altered[i] += gradients[j] * scale / (gradients[j].norm() * (1 - target**2).sqrt() + 1e-8)
                targets[i, j] = (1 - beta) * target + beta * phi
        return altered.sum(0)

    return {"gradient-vaccine": step}


def wheel(values: np.ndarray):
    from lyceum.optim import Combiner

    gradients = list(values)
    pcgrad, vaccine = Combiner("pcgrad"), Combiner("gradient-vaccine", rate=0.5)
    return {"pcgrad": lambda: pcgrad(gradients), "gradient-vaccine": lambda: vaccine(gradients)}


def main() -> None:
    # The gradients of the Rust side: (i * 7919 + task * 104729) mod 100003, from -1 to 1.
    numbers = np.arange(NUMBERS, dtype=np.int64) * 7_919
    values = np.stack([((numbers + task * 104_729) % 100_003).astype(np.float32) / 5e4 - 1 for task in range(TASKS)])
    for work, step in {"torchjd": torchjd, "sequential": sequential, "wheel": wheel}[sys.argv[1]](values).items():
        times = []
        for _ in range(6):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        print(json.dumps({"work": work, "peer": sys.argv[1], "seconds": sorted(times[1:])[2]}))


main()
