"""Prediction sets with a coverage guarantee, active learning without bias, gradients of several tasks combined, federated
learning and collocations to mask, for any model in any framework."""

from . import active, conformal, federated, masking, optim
from ._native import __version__

__all__ = ["__version__", "active", "conformal", "federated", "masking", "optim"]
