"""Every public object through pickle and deep copies, and models through files."""

import copy
import pickle
import subprocess
import os

import numpy as np
import pytest
from lyceum import conformal, federated
from lyceum.active import Sampler
from lyceum.conformal import (
    APS, LAC, RAPS, SAPS, ClassConditional, CrossConformal, EnbPIRegressor, Mondrian, Naive, Online, SplitRegressor, TopK, VennAbers,
    Weighted,
)
from lyceum.epidemic import Simulation, epidemic_env
from lyceum.federated import Client, Local, Network, Rules, Server, Solution, partition, simulate
from lyceum.masking import Vocabulary
from lyceum.optim import Combiner


def copies(value):
    return [pickle.loads(pickle.dumps(value)), copy.deepcopy(value)]


def data(n=300, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    return rng.normal(size=(n, classes)) + 2 * np.eye(classes)[y], y


class Line:
    """A regressor without scikit-learn."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.asarray(X).sum(1)


SCHEMES = [
    (RAPS(0.2, lam=0.1, k_reg=1), ()), (RAPS(0.2), ()), (APS(0.3, classes=["a", "b", "c", "d"]), ()), (LAC(0.2, temperature="fit"), ()),
    (SAPS(0.2, weight=0.3), ()), (TopK(), ()), (Naive(), ()), (ClassConditional(APS(0.2)), ()), (ClassConditional(LAC(0.2), clusters=2), ()),
    (Mondrian(LAC(0.2)), (np.arange(300) % 3,)), (Mondrian(LAC(0.2)), (np.array(["x", "y", "z"])[np.arange(300) % 3],)),
    (Weighted(LAC(0.2)), (1 + np.arange(300) % 7 / 3,)),
]


@pytest.mark.parametrize(("estimator", "known"), SCHEMES, ids=lambda value: repr(value)[:40] if not isinstance(value, tuple) else str(len(value)))
def test_calibrated_models(estimator, known, tmp_path):
    logits, y = data()
    if getattr(estimator, "classes", None):
        y = np.array(estimator.classes)[y]
    fitted = copy.deepcopy(estimator).fit(logits, y, *known)
    expected = fitted.predict(logits, *known)
    for other in copies(fitted):
        assert other.predict(logits, *known) == expected and other.get_params().keys() == fitted.get_params().keys()
    # Through a file: the same sets, and the options as they were, constants that were tuned as numbers.
    fitted.save(tmp_path / "model.json")
    if not (known and known[0].dtype.kind == "U"):
        again = copy.deepcopy(estimator).load(tmp_path / "model.json")
        assert again.predict(logits, *known) == expected
        loaded = conformal.load(tmp_path / "model.json")
        assert type(loaded) is type(estimator) and loaded.predict(logits, *known).indices.tolist() == expected.indices.tolist()
        assert loaded.get_params(deep=False).keys() == estimator.get_params(deep=False).keys()
    others = [other for other, _ in SCHEMES if type(other) is not type(estimator) or type(getattr(other, "method", 0)) is not type(getattr(estimator, "method", 0))]
    refused = 0
    for other in others:
        try:
            copy.deepcopy(other).load(tmp_path / "model.json")
        except ValueError as error:
            assert "allowed" in str(error)
            refused += 1
    assert refused == len(others)


def test_models_of_the_command_line(tmp_path):
    logits, y = data()
    np.save(tmp_path / "logits.npy", logits.astype(np.float32))
    np.save(tmp_path / "labels.npy", y)
    np.save(tmp_path / "groups.npy", np.arange(300) % 3)
    lyceum = os.environ["LYCEUM"]
    for scheme, expected, known in [("marginal", LAC, ()), ("class-conditional", ClassConditional, ()), ("groups", Mondrian, (np.arange(300) % 3,))]:
        call = [lyceum, "conformal", "calibrate", "--logits", tmp_path / "logits.npy", "--labels", tmp_path / "labels.npy",
                "--scheme", scheme, "--score", "lac", "--alpha", "0.2", "--out", tmp_path / f"{scheme}.json"]
        call += ["--groups", tmp_path / "groups.npy"] if scheme == "groups" else []
        done = subprocess.run(call, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        loaded = conformal.load(tmp_path / f"{scheme}.json")
        assert isinstance(loaded, expected) and abs(loaded.predict(logits, *known).coverage(y).share - 0.8) < 0.06


def test_cross_conformal_models(tmp_path):
    logits, y = data()
    fitted = CrossConformal(LAC(0.2)).fit(logits, y, np.arange(300) % 5)
    new = np.stack([logits[:20] + fold / 10 for fold in range(5)])
    expected = fitted.predict(new)
    fitted.save(tmp_path / "cross.json")
    damaged = (tmp_path / "cross.json").read_text().replace("0.", "1.", 1)
    (tmp_path / "damaged.json").write_text(damaged)
    with pytest.raises(ValueError, match="checksum"):
        conformal.load(tmp_path / "damaged.json")
    for other in [*copies(fitted), CrossConformal().load(tmp_path / "cross.json"), conformal.load(tmp_path / "cross.json")]:
        assert other.predict(new) == expected


def test_a_file_that_does_not_fit_changes_nothing(tmp_path):
    logits, y = data()
    ClassConditional(APS(0.3)).fit(logits, y).save(tmp_path / "classes.json")
    fitted = LAC(0.1).fit(logits, y)
    expected = fitted.predict(logits)
    with pytest.raises(ValueError):
        fitted.load(tmp_path / "classes.json")
    assert fitted.alpha == 0.1 and fitted.predict(logits) == expected
    # Names of groups belong to the fit.
    groups = np.array(["x", "y", "z"])[np.arange(300) % 3]
    Mondrian(LAC(0.2)).fit(logits, y, np.arange(300) % 5).save(tmp_path / "groups.json")
    mondrian = Mondrian(LAC(0.2)).fit(logits, y, groups).load(tmp_path / "groups.json")
    assert mondrian.groups_.tolist() == [0, 1, 2, 3, 4]


def test_everything_else(tmp_path):
    online = Online(0.2, 0.05, 20)
    [online.observe(score) for score in np.random.default_rng(0).normal(size=50)]
    for other in copies(online):
        assert (other.level, other.threshold) == (online.level, online.threshold)
    a, b = copies(online)
    assert [a.observe(x) for x in (0.1, 2.0, -1.0)] == [b.observe(x) for x in (0.1, 2.0, -1.0)] == [online.observe(x) for x in (0.1, 2.0, -1.0)]

    sampler = Sampler(50, random_state=3)
    sampler.draw(np.arange(50) + 1.0, 5)
    drawn = [other.draw(np.arange(50) + 1.0, 5).tolist() for other in [*copies(sampler), sampler]]
    assert drawn[0] == drawn[1] == drawn[2]

    for method in ("gradient-vaccine", "gradnorm", "uncertainty", "pcgrad"):
        combiner = Combiner(method)
        gradients, losses = [[3.0, 0.0], [-1.0, 1.0]], [1.0, 2.0]
        combiner(gradients, losses)
        steps = [other(gradients, losses).tolist() for other in [*copies(combiner), combiner]]
        assert steps[0] == steps[1] == steps[2], method

    (tmp_path / "corpus.txt").write_text("new york is in new york state\n" * 9)
    vocabulary = Vocabulary.build([tmp_path / "corpus.txt"], min_count=9)
    assert all("new york" in other for other in copies(vocabulary))

    simulation = Simulation(people=500, days=12, initially_infected=0.02, seed=2)
    simulation.step(4)
    days = [other.run()["new_infections"].tolist() for other in [*copies(simulation), simulation]]
    assert days[0] == days[1] == days[2]
    env = epidemic_env(people=300, days=14)
    env.reset(seed=1)
    steps = [other.step(2)[1] for other in [*copies(env), env]]
    assert steps[0] == steps[1] == steps[2]


def train(problem):
    """A client of its own: a step towards 0."""
    return Solution(problem.start - 0.1 * problem.add_to(problem.start, problem.start), steps=1, rate=0.1)


def test_federated_objects(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 120)
    x = (rng.normal(size=(120, 4)) + 2.0 * np.eye(3, 4)[y]).astype(np.float32)
    network, rules = Network("linear", shape=4, classes=3), Rules("feddyn", alpha=0.1)
    server = Server(rules, network.initial, clients=2)
    clients = [
        Client(rules, (network, x, y), client=0, state=tmp_path / "0", local=Local(epochs=1)),
        Client(rules, train, client=1, state=tmp_path / "1", examples=120),
    ]
    for round in range(2):
        replies = [client.answer(server.message(), round, server.accepted[client.client]) for client in clients]
        server.conclude(replies)
    for other in copies(server):
        assert (other.round, other.accepted, other.traffic) == (server.round, server.accepted, server.traffic)
        assert np.array_equal(other.model, server.model) and np.array_equal(other.array("gradient"), server.array("gradient"))
    for client in clients:
        for other in copies(client):
            other.state = tmp_path / f"again-{client.client}"
            reply = other.answer(server.message(), 2, None)
            assert reply.client == client.client and reply.examples == 120
    result = simulate(rules, network, x, y, partition(y, clients=4), rounds=3)
    assert all("active_mean" not in told for told in result.history)
    for value in [network, rules, result, *copies(network)]:
        for other in copies(value):
            assert type(other) is type(value)
    assert federated.epsilon(noise=4.0, rounds=50) > 0
    assert isinstance(copies(SplitRegressor(None))[0], SplitRegressor)
    y = np.arange(80) % 2
    logits = np.random.default_rng(0).normal(size=(80, 2)) + np.eye(2)[y]
    fitted = VennAbers().fit(logits, y)
    line = SplitRegressor(Line(), prefit=True).fit(logits, logits[:, 0])
    ensemble = EnbPIRegressor(Line(), members=4).fit(logits, logits[:, 0])
    for other in copies(fitted):
        assert np.array_equal(other.predict_proba(logits), fitted.predict_proba(logits))
    for other in copies(line.predict_distribution(logits)):
        assert np.array_equal(other.quantile([0.3, 0.8]), line.predict_distribution(logits).quantile([0.3, 0.8]))
    for other in copies(ensemble):
        assert np.array_equal(other.predict(logits), ensemble.predict(logits))
    for other in copies(LAC().fit(logits, y)):
        assert other.predict(logits, alpha=0.3) == LAC(0.3).fit(logits, y).predict(logits)
