"""Whether Lyceum's sets are those of TorchCP and MAPIE where the definitions agree: random data without ties, no randomness.

Prints a line each and fails if sets differ that should not. Where definitions differ:
- TorchCP draws u anew for every label of a point, so its randomised sets are no prefixes of the ranking.
- TorchCP's SAPS without randomness scores a true label of rank 1 as 0 at calibration and as its probability at
  prediction, so the two phases do not agree with one another.
- MAPIE takes one calibration score too high where (n + 1)(1 - alpha) is whole (n = 99, 199, ... at 0.1): wider sets.
- MAPIE's APS and RAPS without randomisation take in the label that crosses the threshold (our "conservative"), with scores
  that are randomised at calibration by its own generator.
"""

import sys

import numpy as np
import torch
from lyceum.conformal import APS, LAC, RAPS
from mapie.classification import SplitConformalClassifier
from sklearn.base import BaseEstimator, ClassifierMixin
from torchcp.classification.predictor import SplitPredictor
from torchcp.classification.score import APS as TorchAPS
from torchcp.classification.score import LAC as TorchLAC
from torchcp.classification.score import RAPS as TorchRAPS


def data(seed: int, n: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)).astype(np.float32) * 1.5
    logits[np.arange(n), labels] += rng.normal(3.0, 1.0, n).astype(np.float32)
    return logits, labels


class Fixed(ClassifierMixin, BaseEstimator):
    """A classifier whose logits are its input."""

    def __init__(self, classes: int = 2) -> None:
        self.classes = classes

    def fit(self, x, y):
        self.classes_, self.is_fitted_ = np.arange(self.classes), True
        return self

    def predict_proba(self, x):
        p = np.exp(x - x.max(1, keepdims=True))
        return p / p.sum(1, keepdims=True)

    def predict(self, x):
        return x.argmax(1)


def main() -> None:
    failed = False
    for seed, n, classes, alpha in [(0, 1000, 10, 0.1), (1, 1503, 100, 0.05), (2, 400, 5, 0.2), (3, 2017, 50, 0.15)]:
        logits, labels = data(seed, 2 * n, classes)
        (z, y), test = (logits[:n], labels[:n]), logits[n:]
        pairs = [
            ("LAC", LAC(alpha), TorchLAC()),
            ("APS", APS(alpha, randomization="off"), TorchAPS(randomized=False)),
            ("RAPS", RAPS(alpha, lam=0.02, k_reg=2, randomization="off"), TorchRAPS(penalty=0.02, kreg=2, randomized=False)),
        ]
        for name, ours, theirs in pairs:
            predictor = SplitPredictor(theirs, temperature=1.0)
            predictor.calculate_threshold(torch.from_numpy(z), torch.from_numpy(y), alpha)
            expected = predictor.predict_with_logits(torch.from_numpy(test))
            expected = np.asarray(expected).astype(bool)
            found = ours.fit(z, y).predict(test).mask()
            different = int((found != expected).any(1).sum())
            # A score may lie within rounding of the threshold: the peers work in single precision.
            failed |= different > n / 1000 + 1
            print(f"{name} / TorchCP, {n} x {classes}, alpha {alpha}: {different} of {n} sets differ")
        mapie = SplitConformalClassifier(Fixed(classes).fit(z, y), confidence_level=1 - alpha, prefit=True, conformity_score="lac")
        mapie.conformalize(z, y)
        expected = mapie.predict_set(test)[1][:, :, 0]
        different = int((LAC(alpha).fit(z, y).predict(test).mask() != expected).any(1).sum())
        failed |= different > n / 1000 + 1
        print(f"LAC / MAPIE, {n} x {classes}, alpha {alpha}: {different} of {n} sets differ")
    sys.exit(failed)


if __name__ == "__main__":
    main()
