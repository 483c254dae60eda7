"""lyceum.optim, installed from the wheel."""

import numpy as np
import pytest

from lyceum.optim import Combiner, combine

METHODS = [
    "sum", "mean", "pcgrad", "gradient-vaccine", "mgda", "cagrad", "imtl-g", "nash-mtl", "aligned-mtl", "gradnorm", "uncertainty"
]


def vaccine(gradients, targets, rate, orders):
    """Gradient Vaccine as its formula stands, one vector after the other."""
    altered = [g.astype(np.float64) for g in gradients]
    for i, order in enumerate(orders):
        for j in order:
            g, h = altered[i], gradients[j].astype(np.float64)
            phi = g @ h / (np.linalg.norm(g) * np.linalg.norm(h))
            if phi < targets[i, j]:
                t = targets[i, j]
                s = np.linalg.norm(g) * (t * np.sqrt(1 - phi**2) - phi * np.sqrt(1 - t**2)) / (np.linalg.norm(h) * np.sqrt(1 - t**2))
                altered[i] = g + s * h
            targets[i, j] = (1 - rate) * targets[i, j] + rate * phi
    return sum(altered)


def test_two_tasks_are_the_formula_step_after_step():
    rng = np.random.default_rng(0)
    combiner = Combiner("gradient-vaccine", rate=0.2)
    targets = np.zeros((2, 2))
    for _ in range(20):
        shared = rng.normal(size=50)
        gradients = [(rng.normal(size=50) + shared).astype(np.float32) for _ in range(2)]
        np.testing.assert_allclose(combiner(gradients), vaccine(gradients, targets, 0.2, [[1], [0]]), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_on_parameters(method):
    rng = np.random.default_rng(1)
    shapes = [(3, 4), (4,), (2, 2, 2)]
    tasks = [[rng.normal(size=shape).astype(np.float32) for shape in shapes] for _ in range(3)]
    losses = [1.0, 0.5, 2.0]
    for groups in ("whole", "parameter", [0, 0, 1]):
        combiner = Combiner(method, groups=groups)
        found = combiner(tasks, losses)
        assert [part.shape for part in found] == shapes and all(np.isfinite(part).all() for part in found)
        numbers = {"whole": [0, 0, 0], "parameter": [0, 1, 2]}.get(groups, groups) if isinstance(groups, str) else groups
        for segment, group in enumerate(numbers):
            expected = sum(c * task[segment] for c, task in zip(combiner.coefficients[group], tasks))
            np.testing.assert_allclose(found[segment], expected, rtol=1e-4, atol=1e-5)
        again = Combiner(method, groups=groups)
        again.load_state_dict(combiner.state_dict())
        for a, b in zip(combiner(tasks, losses), again(tasks, losses)):
            np.testing.assert_array_equal(a, b)


def test_arrays_of_other_libraries():
    class Tensor:
        """Stands for a tensor of another library: DLPack and a shape."""

        def __init__(self, values):
            self.values = np.asarray(values, dtype=np.float32)
            self.shape = self.values.shape

        def reshape(self, shape):
            return Tensor(self.values.reshape(shape))

        def __dlpack__(self, **options):
            return self.values.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.values.__dlpack_device__()

    found = combine([Tensor([[1.0, 0.0]]), Tensor([[-1.0, 1.0]])], "pcgrad")
    np.testing.assert_allclose(found, [[0.5, 1.5]])
    np.testing.assert_allclose(combine(np.array([[1.0, 0.0], [-1.0, 1.0]]), "pcgrad"), [0.5, 1.5])


def test_torch_tensors_come_back_as_such():
    torch = pytest.importorskip("torch")
    found = combine([[torch.tensor([[1.0, 0.0]])], [torch.tensor([[-1.0, 1.0]])]], "pcgrad")
    assert isinstance(found[0], torch.Tensor) and found[0].tolist() == [[0.5, 1.5]]


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="method"):
        Combiner("pgrad")
    with pytest.raises(ValueError, match="radius"):
        Combiner("pcgrad", radius=1)
    with pytest.raises(ValueError, match="radius"):
        Combiner("cagrad", radius=2.0)
    with pytest.raises(ValueError, match="task 1"):
        combine([[1.0, 2.0], [1.0]], "sum")
    # As PyTorch's scaler of losses wants it.
    assert np.isnan(combine([[1.0, 2.0], [1.0, float("nan")]], "pcgrad")[1])
    with pytest.raises(ValueError, match="losses"):
        combine([[1.0], [2.0]], "gradnorm")
    with pytest.raises(ValueError, match="groups"):
        combine([[np.ones(2)], [np.ones(2)]], "sum", groups=[0, 1])
    with pytest.raises(ValueError, match="no step"):
        Combiner("sum").coefficients


def test_gradients_as_training_loops_have_them():
    torch = pytest.importorskip("torch")
    a, b = [3.0, 0.0], [-1.0, 1.0]
    expected = combine([a, b], "pcgrad")
    for dtype in (torch.bfloat16, torch.float16, torch.float64, torch.float32):
        found = combine([torch.tensor(a, dtype=dtype), torch.tensor(b, dtype=dtype)], "pcgrad")
        assert found.dtype == dtype and np.allclose(found.float().numpy(), expected, rtol=1e-2)
    # A parameter that a task, or that no task uses.
    first, second, none = combine([[torch.ones(2), None, None], [torch.ones(2), torch.ones(2, 2), None]], "mean")
    assert none is None and first.tolist() == [1.0, 1.0] and second.tolist() == [[0.5, 0.5], [0.5, 0.5]]
    combiner = Combiner("gradnorm")
    combiner([a, b], torch.tensor([1.0, 2.0], requires_grad=True))
    combiner([a, b], [torch.tensor(1.0), torch.tensor(2.0)])
    # A step whose scaled losses were too large: the sum is not finite, and nothing is learnt from it.
    before = combiner.state_dict()["state"].tolist()
    assert not np.isfinite(combiner([[float("inf"), 0.0], b], [1.0, 2.0])).all()
    assert combiner.state_dict()["state"].tolist() == before
    with pytest.raises(ValueError, match="found 1 arrays; allowed: 2"):
        Combiner()([[torch.ones(2), torch.ones(2)], [torch.ones(2)]])


@pytest.mark.parametrize("method", METHODS)
def test_parameters_that_no_task_uses(method):
    a, b = np.array([3.0, 0.0]), np.array([[-1.0, 1.0]])
    losses = [1.0, 2.0]
    whole, parted = Combiner(method, groups="whole"), Combiner(method, groups="parameter")
    for _ in range(2):
        for combiner in (whole, parted):
            first, none, second = combiner([[a, None, b], [2 * a, None, None]], losses)
            assert none is None and first.shape == (2,) and second.shape == (1, 2) and np.isfinite(first).all()
    with pytest.raises(ValueError, match="no arrays"):
        Combiner(method)([[], []], losses)
    with pytest.raises(ValueError, match="without gaps"):
        Combiner(method, groups=[2**58])([[a], [a]], losses)


def test_a_combiner_goes_on_wherever_it_was_saved():
    import pickle

    combiner = Combiner("pcgrad", random_state=None)
    rows = [[3.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]]
    combiner(rows)
    twice = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(combiner))))
    with pytest.raises(ValueError, match="no step"):
        twice.cosines
    other = Combiner("pcgrad", random_state=None)
    other.load_state_dict(combiner.state_dict())
    expected = combiner(rows).tolist()
    assert twice(rows).tolist() == expected == other(rows).tolist()
    broken = Combiner("gradnorm")
    with pytest.raises(ValueError, match="losses"):
        broken([[1.0], [2.0]])
    pickle.loads(pickle.dumps(broken))
