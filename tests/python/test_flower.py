"""A federation over a real Flower deployment: a SuperLink and three SuperNodes as processes of their own, with TLS and known nodes."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

flwr = pytest.importorskip("flwr")

from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402

from lyceum.federated import Client, Local, Network, Rules, Server, epsilon, partition, simulate  # noqa: E402

CLIENTS, ROUNDS = 3, 5
SETTINGS = """
import os, time
from pathlib import Path
from sklearn.datasets import load_digits
from lyceum.federated import Local, Network, Rules, partition

WORK = Path(os.environ["LYCEUM_TEST"])
RULES = Rules("feddyn", alpha=0.1, by_share=False, random_state=3)
NETWORK = Network({"mlp": {"hidden": [16]}}, shape=(1, 8, 8), classes=10, random_state=3)
LOCAL = Local(epochs=1, batch_size=20)

def digits():
    x, y = load_digits(return_X_y=True)
    return x / 16.0, y, partition(y, clients=3, dirichlet=0.5, random_state=3)
"""
SERVER = """
import json
from flwr.serverapp import ServerApp
from lyceum.flower import Strategy
from federation.settings import NETWORK, RULES, WORK

app = ServerApp()

@app.main()
def main(grid, context):
    strategy = Strategy(RULES, clients=3, state=WORK / "server", wait=60.0, evaluate=True)
    rounds = int(context.run_config["rounds"])
    result = strategy.start(grid, strategy.arrays(NETWORK.initial), num_rounds=rounds, timeout=float(context.run_config["timeout"]))
    with open(WORK / "history.jsonl", "a") as file:
        for round in strategy.history:
            file.write(json.dumps(round) + "\\n")
    (WORK / "evaluation.json").write_text(json.dumps({k: dict(v) for k, v in result.evaluate_metrics_clientapp.items()}))
"""
CLIENT = """
import time
from lyceum import federated
from lyceum.flower import client_app
from federation.settings import LOCAL, NETWORK, WORK, digits

def load(context):
    x, y, parts = digits()
    part = parts[int(context.node_config["partition-id"])]
    return x[part], y[part]

answer = federated.Client.answer

def slow(self, message, round, accepted, part=1.0):
    if round == 3:
        raise RuntimeError("no data today")
    reply = answer(self, message, round, accepted, part)
    if round == 2 and self.client == 2:
        # A hostile client: what it says of itself is not possible.
        return federated.Reply(self.client, -1, reply.message, reply.loss)
    mark = WORK / "journal-written"
    if round == 1 and self.client == 1 and not mark.exists():
        # The state of the round is on the disk, the reply is not sent: now the node is killed.
        mark.touch()
        time.sleep(600)
    return reply

federated.Client.answer = slow
app = client_app(load, NETWORK, local=LOCAL, state=WORK / "clients")
"""
PROJECT = """
[project]
name = "federation"
version = "1.0.0"
dependencies = []

[tool.flwr.app]
publisher = "lyceum"

[tool.flwr.app.components]
serverapp = "federation.server:app"
clientapp = "federation.client:app"

[tool.flwr.app.config]
rounds = 2
timeout = 45.0
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def certificates(folder: pathlib.Path) -> None:
    """An authority, and a certificate for 127.0.0.1 that it signed."""
    now = datetime.datetime.now(datetime.timezone.utc)
    authority, own = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Lyceum tests")])

    def build(subject: x509.Name, key: ec.EllipticCurvePrivateKey, ca: bool) -> x509.Certificate:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        if not ca:
            names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(authority, hashes.SHA256())

    root = build(issuer, authority, True)
    server = build(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")]), own, False)
    (folder / "ca.crt").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    (folder / "server.pem").write_bytes(server.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(pem_key(own))


class Deployment:
    """The processes, their folder, and the ports they listen at."""

    def __init__(self, work: pathlib.Path) -> None:
        self.work, self.bin = work, pathlib.Path(sys.executable).parent
        self.port = free_port()
        self.running: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **os.environ, "HOME": str(work / "home"), "FLWR_HOME": str(work / "home/.flwr"), "FLWR_TELEMETRY_ENABLED": "0",
            "LYCEUM_TEST": str(work), "PATH": f"{self.bin}:{os.environ['PATH']}", "RAYON_NUM_THREADS": "1",
        }
        certificates(work)
        flower = work / "home/.flwr"
        flower.mkdir(parents=True)
        (flower / "config.toml").write_text(
            f'[superlink]\ndefault = "local"\n\n[superlink.local]\naddress = "127.0.0.1:{self.port}"\nroot-certificates = "{work}/ca.crt"\n'
        )
        app = work / "app"
        (app / "federation").mkdir(parents=True)
        (app / "pyproject.toml").write_text(PROJECT)
        for name, text in [("__init__", ""), ("settings", SETTINGS), ("server", SERVER), ("client", CLIENT)]:
            (app / f"federation/{name}.py").write_text(text)
        for client in range(CLIENTS):
            key = ec.generate_private_key(ec.SECP384R1())
            public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
            private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
            (work / f"node-{client}").write_bytes(private)
            (work / f"node-{client}.pub").write_bytes(public)

    def start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        log = open(self.work / f"{name}.log", "ab")
        process = subprocess.Popen(
            [str(self.bin / words[0]), *words[1:]], cwd=self.work, env=self.environment, stdout=log, stderr=log, start_new_session=True
        )
        self.running.append(process)
        return process

    def link(self) -> None:
        certificate = ["--ssl-certfile", "server.pem", "--ssl-keyfile", "server.key", "--ssl-ca-certfile", "ca.crt"]
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--disable-runtime-dependency-installation", "--enable-supernode-auth"]
        self.start("superlink", "flower-superlink", *certificate, *options)
        self.until(lambda: self.listens(self.port), 60, "the SuperLink listens")

    def node(self, client: int) -> subprocess.Popen[bytes]:
        where = ["--root-certificates", "ca.crt", "--superlink", f"127.0.0.1:{self.port}", "--port", str(free_port())]
        who = ["--node-config", f"partition-id={client}", "--auth-supernode-private-key", f"node-{client}"]
        return self.start(f"node-{client}", "flower-supernode", *where, *who)

    def revive(self, client: int) -> subprocess.Popen[bytes]:
        """A node with a known key is let in again when the SuperLink has noticed that it was gone, after a minute: until then it ends
        at once, and whoever looks after it starts it again."""
        log = self.work / f"node-{client}.log"
        end = time.monotonic() + 150
        while time.monotonic() < end:
            log.write_bytes(b"")
            node = self.node(client)
            time.sleep(8)
            if b"Exit Code" not in log.read_bytes():
                return node
            kill(node)
        pytest.fail(log.read_text())

    def flwr(self, *words: str) -> subprocess.Popen[bytes]:
        return self.start("flwr", "flwr", *words)

    @staticmethod
    def listens(port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def until(self, done: object, seconds: float, what: str) -> None:
        end = time.monotonic() + seconds
        while not done():  # type: ignore[operator]
            if time.monotonic() > end:
                logs = "\n".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.work.glob("*.log")))
                pytest.fail(f"not within {seconds} s: {what}\n{logs}")
            time.sleep(0.2)

    def stop(self) -> None:
        for process in self.running:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """The process with all that it started, at once."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


@pytest.fixture
def deployment(tmp_path: pathlib.Path):
    found = Deployment(tmp_path)
    yield found
    found.stop()


def test_a_deployment_with_a_killed_node_and_a_restarted_server_ends_as_the_simulation(deployment: Deployment) -> None:
    work = deployment.work
    deployment.link()
    for client in range(CLIENTS):
        registered = deployment.flwr("supernode", "register", str(work / f"node-{client}.pub"), "local")
        deployment.until(lambda: registered.poll() is not None, 60, "a node's key is registered")
        assert registered.returncode == 0, (work / "flwr.log").read_text()
    nodes = [deployment.node(client) for client in range(CLIENTS)]

    def run(rounds: int) -> subprocess.Popen[bytes]:
        return deployment.flwr("run", "app", "local", "--run-config", f"rounds={rounds}", "--stream")

    # Two rounds; in the second a node is killed between writing its journal and sending its reply.
    first = run(2)
    deployment.until((work / "journal-written").exists, 180, "the second round")
    kill(nodes[1])
    nodes[1] = deployment.revive(1)
    history = work / "history.jsonl"
    deployment.until(history.exists, 180, "the first run ends")
    deployment.until(lambda: first.poll() is not None, 60, "the first run is told of")
    # The server's process is gone. A new run goes on from its state on disk.
    second = run(ROUNDS)
    lines = lambda: [json.loads(line) for line in history.read_text().splitlines()]  # noqa: E731
    deployment.until(lambda: len(lines()) == ROUNDS, 240, "the second run ends")
    deployment.until(lambda: second.poll() is not None, 60, "the second run is told of")

    rounds = lines()
    assert [entry["round"] for entry in rounds] == list(range(ROUNDS))
    # A killed node, a hostile client, a round in which nobody has data, and one as the first.
    assert [entry["taken"] for entry in rounds] == [[0, 1, 2], [0, 2], [0, 1], [], [0, 1, 2]], rounds
    refused = [dict(entry["refused"]) for entry in rounds]
    assert set(refused[1]) == {1} and set(refused[2]) == {2} and "found -1" in refused[2][2], refused
    assert set(refused[3]) == {0, 1, 2} and all("no data today" in reason for reason in refused[3].values()), refused

    rules = Rules("feddyn", alpha=0.1, by_share=False, random_state=3)
    network = Network({"mlp": {"hidden": [16]}}, shape=(1, 8, 8), classes=10, random_state=3)
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    parts = partition(y, clients=CLIENTS, dirichlet=0.5, random_state=3)
    local = Local(epochs=1, batch_size=20)
    schedule = [entry["taken"] for entry in rounds]
    expected = simulate(rules, network, x / 16.0, y, parts, ROUNDS, local=local, schedule=schedule)
    server = Server(rules, network.initial, CLIENTS, work / "server/server.safetensors")
    assert server.round == ROUNDS
    np.testing.assert_allclose(server.model, expected.model, atol=1e-6)
    # h = (1/m) Σ g_k, of what server and clients have on their disks.
    federation = json.loads(server.note)["federation"]
    kept = []
    for client in range(CLIENTS):
        own = Client(rules, (network, x[parts[client]], y[parts[client]]), client=client, state=work / f"clients/{federation}/{client}.safetensors")
        kept.append(own.kept(server.accepted[client])["gradient"])
    np.testing.assert_allclose(server.array("gradient"), np.mean(kept, axis=0), atol=1e-6)
    assert np.abs(server.array("gradient")).max() > 1e-3
    evaluation = json.loads((work / "evaluation.json").read_text())
    assert 0.0 < evaluation[str(ROUNDS)]["accuracy"] <= 1.0


def test_the_same_apps_run_in_flowers_simulation(tmp_path: pathlib.Path) -> None:
    """With Ray as its engine: one line, `run_simulation(server, client, num_supernodes=3)`."""
    pytest.importorskip("ray")
    program = tmp_path / "program.py"
    program.write_text(
        SETTINGS
        + """
import json
from flwr.serverapp import ServerApp
from flwr.simulation import run_simulation
from lyceum.flower import Strategy, client_app
import numpy as np

def load(context):
    x, y, parts = digits()
    part = parts[int(context.node_config["partition-id"])]
    return x[part], y[part]

client, server = client_app(load, NETWORK, local=LOCAL, state=WORK / "clients"), ServerApp()

@server.main()
def main(grid, context):
    strategy = Strategy(Rules("scaffold", random_state=3), clients=3)
    strategy.start(grid, strategy.arrays(NETWORK.initial), num_rounds=2)
    np.save(WORK / "model.npy", strategy.server.model)
    private = Strategy(Rules("fedavg", clip=0.1, noise=5.0, random_state=3), clients=3, state=WORK / "server")
    private.start(grid, private.arrays(NETWORK.initial), num_rounds=1)
    np.save(WORK / "private.npy", private.server.model)
    (WORK / "history.json").write_text(json.dumps(private.history))

run_simulation(server, client, num_supernodes=3)
"""
    )
    environment = {**os.environ, "LYCEUM_TEST": str(tmp_path), "FLWR_TELEMETRY_ENABLED": "0", "FLWR_HOME": str(tmp_path / "flwr")}
    ended = subprocess.run([sys.executable, str(program)], env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-3000:]
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    network = Network({"mlp": {"hidden": [16]}}, shape=(1, 8, 8), classes=10, random_state=3)
    parts = partition(y, clients=CLIENTS, dirichlet=0.5, random_state=3)
    local = Local(epochs=1, batch_size=20)
    alone = lambda rules, rounds: simulate(rules, network, x / 16.0, y, parts, rounds, local=local).model  # noqa: E731
    expected = alone(Rules("scaffold", random_state=3), 2)
    np.testing.assert_allclose(np.load(tmp_path / "model.npy"), expected, atol=1e-6, err_msg=ended.stderr[-3000:])

    # Clients know the rules' seed; the noise is from another.
    found = np.load(tmp_path / "private.npy")
    noise = lambda deviation: found - alone(Rules("fedavg", clip=0.1, noise=deviation, random_state=3), 1)  # noqa: E731
    expected = 0.1 * 5.0 / CLIENTS
    assert 0.9 * expected < noise(1e-9).std() < 1.1 * expected
    assert noise(5.0).std() > 1.2 * expected
    (told,) = json.loads((tmp_path / "history.json").read_text())
    assert told["epsilon"] == epsilon(5.0, 1)
    assert json.loads(Server(Rules(), network.initial, CLIENTS, tmp_path / "server/server.safetensors").note)["secret"] > 0
