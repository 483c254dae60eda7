"""`cargo xtask bench active`: a batch of 100 from a pool of 1,000,000 by entropy, drawn in proportion. active.py lyceum|skactiveml

Both score the pool and draw; Lyceum also computes the weights, which scikit-activeml has no counterpart of.
"""

import json
import sys
import time

import numpy as np

POOL, CLASSES, BATCH = 1_000_000, 10, 100


def lyceum(p: np.ndarray) -> None:
    from lyceum.active import Sampler, entropy

    sampler = Sampler(POOL, "proportional", random_state=0)
    sampler.draw(entropy(p), BATCH)
    sampler.weights("lure")


def skactiveml(p: np.ndarray) -> None:
    from skactiveml.pool import uncertainty_scores
    from skactiveml.utils import simple_batch

    simple_batch(uncertainty_scores(p, method="entropy"), random_state=0, batch_size=BATCH, method="proportional")


def main() -> None:
    logits = np.random.default_rng(0).normal(size=(POOL, CLASSES)).astype(np.float32) * 2
    p = np.exp(logits)
    p /= p.sum(1, keepdims=True)
    work = {"lyceum": lyceum, "skactiveml": skactiveml}[sys.argv[1]]
    times = []
    for _ in range(4):
        start = time.perf_counter()
        work(p)
        times.append(time.perf_counter() - start)
    print(json.dumps({"work": "batch", "peer": sys.argv[1], "seconds": sorted(times[1:])[1]}))


if __name__ == "__main__":
    main()
