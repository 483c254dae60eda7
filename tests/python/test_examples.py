"""The examples run. That in PyTorch runs where PyTorch is installed."""

import pathlib
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "crates/python/examples"


def test_gradient_vaccine_in_a_pytorch_training_loop():
    pytest.importorskip("torch")
    found = subprocess.run([sys.executable, EXAMPLES / "pytorch_gradient_vaccine.py"], capture_output=True, text=True, check=True)
    assert "gradient-vaccine" in found.stdout
