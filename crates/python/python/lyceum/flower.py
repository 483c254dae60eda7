"""Federated learning over Flower: FedDyn, FedDC, SCAFFOLD, FedNova and the others as a `Strategy`, and a `ClientApp` that trains in Rust.

The server's app::

    from flwr.serverapp import ServerApp
    from lyceum.federated import Rules
    from lyceum.flower import Strategy

    app = ServerApp()

    @app.main()
    def main(grid, context):
        strategy = Strategy(Rules("feddyn", alpha=0.01), clients=100, state="server")
        strategy.start(grid, strategy.arrays(network.initial), num_rounds=50)

The client's app::

    from lyceum.federated import Local, Network
    from lyceum.flower import client_app

    network = Network({"mlp": {"hidden": [200, 200]}}, shape=(1, 28, 28), classes=10)

    def load(context):
        return my_x, my_y

    app = client_app(load, network, local=Local(epochs=5), state="client")

Each SuperNode is started with ``--node-config "partition-id=K"``: K is the client's number, from 0. Who takes part in a round, batches
and results are those of :func:`lyceum.federated.simulate` with the same rules.

Exactly once: what a client makes of a round is on its disk before the reply is sent, and counts when the server says that it took the
reply; what the server took is on its disk before the next round begins. A client or server that is killed resumes when it is started
again; a reply that is lost, late or broken changes nothing. `num_rounds` counts all rounds of a federation: a server that is started
again trains those that are left. A client whose state was lost is refused, and named.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from logging import INFO, WARNING
from pathlib import Path
from typing import Any, Union

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result
from flwr.serverapp.strategy import Strategy as FlowerStrategy
from numpy.typing import ArrayLike, NDArray

from .federated import Client, Local, Network, Reply, Rules, Server, epsilon
from .federated import Message as Sent

__all__ = ["Strategy", "client_app"]

_MODEL = "model"
_EXAMPLES = 1 << 40  # the largest number of examples that is believed
Layout = list[tuple[str, tuple[int, ...]]]


class Strategy(FlowerStrategy):
    """Any of the methods of :class:`~lyceum.federated.Rules`, with the server's state on disk.

    Parameters: `rules`; `clients`: m, all that there are, connected or not; `state`: a folder (None: in memory; the federation then
    ends with the process); `wait`: seconds to wait for clients of a round that are not connected; `timeout`: seconds to wait for an
    answer to who a client is; `mean_examples`: the average client's number of examples, for methods that weight clients by theirs
    (None: all clients are asked before the first round); `evaluate`: whether connected clients evaluate the model after each round.

    After :meth:`start`, `history` tells of each round: `round`, `taken`, `refused` with reasons, `loss`, `drift`, and with private rules
    `epsilon` (at delta 1e-5, see :func:`~lyceum.federated.epsilon`) of the client that took part most often so far. Their noise comes
    from a secret that is drawn when a federation begins and is kept in `state`: keep that folder from others.
    """

    def __init__(
        self,
        rules: Rules,
        clients: int,
        state: Union[str, os.PathLike[str], None] = None,
        *,
        wait: float = 60.0,
        timeout: float = 120.0,
        mean_examples: float | None = None,
        evaluate: bool = False,
    ) -> None:
        if clients < 1:
            raise ValueError(f"clients: found {clients}; allowed: 1 or more")
        if mean_examples is not None and not 0 < mean_examples < math.inf:
            raise ValueError(f"mean_examples: found {mean_examples}; allowed: a finite number > 0")
        self.rules, self.clients, self.wait, self.timeout = rules, clients, wait, timeout
        self.state = None if state is None else Path(state)
        self.mean_examples, self.evaluate = mean_examples, evaluate
        self.history: list[dict[str, Any]] = []
        self.server: Server | None = None
        self._layout: Layout = []
        self._nodes: dict[int, tuple[int, int]] = {}
        self._active: dict[int, float] = {}
        self._asked: list[tuple[Any, int]] = []
        self._disputed: dict[int, list[int]] = {}

    def arrays(self, model: ArrayLike) -> ArrayRecord:
        """A vector of parameters as :meth:`start` takes it."""
        return ArrayRecord({_MODEL: Array(np.asarray(model, dtype=np.float32))})

    def summary(self) -> None:
        """Logs the settings."""
        log(INFO, "\t├──> Rules: %s", self.rules.to_json())
        log(INFO, "\t└──> Clients: %d; state: %s", self.clients, self.state or "in memory")

    # Server and clients

    def _open(self, arrays: ArrayRecord) -> Server:
        """The server, from disk or before its first round."""
        if self.server is None:
            for name, part in arrays.items():
                if part.numpy().dtype != np.float32:
                    raise ValueError(f"initial_arrays: found {part.numpy().dtype} in {name}; allowed: float32")
            self._layout = _layout(arrays)
            path = None if self.state is None else self.state / "server.safetensors"
            secret = None if self.rules.noise is None else secrets.randbits(64)
            note = {"federation": uuid.uuid4().hex, "rules": self.rules.to_json(), "secret": secret, "mean_examples": self.mean_examples}
            server = Server(self.rules, _flat(arrays), self.clients, path, json.dumps(note))
            kept = _note(server.note, path)
            if kept["rules"] != self.rules.to_json():
                raise ValueError(f"rules: found {self.rules.to_json()}; allowed: {kept['rules']}, as {path} has")
            self._federation = str(kept["federation"])
            if self.mean_examples is not None and kept["mean_examples"] not in (None, self.mean_examples):
                raise ValueError(f"mean_examples: found {self.mean_examples}; allowed: {kept['mean_examples']}, as {path} has")
            self.mean_examples = self.mean_examples or kept["mean_examples"]
            if self.rules.noise is not None:
                server.secret = int(kept["secret"])
            if server.round:
                log(INFO, "Resuming after %d rounds of %s", server.round, path)
            self.server = server
            self._keep()
        return self.server

    def _keep(self) -> None:
        """The federation's name and what is known of it, on the disk before a client hears of it."""
        assert self.server is not None
        kept = json.loads(self.server.note)
        self.server.note = json.dumps({**kept, "mean_examples": self.mean_examples})
        self.server.save()

    def _ask_examples(self, grid: Grid) -> None:
        """Asks all clients for their number of examples, where the method needs the mean and nobody gave it."""
        if self.mean_examples is not None or not self.rules.weights_by_examples:
            return
        nodes = self._meet(grid, set(range(self.clients)))
        absent = sorted(set(range(self.clients)) - set(nodes))
        if absent:
            raise ValueError(
                f"mean_examples: the rules weight clients by their examples, and clients {absent} are not connected to say how many they have; "
                "allowed: all clients connected, or mean_examples=, the average client's number"
            )
        self.mean_examples = sum(self._nodes[node][1] for node in nodes.values()) / self.clients
        self._keep()

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Trains up to `num_rounds` rounds in all, those before a restart counted; Flower's `Strategy.start` otherwise.

        `evaluate_fn` is called with the rounds that are behind: 0 for the initial model, and after a restart the number at which the
        federation resumes."""
        server = self._open(initial_arrays)
        self._ask_examples(grid)
        arrays, done, result = self._cut(server.model), server.round, Result()
        result.arrays = arrays
        self.summary()
        train_config, evaluate_config = train_config or ConfigRecord(), evaluate_config or ConfigRecord()
        self._evaluated(evaluate_fn, done, arrays, result)
        for current in range(done + 1, num_rounds + 1):
            log(INFO, "[ROUND %s/%s]", current, num_rounds)
            train_replies = grid.send_and_receive(self.configure_train(current, arrays, train_config, grid), timeout=timeout)
            found, metrics = self.aggregate_train(current, train_replies)
            if found is not None:
                result.arrays = arrays = found
            if metrics is not None:
                result.train_metrics_clientapp[current] = metrics
            evaluate_replies = grid.send_and_receive(self.configure_evaluate(current, arrays, evaluate_config, grid), timeout=timeout)
            evaluated = self.aggregate_evaluate(current, evaluate_replies)
            if evaluated is not None:
                result.evaluate_metrics_clientapp[current] = evaluated
            self._evaluated(evaluate_fn, current, arrays, result)
        return result

    @staticmethod
    def _evaluated(
        evaluate: Callable[[int, ArrayRecord], MetricRecord | None] | None, current: int, arrays: ArrayRecord, result: Result
    ) -> None:
        found = None if evaluate is None else evaluate(current, arrays)
        if found is not None:
            log(INFO, "Evaluation after %d rounds: %s", current, found)
            result.evaluate_metrics_serverapp[current] = found

    def _cut(self, vector: NDArray[np.float32]) -> ArrayRecord:
        """A vector in the arrays that the user's model is made of."""
        return _cut(vector, self._layout)

    def _meet(self, grid: Grid, wanted: set[int]) -> dict[int, int]:
        """Client number to node, of the connected ones. Waits for those that are wanted."""
        end = time.monotonic() + self.wait
        while True:
            connected = set(grid.get_node_ids())
            strangers = sorted(connected - set(self._nodes))
            if strangers:
                content = RecordDict({"config": ConfigRecord({"question": "who"})})
                questions = [Message(content, dst_node_id=node, message_type=MessageType.QUERY) for node in strangers]
                for answer in grid.send_and_receive(questions, timeout=self.timeout):
                    if answer.has_error():
                        continue
                    node = answer.metadata.src_node_id
                    try:
                        who: dict[str, Any] = dict(answer.content.metric_records["who"])
                        self._nodes[node] = (_whole(who["client"], 0, self.clients - 1), _whole(who["examples"], 0, _EXAMPLES))
                    except Exception as error:  # a hostile node may send anything
                        log(WARNING, "Node %d does not say who it is: %s", node, error)
                        self._nodes[node] = (-1, 0)
            claims: dict[int, list[int]] = {}
            for node in sorted(connected & set(self._nodes)):
                if self._nodes[node][0] >= 0:
                    claims.setdefault(self._nodes[node][0], []).append(node)
            # A node that was started again is a new one, while the old one is listed for a minute: those that still answer count.
            self._disputed = {}
            for client, nodes in claims.items():
                if len(nodes) > 1:
                    claims[client] = self._answering(grid, nodes)
                    if len(claims[client]) > 1:
                        self._disputed[client] = claims[client]
                        log(WARNING, "Nodes %s all say they are client %d: none is asked", claims[client], client)
            found = {client: nodes[0] for client, nodes in claims.items() if len(nodes) == 1}
            if wanted <= set(found) | set(self._disputed) or time.monotonic() > end:
                return found
            time.sleep(1.0)

    def _answering(self, grid: Grid, nodes: list[int]) -> list[int]:
        """Those of the nodes that answer now."""
        content = RecordDict({"config": ConfigRecord({"question": "who"})})
        questions = [Message(content, dst_node_id=node, message_type=MessageType.QUERY) for node in nodes]
        answers = grid.send_and_receive(questions, timeout=min(self.timeout, 10.0))
        return sorted(answer.metadata.src_node_id for answer in answers if not answer.has_error())

    # A round

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """The message to each client of the round that is connected."""
        server = self._open(arrays)
        self._active = dict(server.active())
        nodes = self._meet(grid, set(self._active))
        absent = sorted(set(self._active) - set(nodes) - set(self._disputed))
        if absent:
            log(WARNING, "Round %d goes without clients %s, which are not connected", server.round, absent)
        sent = server.message()
        extra = {f"vector.{name}": ArrayRecord({name: Array(values)}) for name, values in sent.arrays.items() if name != _MODEL}
        messages, self._asked = [], []
        for client, part in self._active.items():
            if client not in nodes:
                continue
            told: dict[str, Any] = {
                **dict(config), "server-round": server_round, "round": server.round, "rules": self.rules.to_json(), "part": part,
                "federation": self._federation, "client": client, "mean-examples": float(self.mean_examples or 0.0),
            }
            accepted = server.accepted[client]
            if accepted is not None:
                told["accepted"] = accepted
            records: dict[str, Any] = {"arrays": self._cut(sent.arrays[_MODEL]), "config": ConfigRecord(told), **extra}
            if sent.numbers:
                records["numbers"] = MetricRecord({**sent.numbers})
            message = Message(RecordDict(records), dst_node_id=nodes[client], message_type=MessageType.TRAIN)
            messages.append(message)
            # The grid writes the message's id into these when it sends it.
            self._asked.append((message.metadata, client))
        self._sent = len(messages)
        log(INFO, "configure_train: round %d with %d of %d clients", server.round, len(messages), self.clients)
        return messages

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Takes the replies that pass; the new state is on the disk when this returns."""
        server = self.server
        assert server is not None, "configure_train comes first"
        number, found = server.round, []
        refused: list[tuple[int, str]] = [
            (client, f"nodes {' and '.join(map(str, nodes))} all say they are client {client}")
            for client, nodes in self._disputed.items() if client in self._active
        ]
        silent = {metadata.message_id: client for metadata, client in self._asked}
        asked = {metadata.message_id: (metadata.dst_node_id, client) for metadata, client in self._asked}
        for message in replies:
            # An error comes from the SuperLink; what it answers says whom it is about.
            node, client = asked.get(message.metadata.reply_to_message_id, (None, None))
            if client is None:
                log(WARNING, "Round %d: an answer to a question that was not asked is left out", number)
                continue
            silent.pop(message.metadata.reply_to_message_id, None)
            if message.has_error():
                refused.append((client, message.error.reason or "an error without a reason"))
                continue
            try:
                reply = _reply(message.content)
                if reply.client != client or message.metadata.src_node_id != node:
                    raise ValueError(f"it says it is client {reply.client}, from node {message.metadata.src_node_id}")
                found.append(reply)
            except Exception as error:  # a hostile client may send anything
                refused.append((client, f"not understood: {error}"))
        refused += [(client, "no answer in time") for client in silent.values()]
        round = server.conclude(found, sent=self._sent)
        refused += round["refused"]
        for client, reason in refused:
            log(WARNING, "Round %d: the reply of client %d is left out: %s", number, client, reason)
        taken = set(round["taken"])
        losses = [reply.loss for reply in found if reply.client in taken]
        loss = float(np.mean(losses)) if losses else math.nan
        told = {"round": number, "taken": sorted(taken), "refused": refused, "loss": loss, "drift": round["drift"]}
        if self.rules.noise is not None:
            told["epsilon"] = epsilon(self.rules.noise, max(server.taken))
        self.history.append(told)
        if not taken:
            return None, None
        return self._cut(server.model), MetricRecord({"loss": loss, "drift": float(round["drift"]), "taken": len(taken)})

    # Evaluation

    def configure_evaluate(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """The model to every connected client, if they are to evaluate it."""
        if not self.evaluate:
            return []
        content = RecordDict({"arrays": arrays, "config": ConfigRecord({**dict(config), "server-round": server_round})})
        nodes = self._meet(grid, set())
        return [Message(content, dst_node_id=node, message_type=MessageType.EVALUATE) for node in nodes.values()]

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Means weighted by examples."""
        sums: dict[str, tuple[float, float]] = {}
        for message in replies:
            if message.has_error():
                continue
            try:
                metrics: dict[str, Any] = dict(message.content.metric_records["metrics"])
                weight = _whole(metrics.pop("num-examples"), 1, _EXAMPLES)
                values = {name: float(value) for name, value in metrics.items()}
                wrong = [name for name, value in values.items() if not math.isfinite(value)]
                if wrong:
                    raise ValueError(f"{wrong[0]} is {values[wrong[0]]}")
            except Exception as error:  # a hostile client may send anything
                log(WARNING, "Evaluation by node %d is left out: %s", message.metadata.src_node_id, error)
                continue
            for name, value in values.items():
                sum_of, total = sums.get(name, (0.0, 0.0))
                sums[name] = (sum_of + weight * value, total + weight)
        return MetricRecord({name: sum_of / total for name, (sum_of, total) in sums.items()}) if sums else None


def _note(text: str, path: Path | None) -> dict[str, Any]:
    """What a server's state says of its federation."""
    try:
        kept = json.loads(text)
    except ValueError:
        kept = None
    if not isinstance(kept, dict) or not {"federation", "rules", "secret"} <= set(kept):
        raise ValueError(f"state: found the state of a server that this class did not write in {path}; allowed: another folder")
    return {"mean_examples": None, **kept}


def _whole(value: Any, least: int, most: int) -> int:
    """A whole number of a message, in its range."""
    if not isinstance(value, (int, float)) or value != value or int(value) != value or not least <= value <= most:
        raise ValueError(f"found {value!r}; allowed: a whole number from {least} to {most}")
    return int(value)


def _flat(arrays: ArrayRecord) -> NDArray[np.float32]:
    return np.concatenate([part.numpy().reshape(-1) for part in arrays.values()]).astype(np.float32, copy=False)


def _layout(arrays: ArrayRecord) -> Layout:
    return [(name, part.numpy().shape) for name, part in arrays.items()]


def _cut(vector: NDArray[np.float32], layout: Layout) -> ArrayRecord:
    """A vector as arrays of these names and shapes."""
    arrays, start = {}, 0
    for name, shape in layout:
        size = math.prod(shape)
        arrays[name] = Array(vector[start : start + size].reshape(shape))
        start += size
    return ArrayRecord(arrays)


def _vectors(content: RecordDict) -> dict[str, NDArray[np.float32]]:
    """The model and the method's own vectors."""
    arrays = {_MODEL: _flat(content.array_records["arrays"])}
    for key, record in content.array_records.items():
        if key.startswith("vector."):
            arrays[key.removeprefix("vector.")] = _flat(record)
    return arrays


def _numbers(content: RecordDict) -> dict[str, float]:
    numbers: dict[str, Any] = dict(content.metric_records["numbers"]) if "numbers" in content else {}
    return {name: float(value) for name, value in numbers.items()}


def _reply(content: RecordDict) -> Reply:
    metrics: dict[str, Any] = dict(content.metric_records["metrics"])
    sent = Sent(_vectors(content), _numbers(content))
    examples = _whole(metrics["num-examples"], 0, _EXAMPLES)
    return Reply(_whole(metrics["client"], 0, 1 << 40), examples, sent, float(metrics["loss"]))


def client_app(
    load: Callable[[Context], Any],
    network: Network | None = None,
    *,
    local: Local = Local(),
    state: Union[str, os.PathLike[str]] = "lyceum-client",
    client: Callable[[Context], int] = lambda context: int(context.node_config["partition-id"]),
    evaluate: Callable[[NDArray[np.float32], Context], Mapping[str, float]] | None = None,
) -> ClientApp:
    """A client whose state survives that of its process.

    Parameters: `load`: from Flower's context, the client's `(x, y)`, or `(x, y, x_test, y_test)`, for a `network` that is trained in
    Rust; without one, `(train, examples)`, a function from :class:`~lyceum.federated.Problem` to
    :class:`~lyceum.federated.Solution` and the number of examples; `local`: how the network is trained; `state`: a folder on the
    client's disk, one file a federation and client; `client`: its number; `evaluate`: metrics of a model (a vector), for a client
    without a network.
    """
    app = ClientApp()

    def examples(context: Context) -> int:
        loaded = load(context)
        return len(loaded[1]) if network is not None else int(loaded[1])

    def make(rules: Rules, context: Context, number: int, federation: str, mean: float) -> Client:
        loaded = load(context)
        path = Path(state) / federation / f"{number}.safetensors"
        if network is not None:
            count = len(loaded[1])
            return Client(rules, (network, loaded[0], loaded[1]), client=number, state=path, local=local, share=count / mean if mean else 1.0)
        train, count = loaded
        return Client(rules, train, client=number, state=path, examples=count, share=count / mean if mean else 1.0)

    @app.query()
    def who(message: Message, context: Context) -> Message:
        answer = MetricRecord({"client": client(context), "examples": examples(context)})
        return Message(RecordDict({"who": answer}), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        config: dict[str, Any] = dict(message.content.config_records["config"])
        number = client(context)
        if number != config["client"]:
            raise ValueError(f"this is client {number}; the message is for client {config['client']}")
        federation = str(config["federation"])
        if not federation.isalnum():
            raise ValueError(f"federation: found {federation!r}; allowed: letters and digits")
        rules = Rules.from_json(str(config["rules"]))
        own = make(rules, context, number, federation, float(config["mean-examples"]))
        accepted = int(config["accepted"]) if "accepted" in config else None
        given = Sent(_vectors(message.content), _numbers(message.content))
        reply = own.answer(given, int(config["round"]), accepted, float(config["part"]))
        arrays = _cut(reply.message.arrays[_MODEL], _layout(message.content.array_records["arrays"]))
        metrics = MetricRecord({"client": number, "num-examples": reply.examples, "loss": reply.loss})
        records: dict[str, Any] = {"arrays": arrays, "metrics": metrics}
        for name, values in reply.message.arrays.items():
            if name != _MODEL:
                records[f"vector.{name}"] = ArrayRecord({name: Array(values)})
        if reply.message.numbers:
            records["numbers"] = MetricRecord({**reply.message.numbers})
        return Message(RecordDict(records), reply_to=message)

    @app.evaluate()
    def test(message: Message, context: Context) -> Message:
        model, loaded = _flat(message.content.array_records["arrays"]), load(context)
        if evaluate is not None:
            metrics = dict(evaluate(model, context))
        elif network is not None:
            x, y = loaded[2:4] if len(loaded) > 2 else loaded[:2]
            metrics = {**network.evaluate(model, x, y), "num-examples": len(y)}
        else:
            raise ValueError("evaluate: found None; allowed: a function, for a client without a network")
        return Message(RecordDict({"metrics": MetricRecord({"num-examples": 1, **metrics})}), reply_to=message)

    return app
