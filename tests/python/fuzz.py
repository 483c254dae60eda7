"""Calls of every public function with random arguments. fuzz.py SEED SECONDS: a line for each call before it is made, the last of which is
at fault where the interpreter dies; at the end how many there were. Exit status 1 where something else than an ordinary exception came."""

import os
import random
import sys
import tempfile
import time
import warnings

import numpy as np
from lyceum import active, conformal, federated, masking, optim
from lyceum.epidemic import Simulation

warnings.simplefilter("ignore")
R = random.Random(int(sys.argv[1]))
FOLDER = tempfile.mkdtemp()
CORPUS = os.path.join(FOLDER, "corpus.txt")
with open(CORPUS, "w") as corpus:
    corpus.write("new york is in new york state\n" * 9)
VOCABULARY = masking.Vocabulary.build([CORPUS], min_count=9)
NETWORK = federated.Network({"mlp": {"hidden": [3]}}, shape=4, classes=3)


def number():
    return R.choice([
        0, 1, -1, 2, 3, 5, 0.1, 0.5, 0.9, 1.0, -0.5, 1e-300, 1e300, float("nan"), float("inf"), -float("inf"), 2**31, 2**40, 2**63, 2**64, -(2**63),
        np.int64(3), np.float32(0.3), np.uint8(7), True, 10**30,
    ])


def values(shape):
    kind = R.randrange(8)
    if kind == 0:
        return np.full(shape, number() if R.random() < 0.5 else 0.5, dtype=float)
    if kind == 1:
        return np.array([R.choice([0, 1, 2, 5, -1, 2**40]) for _ in range(int(np.prod(shape)))]).reshape(shape)
    if kind == 2:
        found = np.random.default_rng(R.randrange(2**32)).normal(size=shape)
        if found.size and R.random() < 0.3:
            found.flat[R.randrange(found.size)] = R.choice([np.nan, np.inf, -np.inf, 1e308])
        return found.astype(R.choice([np.float16, np.float32, np.float64]))
    if kind == 3:
        return np.random.default_rng(R.randrange(2**32)).dirichlet(np.ones(max(shape[-1], 1)), size=shape[:-1]) if shape and shape[-1] else np.zeros(shape)
    return np.random.default_rng(R.randrange(2**32)).integers(0, 4, shape)


def thing():
    """Anything at all."""
    kind = R.randrange(12)
    if kind < 3:
        return number()
    if kind < 8:
        return values(tuple(R.choice([0, 1, 2, 3, 4, 7]) for _ in range(R.choice([0, 1, 1, 2, 2, 2, 3, 4]))))
    return R.choice([None, "", "x", "fit", [], [1, 2], [[1.0]], ["a", "b"], {}, {"a": 1}, object(), b"x", "\ud800", np.array(["a"]), np.datetime64("2020-01-01"), (1, 2)])


def maybe(good, rate=0.2):
    """Mostly what fits."""
    return thing() if R.random() < rate else good


def times(good):
    """How often something is done: what was asked for is done, so not a billion times."""
    value = maybe(good)
    return good if isinstance(value, (int, float, np.number)) and value > 100 else value


def n():
    return R.choice([0, 1, 2, 3, 5, 8, 30])


def rows(count, width):
    return maybe(values((count, width)))


def some(count):
    return maybe(values((count,)))


def labels(count, classes):
    return maybe(np.random.default_rng(R.randrange(2**32)).integers(0, max(classes, 1), count))


def classifier():
    kind = R.choice([conformal.APS, conformal.LAC, conformal.RAPS, conformal.SAPS, conformal.TopK, conformal.Naive])
    options = {"alpha": maybe(R.choice([0.1, 0.5])), "temperature": maybe(R.choice([1.0, "fit"])), "random_state": maybe(0), "allow_empty": maybe(True), "randomization": maybe(R.choice(["exact", "off", "conservative"]))}
    if kind is conformal.RAPS and R.random() < 0.7:
        options |= {"lam": maybe(0.1), "k_reg": maybe(1)}
    if kind is conformal.SAPS:
        options["weight"] = maybe(0.1)
    return kind(**options)


def sets_of():
    count, k = n(), R.choice([1, 2, 4])
    scheme = R.randrange(6)
    z, y, new = rows(count, k), labels(count, k), rows(n(), k)
    if scheme == 0:
        return classifier().fit(z, y).predict(new)
    method = R.choice([conformal.LAC, conformal.APS])(maybe(0.2))
    if scheme == 1:
        return conformal.ClassConditional(method, clusters=maybe(R.choice([None, 1, 2])), clustering_share=maybe(0.3)).fit(z, y).predict(new)
    if scheme == 2:
        return conformal.Mondrian(method).fit(z, y, labels(count, 3)).predict(new, labels(len(new), 3))
    if scheme == 3:
        return conformal.Weighted(method).fit(z, y, some(count)).predict(new, some(len(new)))
    if scheme == 4:
        return conformal.CrossConformal(method).fit(z, y, labels(count, 3)).predict(maybe(values((3, 2, k))))
    return conformal.p_values(classifier(), z, y, new)


def on_sets():
    sets = conformal.PredictionSets(maybe(np.array([0, 2, 3]), 0.1), maybe(np.array([0, 1, 2], dtype=np.int32), 0.1), maybe(4, 0.1))
    return R.choice([
        lambda: sets[maybe(1)], lambda: sets.covers(labels(2, 4)), lambda: sets.coverage(labels(2, 4)), lambda: sets.sscv(labels(2, 4), maybe(0.1)),
        lambda: sets.mask(), lambda: sets.to_arrow(), lambda: sets._repr_html_(), lambda: list(sets),
    ])()


def online():
    found = conformal.Online(maybe(0.1), maybe(0.01), maybe(R.choice([1, 5])))
    return [found.observe(number()) for _ in range(3)], found.threshold


def regression():
    count, new = n(), n()
    return R.choice([
        lambda: conformal.split_interval(some(count), some(count), some(new), maybe(0.2), calibration_difficulty=maybe(None), difficulty=maybe(None)),
        lambda: conformal.cqr(some(count), some(count), some(count), some(new), some(new), maybe(0.2), symmetric=maybe(False)),
        lambda: conformal.jackknife_plus(some(count), rows(new, count), maybe(0.2), minmax=maybe(True)),
        lambda: conformal.control_risk(rows(count, new), maybe(0.2), maybe(1.0)),
        lambda: conformal.learn_then_test(rows(count, new), maybe(0.2), maybe(0.1)),
        lambda: conformal.fit_temperature(rows(count, 3), labels(count, 3)),
        lambda: conformal.VennAbers().fit(rows(count, R.choice([2, 3])), labels(count, 2)).predict_proba(rows(new, 2)),
        lambda: distributions(count, new),
    ])()


class Line:
    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.asarray(X, dtype=float).sum(1)


def distributions(count, new):
    found = conformal.SplitRegressor(Line(), prefit=maybe(True), difficulty=maybe(None)).fit(rows(count, 2), some(count))
    series = conformal.EnbPIRegressor(Line(), members=times(3), block_length=maybe(2), symmetric=maybe(True)).fit(rows(count, 2), some(count))
    X = rows(new, 2)
    series.update(X, some(new))
    found, taken = found.predict_distribution(X), series.predict(X, alpha=maybe(R.choice([None, 0.2, [0.1, 0.3]])))
    return taken, R.choice([
        lambda: found.cdf(some(new), random_state=maybe(0)), lambda: found.quantile(maybe([0.2, 0.8])), lambda: found.interval(maybe(0.1)),
        lambda: found.crps(maybe(1.0)),
    ])()


def sampler():
    found = active.Sampler(
        maybe(R.choice([1, 3, 10])), maybe(R.choice(["uniform", "proportional", "softmax", "epsilon-greedy"])), inverse_temperature=maybe(5.0),
        normalize=maybe(True), epsilon=maybe(0.1), clip=maybe(0.0), random_state=maybe(0),
    )
    taken = found.draw(maybe(values((found.pool_size,)), 0.3) if found.pool_size < 100 else thing(), maybe(R.choice([0, 1, 3])))
    losses = some(len(taken))
    return R.choice([lambda: found.weights(maybe("lure")), lambda: found.estimate(losses, maybe("lure"), maybe(0.95)), lambda: found.confidence_sequence(losses, maybe(1.0), maybe(0.9))])()


def scores():
    count, k = n(), R.choice([1, 2, 3])
    return R.choice([
        lambda: active.entropy(rows(count, k)), lambda: active.least_confidence(rows(count, k)), lambda: active.margin(rows(count, k)),
        lambda: active.bald(maybe(values((2, count, k)))), lambda: active.variation_ratio(maybe(values((2, count, k)))),
        lambda: active.expected_loss(rows(count, k), rows(count, k), maybe("cross-entropy")), lambda: active.distance(rows(count, k), labels(2, count)),
        lambda: active.k_center_greedy(rows(count, k), maybe(R.choice([0, 1, 3])), labels(1, count)),
        lambda: active.batch_bald(maybe(values((2, count, k))), maybe(2), labellings=times(10), random_state=maybe(0)),
    ])()


def combiner():
    method = maybe(R.choice(["sum", "mean", "pcgrad", "gradient-vaccine", "mgda", "cagrad", "imtl-g", "nash-mtl", "aligned-mtl", "gradnorm", "uncertainty"]), 0.05)
    options = {R.choice(["rate", "radius", "scale", "asymmetry"]): number()} if R.random() < 0.2 else {}
    width = R.choice([0, 1, 5])
    found = optim.Combiner(method, groups=maybe(R.choice(["whole", "parameter", [0, 1], [1, 0]]), 0.1), random_state=maybe(0), **options)
    tasks = R.choice([1, 2, 3, 5])
    gradients = [[maybe(values((width,)), 0.05), R.choice([None, values((2, 2))])] for _ in range(tasks)] if R.random() < 0.6 else [maybe(values((width,)), 0.1) for _ in range(tasks)]
    for _ in range(2):
        given = found(gradients, maybe(np.ones(tasks)))
    return given, found.cosines, found.coefficients


def federation():
    count = R.choice([3, 10, 20])
    x, y = rows(count, 4), labels(count, 3)
    rules = federated.Rules(
        maybe(R.choice(["feddyn", "fedavg", "fedprox", "scaffold", "fednova", "feddc", "fedavgm", "fedadam"]), 0.1), fraction=maybe(1.0), random_state=maybe(0),
        **({"clip": maybe(1.0), "noise": maybe(1.0)} if R.random() < 0.2 else {}),
    )
    local = federated.Local(epochs=times(1), batch_size=maybe(5), learning_rate=maybe(0.1), clip_norm=maybe(10.0))
    return R.choice([
        lambda: federated.simulate(rules, NETWORK, x, y, maybe(federated.partition(y, 2)), times(1), local=local, test=maybe((x, y))),
        lambda: NETWORK.logits(maybe(NETWORK.initial), x), lambda: NETWORK.evaluate(maybe(NETWORK.initial), x, y), lambda: NETWORK.arrays(maybe(NETWORK.initial)),
        lambda: federated.partition(labels(count, 3), maybe(2), maybe(R.choice([None, 0.3])), maybe(0)),
        lambda: federated.epsilon(maybe(1.0), maybe(10), maybe(1e-5)), lambda: federated.Network(maybe({"mlp": maybe({"hidden": maybe([3])})}), maybe(4), maybe(3), maybe(0)),
        lambda: server(rules),
    ])()


def server(rules):
    found = federated.Server(rules, NETWORK.initial, clients=maybe(2))
    arrays = {R.choice(["model", "gradient", "statistics", "x"]): maybe(NETWORK.initial)}
    return found.conclude([federated.Reply(maybe(0), maybe(10), federated.Message(arrays, {"steps": number()}))], sent=maybe(1))


def collocations():
    return R.choice([
        lambda: VOCABULARY[maybe(0)], lambda: VOCABULARY.number(maybe("new york")), lambda: VOCABULARY.find(maybe("To New York \ud83d")), lambda: thing() in VOCABULARY,
        lambda: masking.Vocabulary.build(maybe([CORPUS]), orders=maybe(3), min_count=maybe(5), size=maybe(10), shares=maybe(()), score=maybe("pmi"), memory=maybe("1M"), least=maybe(None)),
    ])()


def epidemic():
    options = {R.choice(["people", "days", "seed", "initially_infected", "policy", "uptake", "mobility", "intervention_day", "testing", "oracle_noise", "parameters", "interventions", "region"]): thing()}
    return Simulation(**{"people": 50, "days": 2, **options})


CALLS = [sets_of] * 8 + [on_sets] * 4 + [online, regression, regression, regression, sampler, sampler, scores, scores, scores, combiner, combiner, federation, collocations] + [epidemic]


def main():
    end, count, slow = time.monotonic() + float(sys.argv[2]), 0, 0.0
    bad = False
    while time.monotonic() < end:
        call, state, start = R.choice(CALLS), R.getstate(), time.monotonic()
        os.write(1, f"{count} {call.__name__}\n".encode())
        try:
            call()
        except Exception as error:
            text = str(error)
            if "a fault in Lyceum" in text or isinstance(error, SystemError) or "at line " in text:
                bad = True
                print(f"{call.__name__}: {type(error).__name__}: {text}", file=sys.stderr)
        except BaseException as error:  # a panic
            bad = True
            print(f"{call.__name__}: {type(error).__name__}: {error}", file=sys.stderr)
        slow = max(slow, time.monotonic() - start)
        count += 1
    print(f"calls {count}, the longest {slow:.1f} s")
    sys.exit(bad)


if __name__ == "__main__":
    main()
