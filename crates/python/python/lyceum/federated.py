"""Federated learning: FedDyn, FedDC, FedAvg, FedProx, SCAFFOLD, FedNova and server optimisers.

In one process, with networks that are trained in Rust, a thread a client::

    network = Network({"mlp": {"hidden": [200, 200]}}, shape=(1, 28, 28), classes=10)
    parts = partition(y, clients=100, dirichlet=0.3)
    result = simulate(Rules("feddyn", alpha=0.01, fraction=0.1), network, x, y, parts, rounds=100, test=(x_test, y_test))

Between processes the same rules run as a :class:`Server` and :class:`Client` objects that exchange messages; `lyceum.flower` does
it over Flower. A client of any framework takes part with a function that minimises what it is given.

>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> y = rng.integers(0, 3, 300)
>>> x = rng.normal(size=(300, 4)) + 2.0 * np.eye(3, 4)[y]
>>> network = Network("linear", shape=4, classes=3)
>>> rules = Rules("feddyn", alpha=0.1, random_state=1)
>>> result = simulate(rules, network, x, y, partition(y, clients=5, dirichlet=0.3), rounds=20, local=Local(batch_size=10), test=(x, y))
>>> result.history[-1]["accuracy"] > 0.85
True
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _native
from ._arrays import array, seed
from ._options import dumped, method_json
from ._progress import Progress, reporter

__all__ = ["Client", "Local", "Message", "Network", "Problem", "Result", "Rules", "Server", "Solution", "epsilon", "partition", "simulate"]

Vector = NDArray[np.float32]
Method = Literal["feddyn", "feddc", "fedavg", "fedprox", "scaffold", "fednova", "fedavgm", "fedadam", "fedyogi", "fedadagrad"]

_ADAPTIVE = ("rate", "beta1", "beta2", "adaptivity")
_OPTIONS: dict[str, tuple[str, ...]] = {
    "feddyn": ("alpha", "by_share"), "feddc": ("alpha", "by_share"), "fedavg": (), "fedprox": ("mu",), "scaffold": ("server_rate", "weight_by_examples"), "fednova": (),
    "fedavgm": ("rate", "momentum"), "fedadam": _ADAPTIVE, "fedyogi": _ADAPTIVE, "fedadagrad": _ADAPTIVE,
}


class Rules:
    """What server and clients go by.

    Parameters: `method`; `fraction` of the clients that take part in a round (`independent`: each is drawn on its own); `update_norm`:
    a reply whose model is further away than this is left out, as is always one that is broken or not finite; `clip` and `noise`: each
    client's move is cut to norm `clip` and the sum gets noise of deviation `noise * clip` (differential privacy towards clients, see
    :func:`epsilon`); `random_state`: who takes part, and the order of batches.

    Options by method: `alpha` (feddyn 0.01, feddc 0.1) and `by_share` (both: a client with more examples is pulled less, as in the
    authors' code; True), `mu` (fedprox, 1e-4), `server_rate` (scaffold, 1), `weight_by_examples` (scaffold:
    control variates count by examples, as in the code of FedDyn's authors; False), `rate` and `momentum` (fedavgm, 1 and 0.9), `rate`, `beta1`,
    `beta2` and `adaptivity` (the adaptive ones, 0.01, 0.9, 0.99, 1e-3).

    >>> Rules("feddyn", mu=1.0)
    Traceback (most recent call last):
    ValueError: mu: feddyn has no such option; allowed: alpha, by_share
    """

    def __init__(
        self,
        method: Method = "feddyn",
        *,
        fraction: float = 1.0,
        independent: bool = False,
        update_norm: float | None = None,
        clip: float | None = None,
        noise: float | None = None,
        random_state: Any = 0,
        **options: float,
    ) -> None:
        if (clip is None) != (noise is None):
            raise ValueError("clip and noise: found one of them; allowed: both or neither")
        self._parts = {
            "method": method_json(method, options, _OPTIONS),
            "participation": {"fraction": fraction, "independent": independent},
            "guard": {} if update_norm is None else {"update_norm": update_norm},
            "privacy": None if clip is None else {"clip": clip, "noise": noise},
            "seed": seed(random_state),
        }
        self._native = self._build()

    def _build(self) -> _native.Rules:
        part = {name: dumped(value) for name, value in self._parts.items()}
        return _native.Rules(part["method"], part["participation"], part["guard"], part["privacy"], int(part["seed"]))

    @property
    def weights_by_examples(self) -> bool:
        """Whether a client must know its `share` of the examples, relative to the average client's."""
        return self._native.weights_by_examples

    @property
    def noise(self) -> float | None:
        """The noise's deviation over `clip`, for :func:`epsilon`; None without privacy."""
        return None if self._parts["privacy"] is None else float(self._parts["privacy"]["noise"])

    def __reduce__(self) -> tuple[Any, ...]:
        return Rules.from_json, (self.to_json(),)

    def to_json(self) -> str:
        """The rules as text, which :meth:`from_json` takes: what a server tells its clients."""
        return dumped(self._parts)

    @classmethod
    def from_json(cls, text: str) -> Rules:
        """The rules that :meth:`to_json` gave."""
        rules = cls.__new__(cls)
        parts = json.loads(text)
        if not isinstance(parts, dict) or set(parts) != {"method", "participation", "guard", "privacy", "seed"}:
            raise ValueError("rules: found something else; allowed: what Rules.to_json() gives")
        rules._parts = parts
        rules._native = rules._build()
        return rules


@dataclasses.dataclass(frozen=True)
class Local:
    """Local training by SGD: passes, batches, learning rate and what it is multiplied with after each round, the largest norm of a
    gradient (None: any), weight decay, and how gradients are estimated: ``"plain"`` or for example ``{"sam": {"rho": 0.05}}``.
    `shuffle`: whether examples are taken in a new order in each pass."""

    epochs: int = 5
    batch_size: int = 50
    learning_rate: float = 0.1
    decay: float = 1.0
    clip_norm: float | None = 10.0
    weight_decay: float = 1e-4
    shuffle: bool = True
    estimator: Union[str, Mapping[str, Any]] = "plain"

    def _json(self) -> tuple[str, str]:
        fields = dataclasses.asdict(self)
        estimator = fields.pop("estimator")
        return dumped(fields), dumped(estimator)


class Network:
    """A network that is trained in Rust: ``"linear"``, ``"feddyn-cnn"``, or a mapping such as ``{"mlp": {"hidden": [200, 200]}}`` or
    ``{"cnn": {"channels": [16, 32], "batch_norm": False}}``. `shape` is that of one example: features, or channels, height, width.

    >>> network = Network({"mlp": {"hidden": [8]}}, shape=(1, 4, 4), classes=3, random_state=1)
    >>> network.initial.shape
    (163,)
    >>> network.parameters[0]
    ('Mlp.hidden.0.weight', (16, 8))
    """

    def __init__(
        self, model: Union[str, Mapping[str, Any]], shape: Union[int, Sequence[int]], classes: int, random_state: Any = 0
    ) -> None:
        extent = (1, 1, shape) if isinstance(shape, int) else tuple(shape)
        if len(extent) != 3:
            raise ValueError(f"shape: found {shape}; allowed: features, or (channels, height, width)")
        self._arguments = (model, tuple(int(side) for side in extent), classes, seed(random_state))
        self._native = _native.Network(dumped(model), list(self._arguments[1]), classes, self._arguments[3])

    def __reduce__(self) -> tuple[Any, ...]:
        return Network, self._arguments

    @property
    def initial(self) -> Vector:
        """The parameters that the random state gives."""
        return self._native.initial()

    @property
    def parameters(self) -> list[tuple[str, tuple[int, ...]]]:
        """Names and shapes, in the order of the vector. A layer's weight is inputs x outputs, transposed against PyTorch's."""
        return [(name, tuple(shape)) for name, shape in self._native.parameters()]

    def arrays(self, vector: ArrayLike) -> dict[str, Vector]:
        """A vector of parameters, cut into the arrays that it is made of."""
        flat, start, arrays = array(vector, np.float32, 1, "vector"), 0, {}
        for name, shape in self.parameters:
            size = int(np.prod(shape))
            arrays[name] = flat[start : start + size].reshape(shape)
            start += size
        return arrays

    def logits(self, vector: ArrayLike, x: ArrayLike) -> NDArray[np.float32]:
        """Logits, one row an example."""
        return self._native.logits(array(vector, np.float32, 1, "vector"), _rows(x))

    def evaluate(self, vector: ArrayLike, x: ArrayLike, y: ArrayLike) -> dict[str, float]:
        """Accuracy and log-loss."""
        accuracy, log_loss = self._native.evaluate(array(vector, np.float32, 1, "vector"), _rows(x), array(y, np.int64, 1, "y"))
        return {"accuracy": accuracy, "log_loss": log_loss}


@dataclasses.dataclass(frozen=True)
class Problem:
    """What a client minimises from `start` on: its loss + <linear, x> + quadratic/2 |x - start|^2. `linear` is empty for none."""

    start: Vector
    linear: Vector
    quadratic: float
    round: int
    part: float
    seed: int

    def add_to(self, gradient: Vector, x: Vector) -> Vector:
        """The gradient of the loss at `x`, with that of the other terms."""
        total = gradient + self.quadratic * (x - self.start)
        return total + self.linear if self.linear.size else total


@dataclasses.dataclass(frozen=True)
class Solution:
    """What local training came to: parameters, steps, the learning rate of these steps, and the mean loss without the terms."""

    parameters: Vector
    steps: int
    rate: float
    loss: float = 0.0


@dataclasses.dataclass
class Message:
    """Named vectors and numbers."""

    arrays: dict[str, Vector]
    numbers: dict[str, float] = dataclasses.field(default_factory=dict)

    def _native(self) -> tuple[dict[str, Vector], dict[str, float]]:
        return {name: array(values, np.float32, 1, name) for name, values in self.arrays.items()}, self.numbers


@dataclasses.dataclass
class Reply:
    """A client's answer: who it is, how many examples it has, its message, and the loss of its training."""

    client: int
    examples: int
    message: Message
    loss: float = 0.0


class Client:
    """A client with a state on disk, exactly once.

    What it makes of a round is in `state` (a file) before :meth:`answer` returns, and counts as soon as the server says that it took
    the reply; a reply that is lost changes nothing. So a client may be killed at any moment.

    Parameters: `rules` (as the server has them); `train`: a `(network, x, y)` or a function from :class:`Problem` to
    :class:`Solution`; `client`: its number; `state`; `local`: how it trains a network; `examples`: how many it has, for a function;
    `share`: its examples over those of the average client, for FedDyn's `by_share`.
    """

    def __init__(
        self,
        rules: Rules,
        train: Union[tuple[Network, ArrayLike, ArrayLike], Callable[[Problem], Solution]],
        *,
        client: int,
        state: Union[str, os.PathLike[str]],
        local: Local = Local(),
        examples: int | None = None,
        share: float = 1.0,
    ) -> None:
        self.rules, self.client, self.state, self.share = rules, client, Path(state), share
        if isinstance(train, tuple):
            network, x, y = train
            labels = array(y, np.int64, 1, "y")
            self._arguments: Any = (network, _rows(x), labels, local)
            self.examples = len(labels)
        else:
            if examples is None:
                raise ValueError("examples: found None; allowed: their number, for a function that trains")
            self.examples = examples
            self._arguments = train
        self._train = self._trainer()

    def _trainer(self) -> Any:
        if isinstance(self._arguments, tuple):
            network, x, labels, local = self._arguments
            return _native.Trainer(network._native, x, labels, *local._json())
        return self._solve

    def _solve(self, given: dict[str, Any]) -> tuple[Vector, int, float, float]:
        found = self._arguments(Problem(**given))
        return array(found.parameters, np.float32, 1, "parameters"), found.steps, found.rate, found.loss

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_train"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._train = self._trainer()

    def answer(self, message: Message, round: int, accepted: int | None, part: float = 1.0) -> Reply:
        """Trains and keeps what came of it. `accepted`: the last round from which the server took this client's reply."""
        self.state.parent.mkdir(parents=True, exist_ok=True)
        who = (self.client, self.examples, self.share)
        (arrays, numbers), loss = self.rules._native.answer(
            who, round, message._native(), accepted, self.state, self._train, part
        )
        return Reply(self.client, self.examples, Message(arrays, numbers), loss)

    def kept(self, accepted: int | None) -> dict[str, Vector]:
        """What it keeps, as the server knows it: for FedDyn `gradient`, which is g_k."""
        return _native.client_state(self.client, self.state, accepted)


class Server:
    """The server, with a state on disk if `state` names a file: it goes on from there, and :meth:`conclude` returns after the new
    state is on the disk. `clients` is m, all there are; `note` is kept with the state. `secret` (0 to 2**64 - 1) is where the noise of
    private rules comes from, and nobody else's to know; None: the rules' random state, as in :func:`simulate`, which every client has."""

    def __init__(
        self,
        rules: Rules,
        model: ArrayLike,
        clients: int,
        state: Union[str, os.PathLike[str], None] = None,
        note: str = "",
        secret: int | None = None,
    ) -> None:
        self.rules, self.state, self.note, self.secret = rules, None if state is None else Path(state), note, secret
        found = None if self.state is None else _native.Ledger.read(self.state)
        if found is None:
            self._ledger = rules._native.start(array(model, np.float32, 1, "model"), clients)
        else:
            self._ledger, self.note = found
            if len(self._ledger.accepted) != clients:
                raise ValueError(f"clients: found {clients}; allowed: {len(self._ledger.accepted)}, as {self.state} has")
            if len(self._ledger.model) != np.size(model):
                raise ValueError(f"model: found {np.size(model)} numbers; allowed: {len(self._ledger.model)}, as {self.state} has")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ledger": self._ledger.state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._ledger = _native.Ledger.from_state(*state["_ledger"])

    @property
    def round(self) -> int:
        """Rounds that are behind."""
        return self._ledger.round

    @property
    def model(self) -> Vector:
        """The model from which the next round starts."""
        return self._ledger.model

    @property
    def accepted(self) -> list[int | None]:
        """For each client, the last round from which its reply was taken."""
        return self._ledger.accepted

    @property
    def taken(self) -> list[int]:
        """For each client, how many of its replies were taken."""
        return self._ledger.taken

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes down and up, of vectors alone."""
        return self._ledger.traffic

    def array(self, name: str) -> Vector:
        """A vector of the method: for FedDyn `gradient`, which is h."""
        return self._ledger.array(name)

    def active(self) -> list[tuple[int, float]]:
        """Who takes part in the next round, and with which part of its work."""
        return [(client, part) for client, part, _ in self.rules._native.active(self._ledger)]

    def message(self) -> Message:
        """What goes down to each of them."""
        return Message(*self.rules._native.broadcast(self._ledger))

    def conclude(self, replies: Iterable[Reply], sent: int = 0) -> dict[str, Any]:
        """Takes the replies that pass and goes on to the next round. Gives `taken`, `refused` (with reasons), `drift` and
        `active_mean`. `sent`: how many clients the message went to, for the count of bytes."""
        every: list[Any] = []
        broken: list[tuple[int, str]] = []
        for reply in replies:
            try:
                every.append((int(reply.client), int(reply.examples), reply.message._native()))
            except (TypeError, ValueError, OverflowError) as error:  # a client may send anything
                broken.append((int(reply.client), f"not understood: {error}"))
        told = self.rules._native.conclude(self._ledger, every, sent, self.secret)
        told["refused"] = sorted([*told["refused"], *broken])
        self.save()
        return told

    def save(self) -> None:
        """Writes the state, with the note, if it is kept on disk."""
        if self.state is not None:
            self.state.parent.mkdir(parents=True, exist_ok=True)
            self._ledger.write(self.state, self.note)


@dataclasses.dataclass(frozen=True)
class Result:
    """The model, and for each round a dict with `round`, `taken`, `refused`, `loss`, `drift`, `bytes` so far and, with a test set,
    `accuracy` and `log_loss`."""

    model: Vector
    history: list[dict[str, Any]]


def simulate(
    rules: Rules,
    network: Network,
    x: ArrayLike,
    y: ArrayLike,
    parts: Sequence[Sequence[int]],
    rounds: int,
    *,
    local: Local = Local(),
    initial: ArrayLike | None = None,
    schedule: Sequence[Sequence[int]] | None = None,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    progress: Progress = False,
) -> Result:
    """Rounds with all clients in this process, on all cores and without the GIL; the same numbers on any number of threads.

    `parts` says which examples each client has. A `schedule` gives for each round who takes part, instead of the rules. ``progress=True``
    shows a bar where tqdm is installed; a function is called with the rounds that are over and all rounds."""
    who = [[int(place) for place in part] for part in parts]
    start = network.initial if initial is None else array(initial, np.float32, 1, "initial")
    plan = None if schedule is None else [[int(client) for client in clients] for clients in schedule]
    held = None if test is None else (_rows(test[0]), array(test[1], np.int64, 1, "test labels"))
    with reporter(progress, rounds, 0, "round") as report:
        model, history = _native.simulate(
            rules._native, network._native, _rows(x), array(y, np.int64, 1, "y"), who, *local._json(), rounds, start, plan, held,
            report if progress else None,
        )
    return Result(model, history)


def partition(y: ArrayLike, clients: int, dirichlet: float | None = None, random_state: Any = 0) -> list[list[int]]:
    """Which examples each client has: evenly at random, or with mixtures of classes from a Dirichlet law (the smaller the number, the
    more clients differ).

    >>> sorted(sum(partition([0, 1] * 10, clients=4, dirichlet=0.3), [])) == list(range(20))
    True
    """
    return _native.partition(array(y, np.int64, 1, "y"), clients, dirichlet, seed(random_state))


def epsilon(noise: float, rounds: int, delta: float = 1e-5, fraction: float = 1.0) -> float:
    """The privacy loss of a client in `rounds` rounds with this noise.

    With `fraction` below 1 each round draws every client on its own with this probability (``independent=True``) and the draw stays
    secret; this is counted by Google's `dp-accounting`, which must be installed, and `rounds` are all rounds. Otherwise `rounds` are
    those in which the client took part, and the value is exact for Gaussian noise (Balle and Wang 2018).

    >>> round(epsilon(noise=4.0, rounds=50), 2)
    8.6
    """
    if not noise > 0 or rounds < 0 or not 0 < delta < 1 or not 0 < fraction <= 1:
        raise ValueError(f"found noise {noise}, rounds {rounds}, delta {delta}, fraction {fraction}; allowed: > 0, >= 0, in (0, 1), in (0, 1]")
    if fraction == 1:
        return _native.gaussian_epsilon(noise, rounds, delta)
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent  # type: ignore[import-untyped]
    from dp_accounting.pld import PLDAccountant  # type: ignore[import-untyped]

    accountant = PLDAccountant()
    accountant.compose(PoissonSampledDpEvent(fraction, GaussianDpEvent(noise)), rounds)
    return float(accountant.get_epsilon(delta))


def _rows(x: Any) -> NDArray[np.float32]:
    """Examples, one a row."""
    values = x if hasattr(x, "ndim") else np.asarray(x)
    return array(values.reshape(len(values), -1) if values.ndim > 2 else values, np.float32, 2, "x")
