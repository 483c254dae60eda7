"""Whether FedDyn, SCAFFOLD, FedAvg and FedProx do what the code of FedDyn's authors does: feddyn_agrees.py FOLDER

FOLDER is a copy of the authors' repository (alpemreacar/FedDyn), or of that of FedDC's (gaoliang13/FedDC), which is run for FedDC alone.
It is run as it is, beside Lyceum: same initial weights, same batches, same active clients, five rounds; the server's models must agree
to 1e-5. With unequal clients and a decaying learning rate for
FedDyn, FedAvg and FedProx. SCAFFOLD's and FedDC's authors' form divides by the rate before its decay and gives all clients as many steps,
so they are compared with equal clients and a constant rate.
"""

import contextlib
import copy
import io
import json
import os
import pathlib
import sys
import tempfile
import types

import numpy as np
import torch

from lyceum.federated import Local, Network, Rules, simulate

CLIENTS, ROUNDS, BATCH, EPOCHS, RATE, WEIGHT_DECAY, ALPHA, MU, ACTIVE = 6, 5, 10, 2, 0.1, 1e-3, 0.05, 0.2, 0.5


def stand_in(name: str, **content: object) -> None:
    """A module that the authors import and that nothing here needs."""
    module = types.ModuleType(name)
    module.__dict__.update(content)
    sys.modules[name] = module


def authors(folder: pathlib.Path) -> types.ModuleType:
    """Their training loops, with examples in their order."""
    for name in ["torchvision", "torchvision.transforms", "torchvision.models", "torchvision.datasets", "matplotlib", "matplotlib.pyplot"]:
        stand_in(name)
    sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]
    sys.modules["torchvision"].models = sys.modules["torchvision.models"]
    sys.modules["matplotlib"].pyplot = sys.modules["matplotlib.pyplot"]
    stand_in("scipy", io=types.ModuleType("scipy.io"))
    stand_in("LEAF")
    stand_in("LEAF.utils_eval")
    stand_in("LEAF.utils_eval.language_utils")
    stand_in("LEAF.utils_eval.model_utils")
    sys.path.insert(0, str(folder))
    feddc = (folder / "utils_methods_FedDC.py").exists()
    if feddc:
        writer = {"SummaryWriter": lambda *a, **k: types.SimpleNamespace(add_scalars=lambda *a, **k: None)}
        stand_in("tensorboardX", **writer)
        stand_in("torch.utils.tensorboard", **writer)
        # What theirs imports, of which most is never used.
        libraries = {"os": os, "np": np, "copy": copy, "torch": torch, "nn": torch.nn, "F": torch.nn.functional, "data": torch.utils.data}
        stand_in("utils_libs", torchvision=sys.modules["torchvision"], transforms=sys.modules["torchvision.transforms"], **libraries)
    import utils_general

    if feddc:
        import utils_methods_FedDC as utils_methods
    else:
        import utils_methods

    loader = torch.utils.data.DataLoader
    utils_general.data = types.SimpleNamespace(DataLoader=lambda *a, shuffle=False, **k: loader(*a, shuffle=False, **k))
    return utils_methods


def flat(model: torch.nn.Module) -> np.ndarray:
    """Their parameters in Lyceum's order: a weight is inputs x outputs."""
    return np.concatenate([p.detach().numpy().T.reshape(-1) if p.ndim == 2 else p.detach().numpy() for p in model.parameters()])


def schedule() -> list[list[int]]:
    """Who is active, as the authors draw it."""
    rounds = []
    for i in range(ROUNDS):
        retry, drawn = 0, np.array([], dtype=int)
        while len(drawn) == 0:
            np.random.seed(i + retry)
            drawn = np.sort(np.where(np.random.uniform(size=CLIENTS) <= ACTIVE)[0])
            retry += 1
        rounds.append(drawn.tolist())
    return rounds


def problem(sizes: list[int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(0)
    xs, ys = [], []
    for client, n in enumerate(sizes):
        y = rng.choice(10, size=n, p=rng.dirichlet(np.full(10, 0.5)))
        xs.append((rng.normal(size=(n, 784)) * 0.3 + (np.arange(784) % 10 == y[:, None]) + 0.1 * client).astype(np.float32))
        ys.append(y.reshape(-1, 1).astype(np.int64))
    return xs, ys


def compare(methods: types.ModuleType, name: str, sizes: list[int], decay: float) -> float:
    import utils_models

    xs, ys = problem(sizes)
    data = types.SimpleNamespace(
        n_client=CLIENTS, clnt_x=xs, clnt_y=ys, tst_x=xs[0], tst_y=ys[0], name=f"tiny-{name}", dataset="mnist",
    )
    torch.manual_seed(0)
    make = lambda: utils_models.client_model("mnist_2NN" if name == "feddc" else "mnist")  # noqa: E731
    first = make()
    common = dict(
        data_obj=data, act_prob=ACTIVE, learning_rate=RATE, batch_size=BATCH, com_amount=ROUNDS, print_per=10**9, weight_decay=WEIGHT_DECAY,
        model_func=make, init_model=first, save_period=1, lr_decay_per_round=decay,
    )
    os.makedirs(f"Output/{data.name}", exist_ok=True)
    with contextlib.redirect_stdout(io.StringIO()):
        if name == "feddyn":
            theirs = methods.train_FedDyn(epoch=EPOCHS, alpha_coef=ALPHA, **common)[6]
        elif name == "fedavg":
            theirs = methods.train_FedAvg(epoch=EPOCHS, **common)[0]
        elif name == "fedprox":
            theirs = methods.train_FedProx(epoch=EPOCHS, mu=MU, **common)[0]
        elif name == "feddc":
            steps = EPOCHS * -(-sizes[0] // BATCH)
            theirs = methods.train_FedDC(epoch=EPOCHS, alpha_coef=ALPHA, n_minibatch=steps, sch_step=1, sch_gamma=1, **common)[1]
        else:
            theirs = methods.train_SCAFFOLD(n_minibatch=EPOCHS * -(-sizes[0] // BATCH), **common)[0]
    options = {"feddyn": {"alpha": ALPHA}, "feddc": {"alpha": ALPHA}, "fedprox": {"mu": MU}}.get(name, {})
    network = Network({"mlp": {"hidden": [200, 200]}}, shape=(1, 28, 28), classes=10)
    local = Local(epochs=EPOCHS, batch_size=BATCH, learning_rate=RATE, decay=decay, clip_norm=10.0, weight_decay=WEIGHT_DECAY, shuffle=False)
    x, y = np.concatenate(xs), np.concatenate(ys).reshape(-1)
    ends = np.cumsum(sizes)
    parts = [list(range(end - size, end)) for size, end in zip(sizes, ends)]
    worst = 0.0
    for rounds in range(1, ROUNDS + 1):
        ours = simulate(Rules(name, **options), network, x, y, parts, rounds, local=local, initial=flat(first), schedule=schedule())
        worst = max(worst, float(np.abs(ours.model - flat(theirs[rounds - 1])).max()))
    return worst


def main() -> None:
    methods = authors(pathlib.Path(sys.argv[1]).resolve())
    unequal, equal = [30, 12, 25, 40, 18, 33], [24] * CLIENTS
    found = {}
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        runs = [("feddyn", unequal, 0.9), ("fedavg", unequal, 0.9), ("fedprox", unequal, 0.9), ("scaffold", equal, 1.0)]
        if hasattr(methods, "train_FedDC"):
            runs = [("feddc", equal, 1.0)]
        for name, sizes, decay in runs:
            found[name] = compare(methods, name, sizes, decay)
    print(json.dumps({"largest difference of the server's model over five rounds": found}))
    if max(found.values()) > 1e-5:
        sys.exit("the models differ by more than 1e-5")


main()
