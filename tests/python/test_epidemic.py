"""`lyceum.epidemic` as its users have it."""

import gc
import json
import pickle
import weakref

import numpy as np
import pandas as pd
import pytest

from lyceum import epidemic
from lyceum.epidemic import Simulation

SMALL = {"people": 1_500, "days": 30, "initially_infected": 0.01, "seed": 3}


def test_a_simulation_as_frames():
    simulation = Simulation(**SMALL, policy="heuristic1")
    days = pd.DataFrame(simulation.run())
    assert len(days) == 30 and simulation.is_over and simulation.day == 30
    states = days[["susceptible", "exposed", "infectious", "recovered", "dead"]]
    assert (states.sum(axis=1) == 1_500).all()
    infections = pd.DataFrame(simulation.infections)
    people = pd.DataFrame(simulation.people)
    assert len(people) == 1_500 and infections.person.is_unique
    assert (infections.age.to_numpy() == people.age.to_numpy()[infections.person]).all()
    assert (infections.setting == "outside").sum() == 15
    hours = pd.DataFrame(simulation.hours)
    assert len(hours) == 720 and (hours.drop(columns=["hour", "new_infections"]).sum(axis=1) == 1_500).all()
    assert (hours.susceptible[23::24].to_numpy() == days.susceptible).all()
    outcome = simulation.outcome
    assert outcome["attack"] == len(infections) / 1_500
    assert 0.55 < outcome["adoption"] < 0.65
    same = Simulation(**SMALL, policy="heuristic1").run()
    assert all((same[name] == days[name]).all() for name in ("new_infections", "quarantined"))


def test_arrow_and_files(tmp_path):
    import pyarrow as pa

    simulation = Simulation(**SMALL)
    simulation.step(12)
    simulation.save(tmp_path / "state")
    table = pa.table(simulation.days)
    assert table.num_rows == 12
    whole = simulation.run()["new_infections"]
    again = Simulation.load(tmp_path / "state")
    assert (again.run()["new_infections"] == whole).all()
    branch = Simulation.load(tmp_path / "state", policy="lockdown", days=40)
    assert len(branch.run()["day"]) == 40
    assert branch.config["policy"] == "lockdown"
    with pytest.raises(ValueError, match="days"):
        Simulation.load(tmp_path / "state", days=0)


def predictor(path, edges):
    """A linear predictor for which a fever today, and nothing else, is a risk of 1."""
    shapes = {"linear.weight": (14 * 28 + 14 * 15 + 13, 14), "linear.bias": (14,)}
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    arrays["linear.weight"][4, 0] = 1.0
    note = {"format": "lyceum infectiousness 1", "name": "fever", "network": "linear", "edges": edges, "thresholds": [0, 1, 2]}
    header, body = {"__metadata__": {"note": json.dumps(note)}}, b""
    for name, array in arrays.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [len(body), len(body) + array.nbytes]}
        body += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def test_a_learnt_policy_is_a_file(tmp_path):
    path = tmp_path / "fever.safetensors"
    predictor(path, [k / 16 for k in range(17)])
    learnt = Simulation(**SMALL, policy="learnt", predictor=path)

    def fever(phones):
        risks = np.zeros((len(phones["person"]), 14))
        risks[phones["symptoms"][:, 0] >> epidemic.SYMPTOMS.index("fever") & 1 == 1, 0] = 1.0
        return risks

    own = Simulation(**SMALL, policy=fever).run()
    found = learnt.run()
    assert all((found[name] == own[name]).all() for name in ("new_infections", "quarantined"))
    with pytest.raises(ValueError, match="predictor"):
        Simulation(policy="learnt")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Simulation(policy="learnt", predictor="nowhere")
    predictor(path, [1.0] * 17)
    with pytest.raises(ValueError, match="growing"):
        Simulation(policy="learnt", predictor=path)


def test_a_policy_of_ones_own():
    shapes = set()

    def stay_when_ill(phones):
        n = len(phones["person"])
        shapes.add((phones["symptoms"].shape[1:], phones["messages"].shape[1:], phones["levels"].shape[1:]))
        risks = np.zeros((n, 14))
        risks[phones["symptoms"][:, 0] != 0] = 1.0
        return risks

    own = Simulation(**SMALL, policy=stay_when_ill)
    own.run()
    assert shapes == {((14,), (14, 16), (14,))}
    assert own.outcome["quarantine"] > 0.01
    nothing = Simulation(**SMALL, policy=lambda phones: np.zeros((len(phones["person"]), 14)))
    nothing.run()
    assert nothing.outcome["quarantine"] < own.outcome["quarantine"]
    assert nothing.outcome["attack"] > own.outcome["attack"]


def test_interventions_on_their_days():
    vaccine = {"a_day": 0.1, "delay": 2, "against_infection": 1.0}
    plan = [{"from": 5, "until": 12, "closed": ["school"], "contacts": {"work": 0.2}}, {"from": 10, "vaccination": vaccine}]
    with_plan, without = Simulation(**SMALL, interventions=plan), Simulation(**SMALL)
    days, before = pd.DataFrame(with_plan.run()), pd.DataFrame(without.run())
    assert (days.contacts[:5] == before.contacts[:5]).all()
    assert (days.contacts[5:12] < before.contacts[5:12]).all()
    infections = pd.DataFrame(with_plan.infections)
    assert not ((infections.setting == "school") & infections.infected_at.between(5, 12)).any()
    assert days.vaccinated.tolist()[8:20] == [0, 0, *range(150, 1_501, 150)]
    # All are protected from day 21 on, and what is told as a configuration is what was asked for.
    assert (days.new_infections[22:] == 0).all() and (before.new_infections[22:] > 0).any()
    assert with_plan.config["interventions"][0]["closed"] == ["school"]


def test_what_a_policy_raises_comes_out():
    def broken(phones):
        raise RuntimeError("not today")

    with pytest.raises(RuntimeError, match="not today"):
        Simulation(**SMALL, policy=broken).run()
    with pytest.raises(ValueError, match="risks"):
        Simulation(**SMALL, policy=lambda phones: np.zeros((3, 3))).run()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"people": 0}, "people"),
        ({"uptake": 2.0}, "uptake"),
        ({"policy": "magic"}, "magic"),
        ({"region": "nowhere"}, "montreal"),
        ({"parameters": {"transmission": {"contagoin": 3}}}, "contagoin"),
        ({"mobility": float("nan")}, "mobility"),
        ({"interventions": [{"from": 3, "until": 3}]}, r"interventions\[0\].until"),
        ({"interventions": [{"closed": ["moon"]}]}, "moon"),
    ],
)
def test_mistakes_are_told(options, told):
    with pytest.raises(ValueError, match=told):
        Simulation(**{**SMALL, **options})


def test_the_environment_passes_gymnasium_s_checker():
    pytest.importorskip("gymnasium")
    from gymnasium.utils.env_checker import check_env

    env = epidemic.epidemic_env(people=400, days=42, initially_infected=0.02)
    check_env(env, skip_render_check=True)


def _episode(env, policy, seed, options=None):
    """The sum of rewards, and what the steps told."""
    seen, _ = env.reset(seed=seed, options=options)
    over, total, infos = False, 0.0, []
    while not over:
        seen, reward, over, _, info = env.step(policy(seen))
        total += reward
        infos.append(info)
    return total, infos


def test_the_environment_has_a_name():
    gymnasium = pytest.importorskip("gymnasium")
    import lyceum.gymnasium  # noqa: F401

    env = gymnasium.make("lyceum/Epidemic-v0", people=300, days=14)
    env.reset(seed=1)
    assert env.step(2)[1] <= 0 and env.spec.id == "lyceum/Epidemic-v0"


def test_the_reward_cannot_be_had_for_nothing():
    pytest.importorskip("gymnasium")
    env = epidemic.epidemic_env(people=2_000, days=84, initially_infected=0.005)
    draw = np.random.default_rng(0)
    policies = {
        "never": lambda _: 0,
        "always": lambda _: 4,
        "random": lambda _: int(draw.integers(5)),
        "reactive": lambda seen: 4 if seen[0] + seen[1] > 2e-4 else 0,
    }
    found = {name: np.mean([_episode(env, policy, seed)[0] for seed in range(3)]) for name, policy in policies.items()}
    assert found["reactive"] > found["never"] > found["random"] > found["always"], found
    # Usual contacts are no choice of the first step: they are the same whatever it is.
    usual = [[info["usual_contacts"] for info in _episode(env, lambda _, level=level: level, 1)[1]] for level in (0, 4)]
    assert usual[0] == usual[1] and usual[0][0] > 0
    # Without infections and with people as before, nothing is lost on average.
    calm, infos = _episode(env, lambda _: 0, 2, {"initially_infected": 0.0})
    assert abs(calm) < 0.02 * env.unwrapped.lost * sum(info["usual_contacts"] for info in infos)


def test_options_of_an_episode_count():
    pytest.importorskip("gymnasium")
    env = epidemic.epidemic_env(people=2_000, days=28, initially_infected=0.01, days_per_step=10)
    _, infos = _episode(env, lambda _: 1, 3, {"people": 500, "days": 14})
    simulation = env.unwrapped.simulation
    assert simulation.config["people"] == 500 and len(infos) == 2
    # Days that a shorter last step did not have are not counted again.
    new = sum(info["new_infections"] for info in infos)
    assert new == pytest.approx(simulation.days["new_infections"].sum() / 500)


def test_r_by_day():
    simulation = Simulation(people=5_000, days=40, initially_infected=0.01, seed=2)
    simulation.run()
    found, wide = simulation.reproduction(), simulation.reproduction(level=0.99)
    assert list(found) == ["day", "r", "low", "high"] and len(found["day"]) == 40
    known = ~np.isnan(found["r"])
    assert known[10:].all() and (wide["low"][known] <= found["low"][known]).all() and (found["high"][known] <= wide["high"][known]).all()
    for options in ({"level": 1.0}, {"window": 0}):
        with pytest.raises(ValueError, match="allowed"):
            simulation.reproduction(**options)


def test_an_ensemble_on_a_ray_cluster():
    ray = pytest.importorskip("ray")
    configs = [{"people": 600, "days": 15, "initially_infected": 0.02, "seed": seed, "policy": policy} for seed in (1, 2) for policy in ("none", "bct1")]
    here = epidemic.ensemble(configs)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        there = epidemic.ensemble(configs, ray=True)
    finally:
        ray.shutdown()
    assert [outcome["attack"] for outcome in there] == [outcome["attack"] for outcome in here]
    assert all((a["new_infections"] == b["new_infections"]).all() for a, b in zip(here, there))


def small(policy):
    return Simulation(people=300, days=8, initially_infected=0.05, policy=policy, seed=3)


def test_risks_in_any_form_and_wrong_ones_by_name():
    import pandas

    def constant(kind):
        return lambda phones: kind([[0.1] * 14 for _ in phones["person"]])

    expected = small(constant(np.array)).run()["new_infections"].tolist()
    for kind in (list, tuple, pandas.DataFrame, lambda rows: np.array(rows, dtype=np.float64)):
        assert small(constant(kind)).run()["new_infections"].tolist() == expected
    for risks, told in [
        (lambda phones: None, "found None"), (lambda phones: [[float("nan")] * 14] * len(phones["person"]), "found NaN"),
        (lambda phones: [[-0.1] * 14] * len(phones["person"]), "found -0.1"), (lambda phones: [[0.1] * 3] * len(phones["person"]), "a risk for each phone"),
        (lambda phones: "x", "the policy's risks"),
    ]:
        with pytest.raises(ValueError, match=told):
            small(risks).run()


def test_a_policy_that_fails_ends_the_simulation():
    def policy(phones):
        if phones["day"] == 3:
            raise KeyError("no such phone")
        return np.zeros((len(phones["person"]), 14))

    simulation = small(policy)
    with pytest.raises(KeyError, match="no such phone"):
        simulation.run()
    assert simulation.day == 3
    # What that day was like nobody knows.
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the policy failed on day 3"):
            simulation.run()


def test_a_policy_is_asked_once_a_day_and_may_use_the_package():
    from lyceum.federated import Network

    network, asked, threads = Network("linear", 14, 14), [], set()

    def policy(phones):
        import threading

        asked.append(len(phones["person"]))
        threads.add(threading.get_ident())
        return np.abs(network.logits(network.initial, phones["symptoms"].astype(np.float32)))

    simulation = Simulation(people=4_000, days=3, policy=policy, seed=1)
    simulation.run()
    assert asked == [simulation.phones] * 3 and simulation.phones > 1_000 and len(threads) == 1


def test_a_failed_simulation_stays_failed(tmp_path):
    import pickle

    def policy(phones):
        raise ZeroDivisionError("here")

    simulation = small(policy)
    with pytest.raises(ZeroDivisionError):
        simulation.run()
    for use in [lambda: simulation.save(tmp_path / "x"), lambda: pickle.dumps(simulation), lambda: simulation.days, lambda: simulation.set_level(1)]:
        with pytest.raises(RuntimeError, match="the policy failed on day 0"):
            use()


def test_a_policy_may_ask_for_the_day():
    seen = []

    def policy(phones):
        seen.append((simulation.day, phones["day"], simulation.is_over))
        with pytest.raises(RuntimeError, match="in a step"):
            simulation.days
        return np.zeros((len(phones["person"]), 14))

    simulation = small(policy)
    simulation.run()
    assert {(day, False) for day in range(8)} == {(day, over) for day, _, over in seen} and all(a == b for a, b, _ in seen)


def zero(phones):
    """A policy that can be pickled."""
    return np.full((len(phones["person"]), 14), 0.05)


def test_a_policy_that_holds_its_simulation_is_freed(tmp_path):
    class Owner:
        def __init__(self):
            self.simulation = Simulation(**{**SMALL, "days": 4}, policy=self.risks)

        def risks(self, phones):
            return np.zeros((len(phones["person"]), 14))

    owner = Owner()
    owner.simulation.step(2)
    copied = pickle.loads(pickle.dumps(Simulation(**{**SMALL, "days": 2}, policy=none_at_risk)))
    assert len(copied.run()["day"]) == 2
    owner.simulation.run()
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None


def none_at_risk(phones):
    return np.zeros((len(phones["person"]), 14))


def test_a_saved_policy_is_not_forgotten(tmp_path):
    import pickle

    simulation = small(zero)
    simulation.step(3)
    simulation.save(tmp_path / "state")
    with pytest.raises(ValueError, match="the policy that it was saved with"):
        Simulation.load(tmp_path / "state")
    with pytest.raises(ValueError, match="the policy that it was saved with"):
        Simulation.load(tmp_path / "state", days=9)
    copies = [Simulation.load(tmp_path / "state", policy=zero), pickle.loads(pickle.dumps(simulation)), simulation]
    runs = [copy.run()["new_infections"].tolist() for copy in copies]
    assert runs[0] == runs[1] == runs[2]
    for name in ("bct1", "none"):
        assert Simulation.load(tmp_path / "state", policy=name).run()["day"][-1] == 7


def test_progress_and_numbers_of_numpy():
    told = []
    Simulation(people=np.int64(200), days=np.int32(4), seed=np.int64(1), initially_infected=np.float32(0.05)).run(progress=lambda done, all: told.append((done, all)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    with pytest.raises(ValueError, match="mobility: found nan; allowed: finite numbers"):
        Simulation(mobility=float("nan"))
    with pytest.raises(ValueError, match="people"):
        Simulation(people="many")
