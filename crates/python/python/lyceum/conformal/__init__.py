"""Conformal prediction sets and intervals in scikit-learn's manner.

>>> import numpy as np
>>> from lyceum.conformal import RAPS
>>> rng = np.random.default_rng(0)
>>> labels = rng.integers(0, 10, 2000)
>>> logits = rng.normal(size=(2000, 10)); logits[np.arange(2000), labels] += 2
>>> raps = RAPS(alpha=0.1, random_state=0).fit(logits[:1000], labels[:1000])
>>> sets = raps.predict(logits[1000:])
>>> len(sets), bool(raps.score(logits[1000:], labels[1000:]) > 0.85)
(1000, True)
"""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any, Union

from .. import _native
from ._classifiers import APS, LAC, RAPS, SAPS, Classifier, Naive, TopK, fit_temperature, p_values, scores
from ._distributions import Distributions, Intervals
from ._estimator import NotFittedError
from ._regression import CQRRegressor, CrossRegressor, EnbPIRegressor, SplitRegressor, cqr, jackknife_plus, split_interval
from ._risk import control_risk, learn_then_test
from ._schemes import ClassConditional, CrossConformal, Mondrian, Online, Weighted
from ._sets import Coverage, PredictionSets
from ._venn_abers import VennAbers

__all__ = [
    "APS", "LAC", "RAPS", "SAPS", "CQRRegressor", "ClassConditional", "Coverage", "CrossConformal", "CrossRegressor",
    "Distributions", "EnbPIRegressor", "Intervals", "Mondrian", "Naive", "NotFittedError", "Online", "PredictionSets", "SplitRegressor",
    "TopK", "VennAbers", "Weighted", "control_risk", "cqr",
    "fit_temperature", "jackknife_plus", "learn_then_test", "load", "p_values", "scores", "split_interval",
]


def load(path: Union[str, PathLike[str]]) -> Any:
    """The calibrated model of a file that ``save`` or ``lyceum conformal calibrate`` wrote, whichever scheme and score it has.

    >>> import numpy, tempfile
    >>> file = tempfile.mktemp()
    >>> ClassConditional(APS(0.2)).fit(3 * numpy.eye(3)[[0, 1, 2] * 20], [0, 1, 2] * 20).save(file)
    >>> load(file)
    ClassConditional(method=APS(alpha=0.2))
    """
    text = Path(path).read_text()
    try:
        is_cross = json.loads(text).get("scheme") == "cross"
    except (ValueError, AttributeError):  # told below
        is_cross = False
    model = (_native.CrossConformal if is_cross else _native.Predictor).from_json(text)
    score = json.loads(model.config)["score"]
    kind = score if isinstance(score, str) else next(iter(score))
    method: Classifier = {scorer._kind: scorer for scorer in (APS, LAC, RAPS, SAPS, TopK, Naive)}[kind]()
    method._take_options(json.loads(model.config))
    schemes: dict[str, type[Any]] = {"class-conditional": ClassConditional, "groups": Mondrian, "weighted": Weighted, "cross": CrossConformal}
    estimator: Any = method if model.scheme == "marginal" else schemes[model.scheme](method)
    estimator._adopt(model)
    return estimator
