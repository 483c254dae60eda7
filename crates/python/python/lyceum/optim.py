"""One gradient from several tasks': Gradient Vaccine, PCGrad, MGDA, CAGrad, IMTL-G, Nash-MTL, Aligned-MTL, GradNorm, uncertainty.

In a PyTorch training loop::

    combiner = Combiner("gradient-vaccine", groups="parameter")
    for batches in loader:
        parameters = list(model.parameters())
        gradients = [torch.autograd.grad(loss(model, batch), parameters) for batch in batches]
        for parameter, gradient in zip(parameters, combiner(gradients)):
            parameter.grad = gradient
        optimizer.step()

All products of gradients are taken in one sweep and the sum in a second one, on all cores and without the GIL.

>>> import numpy as np
>>> combine([np.array([1.0, 0.0]), np.array([-1.0, 1.0])], "pcgrad")
array([0.5, 1.5], dtype=float32)
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Literal, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _native
from ._arrays import array, seed
from ._options import dumped, method_json

__all__ = ["Combiner", "combine"]

Method = Literal[
    "sum", "mean", "pcgrad", "gradient-vaccine", "mgda", "cagrad", "imtl-g", "nash-mtl", "aligned-mtl", "gradnorm", "uncertainty"
]

_OPTIONS: dict[str, tuple[str, ...]] = {
    "sum": (), "mean": (), "pcgrad": (), "gradient-vaccine": ("rate",), "mgda": (), "cagrad": ("radius",), "imtl-g": (), "nash-mtl": (),
    "aligned-mtl": ("scale",), "gradnorm": ("asymmetry", "rate"), "uncertainty": ("rate",),
}


class Combiner:
    """A method with its state, called once a training step.

    Parameters: `method`; `groups`: ``"whole"`` (all parameters are compared together), ``"parameter"`` (each array by itself;
    the paper of Gradient Vaccine found fine groups best) or a list with the number of each array's group; `random_state`: the
    order in which tasks are compared. Options by method: `rate` (beta of gradient-vaccine, 0.01; step of the weights of gradnorm
    and uncertainty, 0.025), `radius` (c of cagrad, 0.5), `scale` (of aligned-mtl: "min", "median" or "rms"), `asymmetry` (alpha
    of gradnorm, 1.5).

    >>> combiner = Combiner("gradient-vaccine", rate=0.5)
    >>> combiner([[3.0, 0.0], [0.0, 1.0]])
    array([3., 1.], dtype=float32)
    >>> combiner.cosines.round(1)
    array([[1., 0.],
           [0., 1.]])
    """

    def __init__(
        self,
        method: Method = "gradient-vaccine",
        *,
        groups: Union[Literal["whole", "parameter"], Sequence[int]] = "whole",
        random_state: Any = 0,
        **options: Any,
    ) -> None:
        config = method_json(method, options, _OPTIONS)
        if isinstance(groups, str) and groups not in ("whole", "parameter"):
            raise ValueError(f"groups: found {groups!r}; allowed: 'whole', 'parameter' or a list of numbers")
        self.method = method
        self.groups = groups
        self._config = dumped(config)
        # The shape of a wrong option is told now, not at the first step.
        _native.Combiner(self._config, 1, 1)
        self._seed = seed(random_state)
        self._steps = 0
        self._native: Union[_native.Combiner, None] = None
        self._shape: Union[tuple[int, int], None] = None
        self._lock = threading.RLock()

    def __call__(self, gradients: Any, losses: Union[ArrayLike, None] = None) -> Any:
        """The combined gradient, in the shape of one task's.

        `gradients`: for each task an array, or a sequence of arrays (one a parameter), numpy, torch or anything with the
        standard protocols, of any floating type and on any device; torch tensors give torch tensors of the same type and device. They
        are combined in single precision. None is a task's gradient of a parameter that it does not use: 0. `losses`: one a task, which
        gradnorm and uncertainty need.

        Where a gradient is not finite, the sum is given, which is not finite either, and nothing is learnt: PyTorch's ``GradScaler``
        passes such a step over.
        """
        tasks = list(gradients)
        if not tasks:
            raise ValueError("gradients: found none; allowed: at least one task")
        single = not isinstance(tasks[0], (list, tuple)) or _is_number(tasks[0])
        segments = [[task] if single else list(task) for task in tasks]
        count = len(segments[0])
        for number, parts in enumerate(segments):
            if len(parts) != count:
                raise ValueError(f"gradient of task {number}: found {len(parts)} arrays; allowed: {count}, as task 0 has")
        if not count:
            raise ValueError("gradients: found no arrays; allowed: one or more of each task")
        # Of a parameter that no task uses, a vector without numbers.
        like = [next((part for part in parts if part is not None), None) for parts in zip(*segments)]
        flat = [
            [_flat(whole if part is None else part, f"gradient of task {number}", part is None) for whole, part in zip(like, parts)]
            for number, parts in enumerate(segments)
        ]
        groups = self._group_numbers(count)
        found = None if losses is None else array(_losses(losses), np.float64, 1, "losses")
        with self._lock:
            if self._native is None:
                self._shape = (len(tasks), max(groups) + 1)
                self._native = _native.Combiner(self._config, *self._shape)
            step = (self._seed + 0x9E3779B97F4A7C15 * self._steps) % 2**64
            sums = self._native.combine(flat, groups, found, step)
            self._steps += 1
        shaped = [None if part is None else _like(total, part) for total, part in zip(sums, like)]
        return shaped[0] if single else shaped

    def _group_numbers(self, count: int) -> list[int]:
        if isinstance(self.groups, str):
            return [0] * count if self.groups == "whole" else list(range(count))
        groups = [int(group) for group in self.groups]
        if len(groups) != count or sorted(set(groups)) != list(range(len(set(groups)))):
            raise ValueError(f"groups: found {groups}; allowed: a number for each of {count} arrays, from 0 on without gaps")
        return groups

    @property
    def coefficients(self) -> NDArray[np.float64]:
        """The coefficients of the last step, groups x tasks: the update is their sum with the gradients."""
        return self._last()[0]

    @property
    def cosines(self) -> NDArray[np.float64]:
        """The cosines of the tasks' gradients in the last step, averaged over groups."""
        grams = self._last()[1]
        norms = np.sqrt(np.einsum("gii->gi", grams))
        scale = norms[:, :, None] * norms[:, None, :]
        cosines: NDArray[np.float64] = np.divide(grams, scale, out=np.zeros_like(grams), where=scale > 0).mean(0)
        return cosines

    def _last(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coefficients and Gram matrices of the last step."""
        with self._lock:
            found = None if self._native is None else (self._native.coefficients, self._native.grams)
        if found is None or not len(found[0]):
            raise ValueError("no step has been made yet: call the combiner with gradients first")
        return found

    def state_dict(self) -> dict[str, Any]:
        """What must be saved to go on later; coefficients and cosines of the last step are not in it."""
        with self._lock:
            state = None if self._native is None else self._native.state()
            return {"steps": self._steps, "state": state, "shape": self._shape, "seed": self._seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`."""
        with self._lock:
            self._steps, self._seed = int(state["steps"]), int(state.get("seed", self._seed))
            self._native, self._shape = None, None
            if state["shape"] is not None:
                tasks, groups = state["shape"]
                self._shape = (int(tasks), int(groups))
                self._native = _native.Combiner(self._config, *self._shape)
                self._native.restore(np.asarray(state["state"], dtype=np.float32))

    def __getstate__(self) -> dict[str, Any]:
        apart = ("_native", "_lock")
        return {**{name: value for name, value in self.__dict__.items() if name not in apart}, "state": self.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({name: value for name, value in state.items() if name != "state"})
        self._native, self._lock = None, threading.RLock()
        self.load_state_dict(state["state"])

    def __repr__(self) -> str:
        return f"Combiner({self._config}, groups={self.groups!r})"


def combine(
    gradients: Any,
    method: Method = "pcgrad",
    losses: Union[ArrayLike, None] = None,
    *,
    groups: Union[Literal["whole", "parameter"], Sequence[int]] = "whole",
    random_state: Any = 0,
    **options: Any,
) -> Any:
    """One gradient from several tasks', once. Methods that learn from step to step want a `Combiner`.

    >>> combine([[2.0, 0.0], [0.0, 1.0]], "nash-mtl")
    array([1., 1.], dtype=float32)
    """
    return Combiner(method, groups=groups, random_state=random_state, **options)(gradients, losses)


def _is_number(values: Any) -> bool:
    return len(values) > 0 and isinstance(values[0], (int, float, np.number))


def _flat(part: Any, name: str, empty: bool = False) -> NDArray[np.float32]:
    """An array as a vector; of zeros if it only stands for one that there is not."""
    if part is None:
        return np.zeros(0, dtype=np.float32)
    if empty:
        return np.zeros(int(np.prod(np.shape(part))), dtype=np.float32)
    if _is_tensor(part):
        part = part.detach().float().cpu()
    if hasattr(part, "reshape"):
        part = part.reshape(-1)
    return array(part, np.float32, 1, name)


def _losses(losses: Any) -> Any:
    """Losses as numbers; each may be a tensor."""
    if isinstance(losses, (list, tuple)):
        return [float(loss) for loss in losses]
    return losses.detach().float().cpu() if _is_tensor(losses) else losses


def _is_tensor(part: Any) -> bool:
    return type(part).__module__.partition(".")[0] == "torch"


def _like(total: NDArray[np.float32], part: Any) -> Any:
    """In the shape of a task's array; a torch tensor where that was one."""
    shaped = total.reshape(np.shape(part)) if hasattr(part, "shape") else total
    if _is_tensor(part):
        import torch  # type: ignore[import-not-found,unused-ignore]  # the caller has it

        return torch.from_numpy(shaped).to(device=part.device, dtype=part.dtype)
    return shaped
