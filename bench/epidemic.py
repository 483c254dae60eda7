"""An epidemic of many people by Lyceum, Covasim and OpenABM-Covid19: each prints its time as one JSON line.

    epidemic.py lyceum WORK BINARY ARGUMENTS...     a run of `lyceum epidemic run`
    epidemic.py covasim WORK PEOPLE DAYS [tracing]  Covasim's hybrid population
    epidemic.py openabm WORK SOURCE PEOPLE DAYS     the C core, in SOURCE/src/covid19ibm.exe
"""

import csv
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time


def said(work, peer, seconds, people, days, **more):
    rate = people * days / seconds
    print(json.dumps({"work": work, "peer": peer, "seconds": seconds, "person_days_per_second": rate, **more}), flush=True)


def peak_mb():
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024


def lyceum(work, binary, *arguments):
    out = tempfile.mkdtemp()
    start = time.perf_counter()
    run = subprocess.run([binary, "--json", "epidemic", "run", *arguments, "--out", out], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True)
    whole = time.perf_counter() - start
    event = json.loads([line for line in run.stdout.splitlines() if '"simulated"' in line][-1])
    shutil.rmtree(out)
    more = {"infected": event["outcome"]["attack"], "whole_seconds": whole, "peak_mb": peak_mb()}
    said(work, "lyceum", event["seconds"], event["people"], event["days"], **more)


def covasim(work, people, days, *tracing):
    os.environ.setdefault("NUMBA_NUM_THREADS", "2")
    import covasim as cv

    people, days = int(people), int(days)
    more = {}
    if tracing:
        more["interventions"] = [
            cv.test_prob(symp_prob=0.3, asymp_prob=0.001, test_delay=2),
            cv.contact_tracing(trace_probs={"h": 1.0, "s": 0.6, "w": 0.6, "c": 0.3}, trace_time=1),
        ]

    def simulation(people, seed):
        sim = cv.Sim(pop_size=people, pop_type="hybrid", n_days=days, pop_infected=max(1, people // 5000), rand_seed=seed, verbose=0, **more)
        sim.initialize()
        return sim

    # Numba compiles in the first run.
    more_people = simulation(2000, 1)
    more_people.run()
    sim = simulation(people, 2)
    start = time.perf_counter()
    sim.run()
    seconds = time.perf_counter() - start
    said(work, "covasim", seconds, people, days, infected=float(sim.summary["cum_infections"]) / people)


def openabm(work, source, people, days):
    people, days = int(people), int(days)
    data = os.path.join(source, "tests", "data")
    folder = tempfile.mkdtemp()
    with open(os.path.join(data, "baseline_parameters.csv")) as file:
        rows = list(csv.reader(file))
    names = [cell.strip() for cell in rows[0]]

    def run(days):
        for name, value in {"n_total": people, "end_time": days, "n_seed_infection": max(1, people // 5000)}.items():
            rows[1][names.index(name)] = str(value)
        parameters = os.path.join(folder, "parameters.csv")
        with open(parameters, "w", newline="") as file:
            csv.writer(file).writerows(rows)
        program = os.path.join(source, "src", "covid19ibm.exe")
        start = time.perf_counter()
        done = subprocess.run([program, parameters, "1"], cwd=os.path.join(source, "src"), stdout=subprocess.PIPE, check=True, text=True)
        seconds = time.perf_counter() - start
        lines = [line.split(",") for line in done.stdout.splitlines() if "," in line and not line.startswith("#")]
        return seconds, int(lines[-1][lines[0].index("total_infected")])

    # The days alone: without the making of the people, which a run of one day tells.
    first, _ = run(1)
    whole, infected = run(days + 1)
    said(work, "openabm", whole - first, people, days, infected=infected / people, whole_seconds=whole, peak_mb=peak_mb())
    shutil.rmtree(folder)


if __name__ == "__main__":
    {"lyceum": lyceum, "covasim": covasim, "openabm": openabm}[sys.argv[1]](*sys.argv[2:])
