"""Control of a risk other than missing."""

from __future__ import annotations

import warnings
from typing import Literal, Union

import numpy as np
from numpy.typing import ArrayLike

from .. import _native
from .._arrays import array


def control_risk(losses: ArrayLike, alpha: float, bound: float = 1.0) -> Union[int, None]:
    """Conformal risk control: the first column (lambda, losses falling) at which a new point's expected loss is at most
    alpha; None where there is none. `losses` has a row for each calibration point, at most `bound`.

    >>> control_risk([[1.0, 0.5, 0.0]] * 20, alpha=0.2)
    2
    """
    return _native.control_risk(array(losses, np.float64, 2, "losses"), alpha, bound)


def learn_then_test(
    losses: ArrayLike,
    alpha: float,
    delta: float = 0.1,
    *,
    p_value: Literal["hoeffding-bentkus", "binomial"] = "hoeffding-bentkus",
    correction: Literal["fixed-sequence", "bonferroni", "holm"] = "fixed-sequence",
) -> list[int]:
    """Learn then test (Angelopoulos et al. 2021): the columns whose risk is at most alpha, all of them with probability 1 - delta.

    Parameters
    ----------
    losses
        In [0, 1], a row for each calibration point, a column for each setting.
    p_value
        "binomial" is exact for losses of 0 and 1; the other is for any.
    correction
        "fixed-sequence" tests the columns in their order, which must be from the safest on, until one fails; "bonferroni" and the
        stronger "holm" take them in any order.

    >>> learn_then_test([[0.0, 0.02, 0.9]] * 200, alpha=0.1)
    [0, 1]
    >>> learn_then_test([[1, 0, 0]] * 200, alpha=0.1, p_value="binomial", correction="holm")
    [1, 2]
    """
    found = array(losses, np.float64, 2, "losses")
    means = found.mean(axis=0) if found.size else np.zeros(0)
    if correction == "fixed-sequence" and len(means) > 1 and means[0] > means.min() + 3 * found[:, 0].std() / np.sqrt(len(found)) + 1e-12:
        warnings.warn("losses: the first column is not the safest, at which a fixed sequence begins: sort them, or take 'holm'", stacklevel=2)
    return _native.learn_then_test(found, alpha, delta, p_value, correction)
