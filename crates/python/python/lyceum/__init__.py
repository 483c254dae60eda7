"""Prediction sets with a coverage guarantee, active learning without bias, and gradients of several tasks combined, for any model
in any framework."""

from . import active, conformal, optim
from ._native import __version__

__all__ = ["__version__", "active", "conformal", "optim"]
