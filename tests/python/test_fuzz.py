"""Whatever the arguments, an ordinary exception; memory that stays as it is; calls from several threads."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
from lyceum.active import Sampler
from lyceum.conformal import LAC
from lyceum.federated import Network
from lyceum.optim import Combiner


def test_random_arguments_raise_ordinary_exceptions():
    script = Path(__file__).with_name("fuzz.py")
    # Two seeds side by side, half a minute each.
    running = [subprocess.Popen([sys.executable, script, str(seed), "30"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for seed in (1, 2)]
    for process in running:
        out, err = process.communicate(timeout=300)
        tail = "\n".join(out.splitlines()[-2:])
        told = "\n".join(line for line in err.splitlines() if "panicked" not in line)[-2000:]
        assert process.returncode == 0, f"exit status {process.returncode}; the last call: {tail}\n{told}"


def resident():
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_memory_stays_as_it_is():
    network = Network({"mlp": {"hidden": [20]}}, shape=10, classes=3)
    x, y = np.random.default_rng(0).normal(size=(50, 10)).astype(np.float32), np.arange(50) % 3
    lac = LAC().fit(x[:, :3], y)
    combiner = Combiner("pcgrad")
    calls = [
        lambda: network.logits(network.initial, x),
        lambda: network.evaluate(network.initial, x, y),
        lambda: lac.predict(x[:, :3]).covers(y),
        lambda: combiner([x[0], x[1]]),
    ]
    for call in calls:
        for _ in range(500):
            call()
        before = resident()
        for _ in range(2000):
            call()
        assert resident() - before < 2_000_000, call


def test_calls_from_several_threads():
    combiner, sampler, failures = Combiner("gradient-vaccine"), Sampler(10_000), []

    def work():
        try:
            for _ in range(100):
                combiner([[1.0, 2.0], [-1.0, 1.0]])
                sampler.draw(count=2)
                assert combiner.cosines.shape == (2, 2) and combiner.state_dict() and len(sampler.indices) >= 2
        except Exception as error:  # told below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not failures and len(set(sampler.indices.tolist())) == 1600
