"""Trained networks: arms of runs and ONNX files, asked for predictions.

>>> import tempfile, lyceum
>>> recipe = {
...     "experiment": "certify", "seed": 1, "data": {"name": "digits"}, "model": {"mlp": {"hidden": [32]}},
...     "training": {"epochs": 4}, "arm": [{"name": "SGD", "estimator": "plain"}],
... }
>>> run = lyceum.run(recipe, out=tempfile.mkdtemp())
>>> model = Model.load(run.folder)
>>> X = np.random.default_rng(0).uniform(size=(5, 64))
>>> model.predict(X).shape, model.predict_proba(X).shape, len(model.predict_sets(X))
((5,), (5, 10), 5)
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from typing import Any, Literal, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _native
from ._arrays import array, as_numpy, seed
from .conformal import PredictionSets

__all__ = ["Model"]

Inputs = Union[ArrayLike, str, PathLike[str], Sequence[Union[str, PathLike[str]]]]


class Model:
    """A trained network; :meth:`load` opens it. With it come the names of its classes, its temperature and its calibrated sets, or, of a
    model that predicts numbers (``regress``, or an ONNX file with one output), its calibrated intervals.

    `X` is, everywhere, numbers (an example a row, or n x channels x height x width), or the path of a picture, or a list of paths: PNG and
    JPEG files are scaled to what the network reads, values from 0 to 1. Of a model that was trained on texts it is a text, or a list of texts.
    """

    def __init__(self, native: _native.Model, loaded: tuple[Any, ...]) -> None:
        self._native = native
        self._loaded = loaded

    @classmethod
    def load(
        cls, path: Union[str, PathLike[str]], *, input: Union[Sequence[int], None] = None, output: Union[str, None] = None
    ) -> Model:
        """Opens a model.

        Parameters
        ----------
        path
            A run folder with one arm, the folder of an arm, weights in it (``ARM/best/model.safetensors``), or an ONNX file of any origin.
        input
            The extents of an example, such as ``(3, 224, 224)``, where an ONNX file leaves them open.
        output
            The name of the output, where an ONNX file has several.
        """
        extents = None if input is None else [int(extent) for extent in input]
        return cls(_native.Model(fspath(path), extents, output), (fspath(path), extents, output))

    def __reduce__(self) -> Any:
        return _again, self._loaded

    def __repr__(self) -> str:
        extents = "x".join(map(str, self.input_shape))
        given = f"{len(self.classes_)} classes" if self.target_ is None else self.target_ or "a number"
        return f"Model({extents} to {given}, {self._native.cost[0]:,} parameters)"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The extents of an example."""
        return tuple(self._native.input)

    @property
    def classes_(self) -> NDArray[np.str_]:
        """The names of the classes; numbers where the file does not tell them, none where numbers are predicted."""
        return np.array(self._native.classes, str)

    @property
    def target_(self) -> Union[str, None]:
        """What the number is called that is predicted, ``""`` where the file does not tell it; None of a model of classes."""
        return self._native.target

    @property
    def temperature_(self) -> float:
        """Logits are divided by it before the softmax."""
        return float(self._native.temperature)

    def logits(self, X: Inputs, *, fit: Literal["stretch", "crop"] = "stretch") -> NDArray[np.float32]:
        """What the network gives, rows x classes (of numbers, one, or three quantiles). `fit` says how pictures of other sides are made to fit."""
        return self._native.logits(self._rows(X, fit))

    def predict_proba(self, X: Inputs, *, fit: Literal["stretch", "crop"] = "stretch") -> NDArray[np.float64]:
        """The probability of each class, rows x classes: softmax at the model's temperature."""
        return self._native.probabilities(self.logits(X, fit=fit))

    def predict(self, X: Inputs, *, fit: Literal["stretch", "crop"] = "stretch") -> NDArray[Any]:
        """The name of the likeliest class of each row, or the number that is predicted."""
        if self.target_ is not None:
            return self._native.numbers(self.logits(X, fit=fit))[0]
        found: NDArray[np.str_] = self.classes_[self.logits(X, fit=fit).argmax(1)]
        return found

    def predict_interval(self, X: Inputs, *, fit: Literal["stretch", "crop"] = "stretch") -> NDArray[np.float64]:
        """The lower and the upper end of each row's calibrated interval, rows x 2, of a model that ``regress`` has made.

        With probability at least 1 - :attr:`alpha_` the number lies between them.
        """
        if self.alpha_ is None:
            raise ValueError("the model has no calibrated intervals; allowed: one of `regress`. lyceum.conformal makes intervals of predictions")
        ends = self._native.numbers(self.logits(X, fit=fit))[1]
        assert ends is not None
        return ends

    @property
    def alpha_(self) -> Union[float, None]:
        """The share of numbers that may lie outside their intervals; None of a model without any."""
        return self._native.alpha

    def predict_sets(self, X: Inputs, *, random_state: Any = 0, fit: Literal["stretch", "crop"] = "stretch") -> PredictionSets:
        """The calibrated set of each row, of a model that ``certify`` has made."""
        if not self._native.has_sets:
            raise ValueError("the model has no calibrated sets; allowed: one of `certify`. lyceum.conformal makes sets of logits")
        starts, labels = self._native.sets(self.logits(X, fit=fit), seed(random_state))
        return PredictionSets(starts, labels, len(self.classes_), self.classes_)

    def export(self, path: Union[str, PathLike[str]]) -> None:
        """Writes the model as an ONNX file, with names, temperature and sets."""
        self._native.export(fspath(path))

    def _rows(self, X: Inputs, fit: str) -> NDArray[np.float32]:
        if fit not in ("stretch", "crop"):
            raise ValueError(f"fit: found {fit!r}; allowed: 'stretch' or 'crop'")
        if isinstance(X, (str, PathLike)):
            X = [X]
        if getattr(X, "ndim", 0) == 1 and getattr(getattr(X, "dtype", None), "kind", "f") in "OUT" and hasattr(X, "tolist"):
            X = X.tolist()  # an array or a series of texts or paths
        if self._native.reads_text and isinstance(X, (list, tuple)) and all(isinstance(one, str) for one in X):
            return self._native.texts(list(X))
        if isinstance(X, (list, tuple)) and X and all(isinstance(one, (str, PathLike)) for one in X):
            return self._native.pictures([fspath(one) for one in X], fit == "crop")
        values = as_numpy(self._ordered(X))
        width = int(np.prod(self.input_shape))
        # Rows, or what the network reads; images of one channel without it.
        grey = self.input_shape[:1] == (1,) and values.shape[1:] == self.input_shape[1:]
        if values.ndim < 2 or not (values.shape[1:] in ((width,), self.input_shape) or grey):
            raise ValueError(f"X: found the extents {values.shape}; allowed: n rows of {width}, or n of {self.input_shape}")
        return array(values.reshape(len(values), width), np.float32, 2, "X")


    def _ordered(self, X: Any) -> Any:
        """The columns of a table in the order in which the model was trained on them."""
        found = getattr(X, "column_names", None) or getattr(X, "columns", None)
        wanted = self._native.columns
        if found is None or not wanted or not all(isinstance(name, str) for name in found):
            return X
        if sorted(found) != sorted(wanted):
            raise ValueError(f"X: found the columns {', '.join(found)}; allowed: those that the model was trained with: {', '.join(wanted)}")
        return X.select(wanted) if hasattr(X, "column_names") else X[wanted]


def _again(path: str, input: Any, output: Any) -> Model:
    return Model.load(path, input=input, output=output)
