"""`cargo xtask bench conformal` in Python: conformal.py data|lyceum|torchcp|crepes|mapie FOLDER."""

import json
import sys
import time
from pathlib import Path

import numpy as np

ROWS, CLASSES, ALPHA = 50_000, 1_000, 0.1


# What the logit of the label has more, mean and deviation: a classifier that is right three times in four, with a long tail, and a weak
# one whose sets hold some 400 labels.
CLASSIFIERS = {"raps": (7.0, 3.0), "weak": (2.7, 1.0)}


def data(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for work, (mean, deviation) in CLASSIFIERS.items():
        if (folder / f"{work}-labels.npy").exists():
            continue
        rng = np.random.default_rng(0)
        logits = rng.standard_normal((ROWS, CLASSES), dtype=np.float32) * 1.5
        labels = rng.integers(0, CLASSES, ROWS)
        logits[np.arange(ROWS), labels] += rng.normal(mean, deviation, ROWS).astype(np.float32)
        np.save(folder / f"{work}-logits.npy", logits)
        np.save(folder / f"{work}-labels.npy", labels)


def report(work: str, peer: str, calibrate: float, predict: float, **more: float) -> None:
    print(json.dumps({"work": work, "peer": peer, "seconds": calibrate + predict, "calibrate": calibrate, "predict": predict, **more}))


def lyceum(work: str, logits: np.ndarray, labels: np.ndarray) -> None:
    """The wheel, as its users call it."""
    from lyceum.conformal import RAPS

    half, times = ROWS // 2, []
    for _ in range(7):
        start = time.perf_counter()
        raps = RAPS(ALPHA, lam=0.01, k_reg=5).fit(logits[:half], labels[:half])
        middle = time.perf_counter()
        sets = raps.predict(logits[half:])
        times.append((middle - start, time.perf_counter() - middle))
    calibrate, predict = sorted(times, key=sum)[3]
    report(work, "wheel", calibrate, predict, mean_size=float(sets.sizes.mean()))


def torchcp(work: str, logits: np.ndarray, labels: np.ndarray) -> None:
    import torch
    from torchcp.classification.predictor import SplitPredictor
    from torchcp.classification.score import RAPS

    x, y, half = torch.from_numpy(logits), torch.from_numpy(labels), ROWS // 2
    predictor = SplitPredictor(RAPS(penalty=0.01, kreg=4, randomized=True), temperature=1.0)
    for _ in range(2):  # the second time is counted: the first warms the allocator
        start = time.perf_counter()
        predictor.calculate_threshold(x[:half], y[:half], ALPHA)
        middle = time.perf_counter()
        sets = predictor.predict_with_logits(x[half:])
        end = time.perf_counter()
    size = float(sets.sum() / len(sets)) if hasattr(sets, "sum") else float(np.mean([len(s) for s in sets]))
    report(work, "torchcp", middle - start, end - middle, mean_size=size)


def softmax(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p


def crepes(work: str, logits: np.ndarray, labels: np.ndarray) -> None:
    """crepes has no RAPS: its hinge score (1 - p, LAC) is a stand-in that does less."""
    from crepes import ConformalClassifier
    from crepes.extras import hinge

    half = ROWS // 2
    start = time.perf_counter()
    classifier = ConformalClassifier()
    classes = np.arange(CLASSES)
    classifier.fit(hinge(softmax(logits[:half]), classes, labels[:half]))
    middle = time.perf_counter()
    scores = hinge(softmax(logits[half:]), classes)
    classifier.predict_set(scores, confidence=1 - ALPHA, smoothing=False)
    end = time.perf_counter()
    report(work, "crepes", middle - start, end - middle)


def mapie(work: str, logits: np.ndarray, labels: np.ndarray) -> None:
    from mapie.classification import SplitConformalClassifier
    from mapie.conformity_scores import RAPSConformityScore
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Fixed(ClassifierMixin, BaseEstimator):
        """A classifier whose probabilities are its input."""

        def fit(self, x, y):
            self.classes_ = np.arange(CLASSES)
            self.is_fitted_ = True
            return self

        def predict_proba(self, x):
            return softmax(x)

        def predict(self, x):
            return x.argmax(axis=1)

    half = ROWS // 2
    fixed = Fixed().fit(logits, labels)
    fixed.classes_ = np.arange(CLASSES)
    start = time.perf_counter()
    conformal = SplitConformalClassifier(
        fixed, confidence_level=1 - ALPHA, prefit=True, conformity_score=RAPSConformityScore(size_raps=0.2), random_state=0
    )
    conformal.conformalize(logits[:half], labels[:half])
    middle = time.perf_counter()
    conformal.predict_set(logits[half:], conformity_score_params={"include_last_label": "randomized"})
    end = time.perf_counter()
    report(work, "mapie", middle - start, end - middle)


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    if name == "data":
        data(folder)
        return
    peers = {"lyceum": lyceum, "torchcp": torchcp, "crepes": crepes, "mapie": mapie}
    for work in CLASSIFIERS if name in ("lyceum", "torchcp") else ["raps"]:
        peers[name](work, np.load(folder / f"{work}-logits.npy"), np.load(folder / f"{work}-labels.npy"))


if __name__ == "__main__":
    main()
