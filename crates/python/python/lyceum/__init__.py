"""Prediction sets with a coverage guarantee, and active learning without bias, for any model in any framework."""

from . import active, conformal
from ._native import __version__

__all__ = ["__version__", "active", "conformal"]
