"""`lyceum.conformal` as its users call it."""

import pickle
import subprocess
import os

import numpy as np
import pytest
from lyceum.conformal import (
    APS, LAC, RAPS, SAPS, ClassConditional, CrossConformal, Mondrian, Naive, NotFittedError, PredictionSets, TopK, Weighted, control_risk,
    cqr, fit_temperature, jackknife_plus, learn_then_test, split_interval,
)


def data(n=4000, classes=20, seed=0, boost=3.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)).astype(np.float32)
    logits[np.arange(n), labels] += rng.normal(boost, 1.0, n).astype(np.float32)
    return logits, labels


@pytest.mark.parametrize("method", [RAPS(), APS(), LAC(), SAPS(), TopK(), RAPS(lam=0.01, k_reg=2), RAPS(tune="adaptiveness")])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_coverage_is_what_was_asked_for(method, alpha):
    logits, labels = data()
    fitted = method.set_params(alpha=alpha).fit(logits[:2000], labels[:2000])
    coverage = fitted.predict(logits[2000:]).coverage(labels[2000:])
    assert abs(coverage.share - (1 - alpha)) < 0.03
    assert coverage.low < coverage.share < coverage.high
    assert fitted.score(logits[2000:], labels[2000:]) == coverage.share


def test_scores_worked_by_hand():
    """pi = (.5, .3, .15, .05) and tau = .9: u = .5 gives 3 labels with APS."""
    logits = np.log(np.array([[0.5, 0.3, 0.15, 0.05]], dtype=np.float32)).repeat(9, 0)
    fitted = RAPS(0.1, lam=0.0, k_reg=0, randomization="off").fit(logits, [2] * 9)
    assert fitted.threshold_ == pytest.approx(0.95, abs=1e-6)
    assert [set(s) for s in fitted.predict(logits[:1])] == [{0, 1, 2}]
    assert RAPS(0.1, lam=0.0, k_reg=0).fit(logits[:8], [2] * 8).threshold_ == np.inf


def test_sets_in_every_form():
    logits, labels = data(500, 6)
    sets = LAC(0.1).fit(logits[:250], labels[:250]).predict(logits[250:])
    mask = sets.mask()
    assert mask.shape == (250, 6) and (mask.sum(1) == sets.sizes).all()
    assert (sets.covers(labels[250:]) == mask[np.arange(250), labels[250:]]).all()
    assert all(set(a) == set(np.flatnonzero(b)) for a, b in zip(sets, mask))
    assert (sets[-1] == sets[249]).all() and len(sets[1:4]) == 3
    with pytest.raises(IndexError):
        sets[250]
    assert sets.sscv(labels[250:], 0.1) <= 0.9


def test_any_kind_of_array():
    logits, labels = data(600, 5)
    expected = APS().fit(logits[:300], labels[:300]).predict(logits[300:]).indices
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")

    class Tensor:
        """What torch shows of a tensor."""

        def __init__(self, values):
            self.values = values

        def detach(self):
            return self

        def __dlpack__(self, **options):
            return self.values.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.values.__dlpack_device__()

    kinds = [
        (logits.astype(np.float64), labels.astype(np.int32)),
        (np.asfortranarray(logits), labels[::-1][::-1]),
        (logits.tolist(), labels.tolist()),
        (pandas.DataFrame(logits), pandas.Series(labels)),
        (pyarrow.table({str(c): logits[:, c] for c in range(5)}), pyarrow.array(labels)),
        (Tensor(logits), Tensor(labels)),
    ]
    for z, y in kinds:
        if isinstance(z, Tensor):
            part = [Tensor(logits[:300]), Tensor(labels[:300]), Tensor(logits[300:])]
        elif hasattr(z, "iloc"):
            part = [z.iloc[:300], y.iloc[:300], z.iloc[300:]]
        elif hasattr(z, "slice"):
            part = [z.slice(0, 300), y.slice(0, 300), z.slice(300)]
        else:
            part = [z[:300], y[:300], z[300:]]
        assert (APS().fit(part[0], part[1]).predict(part[2]).indices == expected).all(), type(z)


def test_mistakes_are_value_errors_that_say_what_is_allowed():
    logits, labels = data(100, 5)
    for options, text in [
        ({"alpha": 0}, "alpha"), ({"alpha": 1.5}, "alpha"), ({"temperature": -1.0}, "temperature"), ({"randomization": "some"}, "randomization"),
        ({"random_state": "x"}, "random_state"), ({"temperature": "fit", "tuning_share": 1.0}, "tuning_share"),
    ]:
        with pytest.raises(ValueError, match=text):
            APS(**options).fit(logits, labels)
    for z, y, text in [
        (logits, labels[:50], "y: found 50"), (logits[0], labels, "logits: found 1 axes"), (logits, labels + 0.5, "whole numbers"),
        (logits, labels - 9, "label of row"), (logits, labels + 9, "label of row"), (logits * np.nan, labels, "NaN"),
    ]:
        with pytest.raises(ValueError, match=text):
            APS().fit(z, y)
    with pytest.raises(ValueError, match="both or neither"):
        RAPS(lam=0.1).fit(logits, labels)
    with pytest.raises(NotFittedError):
        APS().predict(logits)
    with pytest.raises(ValueError, match="expecting 5 features"):
        APS().fit(logits, labels).predict(logits[:, :3])
    with pytest.raises(ValueError, match="no option"):
        APS().set_params(lam=1)


def test_empty_inputs():
    logits, labels = data(50, 5)
    fitted = APS().fit(logits[:0], labels[:0])
    assert fitted.threshold_ == np.inf and (fitted.predict(logits).sizes == 5).all()
    assert len(APS().fit(logits, labels).predict(logits[:0])) == 0


def test_one_seed_one_result_saved_and_pickled(tmp_path):
    logits, labels = data(800, 8)
    make = lambda: RAPS(temperature="fit", random_state=3).fit(logits[:400], labels[:400])
    fitted, sets = make(), make().predict(logits[400:])
    assert (fitted.predict(logits[400:]).indices == sets.indices).all()
    fitted.save(tmp_path / "model.json")
    for again in [pickle.loads(pickle.dumps(fitted)), RAPS(random_state=3).load(tmp_path / "model.json")]:
        assert (again.predict(logits[400:]).indices == sets.indices).all()
        assert again.temperature_ == fitted.temperature_ == pytest.approx(fit_temperature(logits[:400], labels[:400]), rel=0.5)


def test_the_command_line_reads_the_model(tmp_path):
    logits, labels = data(400, 5)
    APS().fit(logits, labels).save(tmp_path / "model.json")
    np.save(tmp_path / "test.npy", logits)
    arguments = ["conformal", "predict", "--model", "model.json", "--logits", "test.npy", "--out", "sets.npz"]
    subprocess.run([os.environ["LYCEUM"], *arguments], cwd=tmp_path, check=True, capture_output=True)
    found = np.load(tmp_path / "sets.npz")
    sets = APS().load(tmp_path / "model.json").predict(logits)
    assert (found["indices"] == sets.indices).all() and (found["indptr"] == sets.indptr).all()


def test_scikit_learn_takes_it_for_an_estimator():
    base = pytest.importorskip("sklearn.base")
    logits, labels = data(300, 4)
    method = RAPS(0.2, lam=0.1, k_reg=2, random_state=7)
    copy = base.clone(method)
    assert copy is not method and copy.get_params() == method.get_params()
    assert repr(method) == "RAPS(alpha=0.2, lam=0.1, k_reg=2, random_state=7)"
    assert not hasattr(base.clone(copy.fit(logits, labels)), "threshold_")


def test_naive_is_not_calibrated():
    logits, labels = data(3000, 30, boost=1.0)
    wrong = Naive(0.1).fit(3 * logits[:1500], labels[:1500]).score(3 * logits[1500:], labels[1500:])
    assert wrong < 0.85


def test_sets_from_nothing():
    sets = PredictionSets(np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int32), classes=3)
    assert len(sets) == 0 and list(sets) == [] and sets.mask().shape == (0, 3)


@pytest.mark.parametrize("method", [APS(0.2), LAC(0.2), RAPS(0.2, lam=0.01, k_reg=2), SAPS(0.2), TopK(0.2)])
def test_every_score_in_every_scheme(method):
    logits, labels = data(6000, 5, boost=1.5)
    (z, y), (test, truth) = (logits[:3000], labels[:3000]), (logits[3000:], labels[3000:])
    groups = lambda labels: (labels > 2).astype(int)
    by_class = ClassConditional(method).fit(z, y).predict(test).covers(truth)
    assert all(abs(by_class[truth == c].mean() - 0.8) < 0.06 for c in range(5))
    by_group = Mondrian(method).fit(z, y, groups(y)).predict(test, groups(truth)).covers(truth)
    assert all(abs(by_group[groups(truth) == g].mean() - 0.8) < 0.04 for g in range(2))
    clustered = ClassConditional(method, clusters=2).fit(z, y)
    assert abs(clustered.predict(test).coverage(truth).share - 0.8) < 0.04 and set(clustered.clusters_) <= {-1, 0, 1}
    equal = Weighted(method).fit(z, y, np.ones(3000)).predict(test, np.ones(3000))
    assert (equal.indices == method.fit(z, y).predict(test).indices).all()
    folds = np.arange(3000) % 3
    crossed = CrossConformal(method).fit(z, y, folds).predict(np.stack([test] * 3))
    assert abs(crossed.coverage(truth).share - 0.8) < 0.03


def test_schemes_say_what_is_wrong():
    logits, labels = data(100, 4)
    with pytest.raises(ValueError, match="to be tuned"):
        ClassConditional(RAPS()).fit(logits, labels)
    with pytest.raises(ValueError, match="groups"):
        Mondrian().fit(logits, labels, [0, 1])
    with pytest.raises(ValueError, match="weight of row 3"):
        Weighted().fit(logits, labels, np.where(np.arange(100) == 3, -1, 1))
    with pytest.raises(NotFittedError):
        Mondrian().predict(logits, labels)


def test_regression_and_risk():
    rng = np.random.default_rng(0)
    x = rng.uniform(size=4000)
    y = x + (0.1 + x) * rng.normal(size=4000)
    for difficulty in (None, 0.1 + x):
        parts = {} if difficulty is None else {"calibration_difficulty": difficulty[:2000], "difficulty": difficulty[2000:]}
        low, high = split_interval(x[:2000], y[:2000], x[2000:], 0.1, **parts)
        assert abs(((low <= y[2000:]) & (y[2000:] <= high)).mean() - 0.9) < 0.03
    low, high = cqr(x[:2000] - 0.5, x[:2000] + 0.5, y[:2000], x[2000:] - 0.5, x[2000:] + 0.5, 0.1)
    assert abs(((low <= y[2000:]) & (y[2000:] <= high)).mean() - 0.9) < 0.03
    low, high = jackknife_plus(np.ones(9), np.arange(9.0)[None], 0.1)
    assert (low, high) == ([-1.0], [9.0])
    losses = (rng.uniform(size=(200, 1)) > np.linspace(0, 1, 21)[None]).astype(float)
    assert 0.8 <= np.linspace(0, 1, 21)[control_risk(losses, 0.15)] <= 0.95
    assert learn_then_test(losses[:, ::-1], 0.3)[0] == 0
