"""Prediction sets with a coverage guarantee, active learning without bias, gradients of several tasks combined, federated
learning, collocations to mask and epidemics with contact tracing, for any model in any framework."""

from . import active, conformal, epidemic, experiments, federated, masking, optim
from ._native import __version__
from .experiments import resume, run
from .model import Model

__all__ = [
    "Model", "__version__", "active", "conformal", "epidemic", "experiments", "federated", "masking", "optim", "resume", "run",
]
