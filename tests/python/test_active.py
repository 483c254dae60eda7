"""`lyceum.active` as its users call it."""

import os
import pickle
import subprocess

import numpy as np
import pytest
from lyceum import active
from lyceum.active import Sampler

SCORES = np.random.default_rng(0).gamma(0.5, size=500) + 0.01


@pytest.mark.parametrize("proposal", ["uniform", "proportional", "softmax", "epsilon-greedy"])
def test_the_estimate_is_unbiased(proposal):
    losses = SCORES * np.random.default_rng(1).uniform(0.5, 1.5, 500)
    found = {name: [] for name in ("lure", "pure", "naive")}
    for seed in range(400):
        sampler = Sampler(500, proposal, inverse_temperature=200, epsilon=0.5, random_state=seed)
        taken = sampler.draw(SCORES, 25)
        for name, values in found.items():
            values.append(sampler.estimate(losses[taken], name).value)
    for name in ("lure", "pure"):
        error = np.std(found[name]) / 20
        assert abs(np.mean(found[name]) - losses.mean()) < 4 * error, name
    if proposal == "proportional":
        assert np.std(found["lure"]) < np.std(found["pure"])
        assert np.mean(found["naive"]) > 1.5 * losses.mean()


def test_weights_worked_by_hand():
    sampler = Sampler(6)
    sampler._begin(np.array([0, 1, 2]), np.log([0.4, 0.5, 0.25]))
    assert sampler.weights("lure") == pytest.approx([0.65, 0.55, 1.0])
    assert sampler.weights("pure") == pytest.approx([0.75, 0.5, 0.666667], abs=1e-6)
    assert sampler.estimate([2, 1, 0.5]).value == pytest.approx(0.783333, abs=1e-6)


def test_it_goes_on_where_it_stopped(tmp_path):
    whole = Sampler(500, random_state=4)
    whole.draw(SCORES, 60)
    parts = Sampler(500, random_state=4)
    parts.draw(SCORES, 10)
    parts = pickle.loads(pickle.dumps(parts))
    parts.draw(SCORES, 20)
    parts.save(tmp_path / "log.json")
    parts = Sampler(500, random_state=4).load(tmp_path / "log.json")
    parts.draw(SCORES, 30)
    assert (parts.indices == whole.indices).all()
    assert len(set(parts.indices)) == 60 and len(parts.remaining) == 440
    parts.save(tmp_path / "log.json")
    np.save(tmp_path / "l.npy", SCORES[parts.indices])
    arguments = ["--json", "active", "estimate", "--log", "log.json", "--losses", "l.npy"]
    out = subprocess.run([os.environ["LYCEUM"], *arguments], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert f'{parts.estimate(SCORES[parts.indices]).value:.12f}'[:10] in out


def test_scores_equal_numpy():
    rng = np.random.default_rng(2)
    p = rng.dirichlet(np.ones(7), (5, 40))
    mean = p.mean(0)
    h = lambda q: -(q * np.log(q)).sum(-1)
    assert active.entropy(mean) == pytest.approx(h(mean), abs=1e-5)
    assert active.bald(p) == pytest.approx(h(mean) - h(p).mean(0), abs=1e-5)
    assert active.least_confidence(mean) == pytest.approx(1 - mean.max(-1), abs=1e-6)
    top = np.sort(mean, -1)
    assert active.margin(mean) == pytest.approx(1 - top[:, -1] + top[:, -2], abs=1e-6)
    assert active.expected_loss(mean, p[0]) == pytest.approx(-(p[0] * np.log(mean)).sum(-1), abs=1e-5)
    votes = np.stack([(p.argmax(-1) == c).sum(0) for c in range(7)]).max(0)
    assert active.variation_ratio(p) == pytest.approx(1 - votes / 5, abs=1e-6)
    indices, gains = active.batch_bald(p, 3)
    assert indices[0] == active.bald(p).argmax() and (np.diff(gains) <= 1e-6).all()
    points = rng.normal(size=(30, 3))
    chosen = active.k_center_greedy(points, 4, taken=[0])
    assert chosen[0] == np.linalg.norm(points - points[0], axis=1).argmax()
    assert active.distance(points, [0, 1]) == pytest.approx(np.sqrt(((points[:, None] - points[None, :2]) ** 2).sum((1, 2))), abs=1e-4)


def test_a_confidence_sequence_narrows():
    sampler = Sampler(500, random_state=0)
    losses = np.minimum(SCORES, 1)
    widths = []
    for _ in range(4):
        sampler.draw(losses + 0.1, 40)
        low, high = sampler.confidence_sequence(losses[sampler.indices], bound=1)
        assert low <= losses.mean() <= high
        widths.append(high - low)
    assert widths[-1] < widths[0]


def test_mistakes():
    for make, text in [
        (lambda: Sampler(0), "pool_size"), (lambda: Sampler(5, "best"), "proposal"), (lambda: Sampler(5, "epsilon-greedy", epsilon=0), "epsilon"),
        (lambda: Sampler(5).draw([1, 2], 1), "scores: found 2"), (lambda: Sampler(5).draw(count=6), "count: found 6"),
        (lambda: Sampler(5).draw([1, 1, 0, 1, 1]), "probability 0"), (lambda: Sampler(5).draw([1, 1, np.nan, 1, 1]), "score of point 2"),
        (lambda: Sampler(5).estimate([1.0]), "losses"), (lambda: Sampler(5).weights("best"), "estimator"), (lambda: active.entropy([[2.0, 1.0]]), "probability 0"),
    ]:
        with pytest.raises(ValueError, match=text):
            make()
    with pytest.raises(FileNotFoundError):
        Sampler(5).load("nowhere.json")
