"""`lyceum.federated`: servers and clients that lose replies, die and start again; hostile and mistaken input."""

from __future__ import annotations

import pathlib
import pickle

import numpy as np
import pytest

from lyceum.federated import Client, Local, Message, Network, Problem, Reply, Rules, Server, Solution, epsilon, partition, simulate

TARGETS = np.array([[0.0, 1.0], [2.0, -1.0], [4.0, 3.0]], dtype=np.float32)


def solver(client: int):
    """Minimises |x - target|^2 / 2 with the problem's terms, exactly."""

    def solve(problem: Problem) -> Solution:
        linear = problem.linear if problem.linear.size else 0.0
        exact = (TARGETS[client] - linear + problem.quadratic * problem.start) / (1.0 + problem.quadratic)
        assert np.allclose(problem.add_to(exact - TARGETS[client], exact), 0.0, atol=1e-5)
        return Solution(exact.astype(np.float32), steps=1, rate=1.0)

    return solve


def clients(rules: Rules, folder: pathlib.Path) -> list[Client]:
    return [Client(rules, solver(k), client=k, state=folder / f"{k}.safetensors", examples=10) for k in range(3)]


def check(server: Server, everyone: list[Client]) -> None:
    """h = (1/m) sum of g_k."""
    kept = [client.kept(accepted).get("gradient", np.zeros(2)) for client, accepted in zip(everyone, server.accepted)]
    np.testing.assert_allclose(server.array("gradient"), np.mean(kept, axis=0), atol=1e-6)


def test_replies_that_are_lost_and_processes_that_die_change_nothing(tmp_path: pathlib.Path) -> None:
    rules = Rules("feddyn", alpha=1.0, by_share=False, random_state=1)
    rng = np.random.default_rng(1)
    start = lambda: Server(rules, np.zeros(2), 3, tmp_path / "server.safetensors", "note")  # noqa: E731
    server = start()
    for _ in range(60):
        # Everything is made anew from what is on disk, as after a kill.
        server, everyone = start(), clients(rules, tmp_path)
        message, replies = server.message(), []
        for client, part in server.active():
            reply = everyone[client].answer(message, server.round, server.accepted[client], part)
            fate = rng.random()
            if fate < 0.2:
                continue  # lost after the journal was written
            if fate < 0.4:  # it dies and does the round again
                again = clients(rules, tmp_path)[client].answer(message, server.round, server.accepted[client], part)
                np.testing.assert_array_equal(again.message.arrays["model"], reply.message.arrays["model"])
            replies.append(reply)
        server.conclude(replies)
        check(server, everyone)
    assert server.round == 60 and server.note == "note"
    np.testing.assert_allclose(server.model, TARGETS.mean(axis=0), atol=0.05)


def test_broken_replies_are_left_out_and_named(tmp_path: pathlib.Path) -> None:
    rules = Rules("fedavg", update_norm=5.0)
    server = Server(rules, np.zeros(2), 4)
    replies = [
        Reply(0, 1, Message({"model": np.array([np.nan, 0.0])})),
        Reply(1, 1, Message({"model": np.zeros(3)})),
        Reply(2, 1, Message({"model": np.array([9.0, 0.0])})),
        Reply(3, 1, Message({"model": np.array([1.0, 2.0])})),
    ]
    told = server.conclude(replies, sent=4)
    assert told["taken"] == [3] and [client for client, _ in told["refused"]] == [0, 1, 2]
    assert "NaN" in told["refused"][0][1] and "norm" in told["refused"][2][1]
    np.testing.assert_array_equal(server.model, [1.0, 2.0])
    assert server.traffic == (4 * 8, 8 + 12 + 8 + 8)
    # A stranger, and numbers of examples that are none: the round has nothing to take and is skipped.
    strange = [Reply(7, 1, Message({"model": np.zeros(2)})), Reply(0, -1, Message({"model": np.zeros(2)}))]
    told = server.conclude(strange)
    assert told["taken"] == [] and len(told["refused"]) == 2
    np.testing.assert_array_equal(server.model, [1.0, 2.0])


def test_a_state_of_another_federation_is_refused(tmp_path: pathlib.Path) -> None:
    rules = Rules("feddyn", alpha=1.0)
    path = tmp_path / "server.safetensors"
    server = Server(rules, np.zeros(2), 3, path)
    everyone = clients(rules, tmp_path)
    server.conclude([everyone[0].answer(server.message(), 0, None)])
    with pytest.raises(ValueError, match="clients: found 4; allowed: 3"):
        Server(rules, np.zeros(2), 4, path)
    with pytest.raises(ValueError, match="model: found 5 numbers; allowed: 2"):
        Server(rules, np.zeros(5), 3, path)
    with pytest.raises(ValueError, match="another federation"):
        everyone[0].answer(Message({"model": np.zeros(3, dtype=np.float32)}), 1, 0)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match="server.safetensors"):
        Server(rules, np.zeros(2), 3, path)


def test_private_rounds_cut_moves_and_add_noise() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 200)
    x = rng.normal(size=(200, 4)) + 2.0 * np.eye(3, 4)[y]
    network = Network("linear", shape=4, classes=3)
    parts = partition(y, 10)
    run = lambda **options: simulate(Rules("fedavg", **options), network, x, y, parts, 1).model  # noqa: E731
    tight = run(clip=0.1, noise=1e-9)
    assert np.linalg.norm(tight - network.initial) <= 0.1 + 1e-6
    assert np.linalg.norm(run() - network.initial) > 0.1
    noisy = run(clip=0.1, noise=5.0) - tight
    # Noise of deviation 0.5 on the sum of ten models.
    assert 0.02 < noisy.std() < 0.1
    with pytest.raises(ValueError, match="scaffold|SCAFFOLD"):
        Rules("scaffold", clip=1.0, noise=1.0)
    with pytest.raises(ValueError, match="FedDC"):
        Rules("feddc", alpha=0.1, clip=1.0, noise=1.0)
    with pytest.raises(ValueError, match="both or neither"):
        Rules("fedavg", clip=1.0)
    assert epsilon(1.0, 0) == 0.0
    amplified = pytest.importorskip("dp_accounting") and epsilon(1.0, 100, fraction=0.01)
    assert amplified < epsilon(1.0, 100) / 5


def test_the_noise_of_a_server_follows_from_its_secret() -> None:
    rules = Rules("fedavg", clip=1.0, noise=2.0, random_state=1)
    reply = Reply(0, 1, Message({"model": np.zeros(1000)}))

    def noise(secret: int | None) -> np.ndarray:
        server = Server(rules, np.zeros(1000), 1, secret=secret)
        server.conclude([reply])
        return server.model

    np.testing.assert_array_equal(noise(7), noise(7))
    np.testing.assert_array_equal(noise(None), noise(1))
    # Independent draws of deviation 2.
    assert 1.8 < noise(7).std() < 2.2 and abs(np.corrcoef(noise(7), noise(8))[0, 1]) < 0.15


def test_mistakes_are_told() -> None:
    network = Network("linear", shape=4, classes=3)
    rules, x, y = Rules(), np.zeros((6, 4)), np.array([0, 1, 2, 0, 1, 2])
    for change, text in [
        ({"x": np.zeros((6, 5))}, "x: found 5 numbers"),
        ({"y": np.array([0, 1, 2, 0, 1, 3])}, "label 3; allowed: 0 to 2"),
        ({"x": np.full((6, 4), np.inf)}, "x, row 0, column 0: found inf"),
        ({"parts": [[0, 9]]}, "example 9"),
        ({"schedule": [[2]]}, "client 2"),
        ({"initial": np.zeros(3)}, "3 numbers"),
        ({"local": Local(epochs=0)}, "local"),
    ]:
        arguments = {"x": x, "y": y, "parts": [[0, 1, 2], [3, 4, 5]], "rounds": 1, **change}
        with pytest.raises(ValueError, match=text):
            simulate(rules, network, **arguments)
    with pytest.raises(ValueError, match="method: found 'fedsgd'"):
        Rules("fedsgd")  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        Network({"mlp": {"hidden": [0]}}, shape=4, classes=3)
    with pytest.raises(ValueError, match="model"):
        Network("transformer", shape=4, classes=3)
    with pytest.raises(RuntimeError, match="local training: ZeroDivisionError"):
        Client(rules, lambda problem: 1 // 0, client=0, state="/tmp/none", examples=1).answer(  # type: ignore[arg-type,return-value]
            Message({"model": np.zeros(2, dtype=np.float32)}), 0, None
        )


def test_networks_and_rules_can_be_sent_to_other_processes() -> None:
    network = Network({"mlp": {"hidden": [5]}}, shape=4, classes=3, random_state=7)
    rules = Rules("fedprox", mu=0.5, fraction=0.5, random_state=3)
    again, same = pickle.loads(pickle.dumps((network, rules)))
    np.testing.assert_array_equal(again.initial, network.initial)
    assert same.to_json() == rules.to_json()


def test_empty_parts_and_rounds_are_no_surprise() -> None:
    network = Network("linear", shape=4, classes=3)
    x, y = np.zeros((6, 4)), np.array([0, 1, 2, 0, 1, 2])
    result = simulate(Rules(), network, x, y, [[0, 1, 2, 3, 4, 5], []], 2)
    assert np.isfinite(result.model).all() and len(result.history) == 2
    assert simulate(Rules(), network, x, y, [[0]], 0).history == []


def test_what_stops_a_program_comes_out():
    import pytest
    from lyceum.federated import Client, Network, Rules, Server, partition, simulate

    network, rules = Network("linear", shape=4, classes=3), Rules("fedavg")
    x, y = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32), np.arange(30) % 3
    told = []
    simulate(rules, network, x, y, partition(y, 3), rounds=2, progress=lambda done, rounds: told.append((done, rounds)))
    assert told == [(1, 2), (2, 2)]

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(rules, network, x, y, partition(y, 3), rounds=2, progress=stop)
    server = Server(rules, network.initial, clients=1)
    import tempfile

    with tempfile.TemporaryDirectory() as folder, pytest.raises(KeyboardInterrupt):
        Client(rules, stop, client=0, state=f"{folder}/0", examples=3).answer(server.message(), 0, None)
