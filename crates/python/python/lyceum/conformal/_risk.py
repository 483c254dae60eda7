"""Control of a risk other than missing."""

from __future__ import annotations

from typing import Union

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


def learn_then_test(losses: ArrayLike, alpha: float, delta: float = 0.1) -> list[int]:
    """Learn then test: the columns whose risk is at most alpha, all of them with probability 1 - delta; losses in [0, 1],
    columns from the safest on.

    >>> learn_then_test([[0.0, 0.02, 0.9]] * 200, alpha=0.1)
    [0, 1]
    """
    return _native.learn_then_test(array(losses, np.float64, 2, "losses"), alpha, delta)
