"""Prediction sets with a coverage guarantee, active learning without bias, gradients of several tasks combined, and federated
learning, for any model in any framework."""

from . import active, conformal, federated, optim
from ._native import __version__

__all__ = ["__version__", "active", "conformal", "federated", "optim"]
