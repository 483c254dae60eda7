"""Gradient Vaccine in a PyTorch training loop: three regressions that share a hidden layer and partly contradict one another.

    pip install target/wheels/lyceum_ml-*.whl torch
    python pytorch_gradient_vaccine.py
"""

import torch

from lyceum.optim import Combiner


def train(method: str, steps: int = 300) -> tuple[list[float], Combiner]:
    """The losses of the tasks after some steps with this method, and the combiner."""
    torch.manual_seed(0)
    inputs = torch.randn(512, 10)
    weights = torch.randn(3, 10)
    weights[2] = -0.7 * weights[0] + 0.3 * weights[2]  # the third task pulls against the first
    targets = torch.tanh(inputs @ weights.T)
    trunk = torch.nn.Sequential(torch.nn.Linear(10, 16), torch.nn.Tanh())
    heads = torch.nn.ModuleList(torch.nn.Linear(16, 1) for _ in range(3))
    optimizer = torch.optim.Adam([*trunk.parameters(), *heads.parameters()], lr=0.01)
    shared = list(trunk.parameters())
    combiner = Combiner(method, groups="parameter")
    for _ in range(steps):
        places = torch.randint(0, len(inputs), (64,))
        hidden = trunk(inputs[places])
        losses = [torch.nn.functional.mse_loss(head(hidden)[:, 0], targets[places, task]) for task, head in enumerate(heads)]
        # The heads are nobody else's: their gradients are what they are. Those of the trunk are combined.
        gradients = [torch.autograd.grad(loss, shared, retain_graph=True) for loss in losses]
        optimizer.zero_grad()
        sum(losses).backward()
        for parameter, gradient in zip(shared, combiner(gradients, [loss.item() for loss in losses])):
            parameter.grad = gradient
        optimizer.step()
    hidden = trunk(inputs)
    return [torch.nn.functional.mse_loss(head(hidden)[:, 0], targets[:, task]).item() for task, head in enumerate(heads)], combiner


if __name__ == "__main__":
    for name in ("sum", "gradient-vaccine", "pcgrad"):
        found, combiner = train(name)
        print(f"{name:17s}", "losses", " ".join(f"{loss:.4f}" for loss in found))
    print("cosines of the tasks' gradients at the last step:")
    print(combiner.cosines.round(2))
