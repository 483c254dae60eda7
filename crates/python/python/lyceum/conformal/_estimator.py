"""What scikit-learn asks of an estimator, without needing scikit-learn."""

from __future__ import annotations

import inspect
import sys
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import _native
from .._arrays import array

Self = TypeVar("Self", bound="Estimator")


class NotFittedError(ValueError, AttributeError):
    """A method that needs a fitted estimator was called before `fit`."""


def not_fitted(text: str) -> NotFittedError:
    """The exception; one of scikit-learn's too, where that is in use."""
    if "sklearn" not in sys.modules:
        return NotFittedError(text)
    from sklearn.exceptions import NotFittedError as Theirs  # type: ignore[import-untyped,import-not-found,unused-ignore]

    class Both(NotFittedError, Theirs):  # type: ignore[misc,unused-ignore]
        def __reduce__(self) -> Any:
            return not_fitted, self.args

    Both.__name__ = Both.__qualname__ = "NotFittedError"
    return Both(text)


class Estimator:
    """Options by name, as scikit-learn reads and sets them; whether it is fitted; the columns that it was fitted with."""

    n_features_in_: int
    feature_names_in_: NDArray[Any]
    _fitted_by: str
    """The attribute that `fit` sets last."""

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The options by name; with `deep` also those of options that are estimators, as ``method__alpha``."""
        found: dict[str, Any] = {}
        for name in self._names():
            found[name] = value = getattr(self, name)
            if deep and hasattr(value, "get_params") and not isinstance(value, type):
                found.update({f"{name}__{inner}": option for inner, option in value.get_params().items()})
        return found

    def set_params(self: Self, **params: Any) -> Self:
        """Changes options, also nested ones such as ``method__alpha``; the estimator must be fitted again."""
        nested: dict[str, dict[str, Any]] = {}
        for name, value in params.items():
            first, _, rest = name.partition("__")
            if first not in self._names():
                raise ValueError(f"{type(self).__name__} has no option {first!r}; allowed: {', '.join(self._names())}")
            if rest:
                nested.setdefault(first, {})[rest] = value
            else:
                setattr(self, name, value)
        for name, inner in nested.items():
            value = getattr(self, name)
            if not hasattr(value, "set_params"):
                raise ValueError(f"{name}: found {value!r}, which has no options; allowed: an estimator")
            value.set_params(**inner)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        shown = [f"{name}={value!r}" for name, value in self.get_params(deep=False).items() if repr(value) != repr(defaults[name].default)]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, self._fitted_by)

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags  # type: ignore[import-untyped,import-not-found,unused-ignore]

        return Tags(estimator_type=None, target_tags=TargetTags(required=True), input_tags=InputTags(), transformer_tags=None)

    def _check_is_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise not_fitted(f"this {type(self).__name__} is not fitted yet: call fit first")

    def _learn_columns(self, values: Any, count: int) -> None:
        """Remembers the columns of what it is fitted with."""
        self.n_features_in_ = count
        self.__dict__.pop("feature_names_in_", None)
        names = column_names(values)
        if names is not None:
            self.feature_names_in_ = names

    def _check_columns(self, values: Any, count: int, name: str) -> None:
        """Errors where there are other columns than those that it was fitted with, or in another order."""
        self._check_is_fitted()
        if count != self.n_features_in_:
            text = f"{name}: X has {count} features, but {type(self).__name__} is expecting {self.n_features_in_} features as input"
            raise ValueError(text)
        known, found = getattr(self, "feature_names_in_", None), column_names(values)
        if known is not None and found is not None and not np.array_equal(known, found):
            raise ValueError(f"{name}: found the columns {list(found)}; allowed: {list(known)}, in the order that it was fitted with")


def column_names(values: Any) -> Any:
    """The names of a table's columns, if they are all strings."""
    names = getattr(values, "columns", None) if not hasattr(values, "column_names") else values.column_names
    names = None if names is None else list(names)
    return np.array(names, dtype=object) if names and all(isinstance(name, str) for name in names) else None


def logits_of(values: Any, name: str, ndim: int = 2) -> NDArray[np.float32]:
    """Logits as float32; of wider types each row less its maximum, so that what float32 rounds is the distance from it."""
    if hasattr(values, "toarray"):
        raise TypeError(f"{name}: found a sparse matrix; allowed: a dense array. Call toarray() first")
    own = array(values, None, ndim, name)
    return own.astype(np.float32, copy=False) if own.dtype in (np.float16, np.float32) else _native.logits_from_f64(own.astype(np.float64, copy=False))
