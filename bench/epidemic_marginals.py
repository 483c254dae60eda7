"""What people and contacts are like in COVI-AgentSim and in Lyceum, as a Markdown table.

    epidemic_marginals.py covi SOURCE PEOPLE DAYS SEED OUT.json   in an environment where COVI-AgentSim runs
    epidemic_marginals.py compare BINARY OUT.json...              in one with lyceum, pandas, pyarrow and scipy

COVI-AgentSim (github.com/mila-iqia/COVI-AgentSim) needs numpy 1.23, scipy, pandas 1, simpy, pyyaml, dill, cached_property, addict, networkx,
seaborn, runstats, joblib, requests, pyzmq, click, ipython, zarr, h5py, and its C extension built in src/covid19sim/native. What it only
imports (hydra, omegaconf, orderedset, xdelta3, ctt) is stood in for here.
"""

import glob
import json
import os
import subprocess
import sys
import tempfile
import types


def stand_ins():
    class OrderedSet(dict):
        def __init__(self, items=()):
            super().__init__((item, None) for item in items)

        def add(self, item):
            self[item] = None

        def remove(self, item):
            del self[item]

        def __getitem__(self, place):
            return list(self.keys())[place]

    def module(name, **values):
        found = types.ModuleType(name)
        found.__dict__.update(values)
        sys.modules[name] = found

    module("orderedset", OrderedSet=OrderedSet)
    module("hydra", main=lambda *_, **__: lambda function: function)
    module("omegaconf", DictConfig=type("DictConfig", (), {}), OmegaConf=type("OmegaConf", (), {}))
    module("xdelta3")
    module("ctt")
    module("ctt.inference")
    module("ctt.inference.infer", InferenceEngine=object)


def covi(source, people, days, seed, out):
    import numpy as np
    import yaml

    for name, kind in (("float", float), ("int", int), ("bool", bool), ("object", object)):
        np.__dict__.setdefault(name, kind)
    stand_ins()
    sys.path.insert(0, os.path.join(source, "src"))
    configs = os.path.join(source, "src/covid19sim/configs/simulation")
    parts = ("core", "country/canada", "region/montreal", "track/light", "risk_mappings/calibrated", "base_method")
    conf = {}
    for part in (*parts, "intervention/no_intervention", "symptom_prevalence"):
        with open(os.path.join(configs, part + ".yaml")) as file:
            conf.update(yaml.safe_load(file) or {})
    from covid19sim import run
    from covid19sim.epidemiology.viral_load import compute_covid_properties
    from covid19sim.locations.location import Location
    from covid19sim.utils.utils import parse_configuration

    people, days, seed = int(people), int(days), int(seed)
    conf.update(n_people=people, simulation_days=days, seed=seed, init_fraction_sick=0.05, outdir=tempfile.mkdtemp(), COLLECT_LOGS=False)
    conf = parse_configuration(conf)
    conf["INTERVENTION"] = "UNMITIGATED"
    contacts = {}
    sample = Location.sample_interactions

    def counted(self, human, unknown_only=False):
        known, unknown = sample(self, human, unknown_only)
        for other, distance, seconds in known:
            if seconds >= 900 and distance.distance <= 200:
                key = (self.location_type, human.age_bin_width_5.index, other.age_bin_width_5.index)
                contacts[key] = contacts.get(key, 0) + 1
        return known, unknown

    Location.sample_interactions = counted
    city = run.simulate(n_people=people, init_fraction_sick=0.05, start_time=conf["start_time"], simulation_days=days, outfile=os.path.join(conf["outdir"], "x"), seed=seed, conf=conf, logfile=None)
    rng = np.random.RandomState(1)
    found = {"people": people, "days": days, "contacts": [[*key, count] for key, count in contacts.items()]}
    for human in city.humans:
        human.initial_viral_load = rng.rand()
        compute_covid_properties(human)
        shown = {str(symptom.name) for day in human.covid_progression for symptom in day}
        for key, value in {
            "age": human.age,
            "conditions": len([name for name in human.preexisting_conditions if name != "allergies"]),
            "incubation": human.incubation_days,
            "onset": human.infectiousness_onset_days,
            "recovery": human.recovery_days,
            "peak": human.viral_load_peak_height,
            "asymptomatic": bool(human.is_asymptomatic),
            "fever": "fever" in shown,
            "cough": "cough" in shown,
            "loss of taste": "loss_of_taste" in shown,
            "trouble breathing": "trouble_breathing" in shown,
        }.items():
            found.setdefault(key, []).append(float(value))
    found["household"] = [len(home.residents) for home in city.households]
    with open(out, "w") as file:
        json.dump(found, file)


PLACES = {
    "HOUSEHOLD": "home",
    "WORKPLACE": "work",
    "SCHOOL": "school",
    "HOSPITAL": "hospital",
    "STORE": "store",
    "MISC": "venue",
    "PARK": "park",
    "SENIOR_RESIDENCE": "residence",
}


def compare(binary, *files):
    import numpy as np
    import pandas as pd
    from lyceum.epidemic import Simulation
    from scipy import stats

    theirs = []
    for name in files:
        with open(name) as file:
            theirs.append(json.load(file))
    people, days = theirs[0]["people"], theirs[0]["days"]
    seeds = range(1, len(theirs) + 1)
    frames = []
    for seed in seeds:
        simulation = Simulation(people=people, days=1, initially_infected=1.0, seed=seed, policy="unmitigated")
        simulation.run()
        frames.append((pd.DataFrame(simulation.people), pd.DataFrame(simulation.infections)))
    everyone, infections = (pd.concat([frame[place] for frame in frames]) for place in (0, 1))
    all_of = lambda key: np.concatenate([np.asarray(run[key], float) for run in theirs])  # noqa: E731
    ill = infections.symptoms_from.notna()
    homes = np.concatenate([frame.groupby("household").size().to_numpy() for frame, _ in frames])
    conditions = np.array([bin(bits).count("1") for bits in everyone.conditions])
    print(f"{len(theirs)} × {people} people. Kolmogorov–Smirnov for numbers, chi-square for shares.\n")
    print("| | COVI-AgentSim: mean | Lyceum: mean | statistic | p |\n|---|---:|---:|---:|---:|")
    numbers = [
        ("age", all_of("age"), everyone.age),
        ("household size", all_of("household"), homes[homes <= 12]),
        ("conditions", all_of("conditions"), conditions),
        ("incubation, days", all_of("incubation"), infections.symptoms_from[ill]),
        ("infectious from, days", all_of("onset"), infections.infectious_from),
        ("recovered at, days", all_of("recovery"), infections.recovered_at.dropna()),
        ("peak viral load", all_of("peak"), infections.peak_viral_load),
    ]
    for name, a, b in numbers:
        found = stats.ks_2samp(a, b)
        print(f"| {name} | {np.mean(a):.3f} | {np.mean(b):.3f} | {found.statistic:.3f} | {found.pvalue:.2g} |")
    a, b = all_of("asymptomatic"), 1.0 - ill.to_numpy(float)
    table = [[a.sum(), len(a) - a.sum()], [b.sum(), len(b) - b.sum()]]
    found = stats.chi2_contingency(table)
    print(f"| without symptoms | {a.mean():.3f} | {b.mean():.3f} | {found[0]:.2f} | {found[1]:.2g} |")
    print(f"\nContacts that a person begins a day, near and long enough, over {days} days without tests, by place:\n")
    print("| place | COVI-AgentSim | Lyceum | correlation of the matrices by age |\n|---|---:|---:|---:|")
    shape = (16, 16)
    seen = {place: np.zeros(shape) for place in PLACES.values()}
    for run in theirs:
        for kind, i, j, count in run["contacts"]:
            seen[PLACES[kind]][i, j] += count
    ours = {place: np.zeros(shape) for place in PLACES.values()}
    for seed, (frame, _) in zip(seeds, frames):
        out = tempfile.mkdtemp()
        options = ["--people", str(people), "--days", str(days), "--initially-infected", "0.05", "--policy", "unmitigated"]
        subprocess.run([binary, "-q", "epidemic", "run", *options, "--set", "testing=false", "--seed", str(seed), "--contacts", "--out", out], check=True, stdout=subprocess.DEVNULL)
        group = np.minimum(frame.age.to_numpy() // 5, 15)
        for file in glob.glob(os.path.join(out, "contacts", "*.parquet")):
            for place, rows in pd.read_parquet(file).groupby("setting"):
                np.add.at(ours[place], (group[rows["from"]], group[rows["to"]]), 1)
    person_days = len(theirs) * people * days
    for place in PLACES.values():
        together = np.corrcoef(seen[place].ravel(), ours[place].ravel())[0, 1]
        print(f"| {place} | {seen[place].sum() / person_days:.3f} | {ours[place].sum() / person_days:.3f} | {together:.2f} |")


if __name__ == "__main__":
    {"covi": covi, "compare": compare}[sys.argv[1]](*sys.argv[2:])
