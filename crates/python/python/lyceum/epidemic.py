"""Epidemics of a region's people, with contact tracing.

The model is that of COVI-AgentSim, made for a million people: households, schools, work and outings of a region; the course of
COVID-19; tests; phones that exchange messages of risk; policies from binary tracing to one's own.

>>> simulation = Simulation(people=1_000, days=20, initially_infected=0.01, seed=1)
>>> days = simulation.run()
>>> int(days["susceptible"][-1] + days["exposed"][-1] + days["infectious"][-1] + days["recovered"][-1] + days["dead"][-1])
1000

A policy is a function from what phones know to risks: see :class:`Simulation`.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike, fspath
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from . import _native
from ._arrays import array
from ._options import dumped
from ._progress import Progress, reporter

__all__ = ["POLICIES", "SYMPTOMS", "Simulation", "ensemble", "epidemic_env", "parameters"]

POLICIES: tuple[str, ...] = _native.EPIDEMIC_POLICIES
"""The policies that come with the package."""

SYMPTOMS: tuple[str, ...] = _native.EPIDEMIC_SYMPTOMS
"""Symptoms: bit i of a set of symptoms is symptom i."""

Policy = Callable[[dict[str, Any]], Any]


def parameters() -> str:
    """The parameters of the disease, testing, phones and behaviour, with their sources, as TOML."""
    return _native.epidemic_parameters()


class Simulation:
    """A simulation of an epidemic. One seed gives one result, whatever the number of threads.

    Parameters
    ----------
    region
        ``"montreal"``, ``"united-states"``, or the path of a region's file.
    people, days
        How many.
    seed
        The root of all randomness.
    initially_infected
        The share of people who are infected on day 0.
    policy
        A name of :data:`POLICIES`, or a function. It is called once a day with a batch of phones, a dictionary of arrays with a row
        a phone: ``symptoms`` (n, 14), sets of bits as in :data:`SYMPTOMS`, ``messages`` (n, 14, 16), how many contacts of a day told
        each level of risk, ``levels`` (n, 14), what this phone told last, ``recommendation`` (n), ``test`` (n), 1 positive, -1
        negative, 0 none told, ``test_days_ago``, ``age``, ``sex`` (-1 where not told), ``conditions``, ``person``; and ``day``.
        Days are counted backwards, column 0 is today. It gives risks (n, 14): the infectiousness of today and the days before, which
        become 16 levels that contacts are told, and of today's a recommendation from 0 to 3.
    predictor
        The file of a learnt predictor, as ``lyceum run`` of a recipe with ``experiment = "infectiousness"`` writes it, for the policy
        ``"learnt"``.
    uptake
        The share of those with a smartphone who have the app; 0.8415 are 60 % of all people.
    mobility
        The share of contacts that take place, on top of what the policy does.
    intervention_day
        The day on which the policy begins.
    testing
        Whether people are tested.
    count_contacts
        Whether all contacts are counted; without, simulations of policies without an app are several times faster.
    oracle_noise
        Noise of the oracle: added, and multiplied.
    parameters
        Changes, for example ``{"transmission": {"contagion": 30}}``; see :func:`parameters`.
    interventions
        What is done on some days, each a dictionary: ``from`` and ``until`` (days; the second is the first without it), and any of
        ``closed`` (places: ``"work"``, ``"school"``, ``"store"``, ``"venue"``, ``"park"``), ``contacts`` (shares by ``home``, ``work``,
        ``school``, ``other``), ``contagion`` (a factor), ``level`` (of behaviour, at least), ``imported`` (infections a day),
        ``parameters``, and ``vaccination`` (``a_day``, ``ages``, ``coverage``, ``oldest_first``, ``delay``, ``against_infection``,
        ``against_symptoms``, ``against_hospital``, ``against_transmission``).
    """

    def __init__(
        self,
        *,
        region: str | PathLike[str] = "montreal",
        people: int = 10_000,
        days: int = 60,
        seed: int = 1,
        initially_infected: float = 0.002,
        policy: str | Policy = "none",
        uptake: float = 0.8415,
        mobility: float = 1.0,
        intervention_day: int = 0,
        testing: bool = True,
        count_contacts: bool = True,
        oracle_noise: Sequence[float] = (0.0, 0.0),
        predictor: str | PathLike[str] | None = None,
        parameters: Mapping[str, Any] | None = None,
        interventions: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        function = policy if callable(policy) else None
        config = {
            "region": fspath(region),
            "people": people,
            "days": days,
            "seed": seed,
            "initially_infected": initially_infected,
            "policy": "none" if callable(policy) else policy,
            "uptake": uptake,
            "mobility": mobility,
            "intervention_day": intervention_day,
            "testing": testing,
            "count_contacts": count_contacts,
            "oracle_noise": list(oracle_noise),
            "predictor": None if predictor is None else fspath(predictor),
            "parameters": dict(parameters or {}),
            "interventions": [dict(intervention) for intervention in interventions],
        }
        self._policy = function
        self._native = _native.Simulation(dumped(config), _risks(self))

    @classmethod
    def load(cls, path: str | PathLike[str], *, policy: str | Policy | None = None, **changes: Any) -> Simulation:
        """A simulation that was saved, to go on as it was or with changes: more days, another policy from its last day on.

        One whose policy was a function needs a policy again: the file does not hold functions.
        """
        function = policy if callable(policy) else None
        if isinstance(policy, str):
            changes["policy"] = policy
        loaded = cls.__new__(cls)
        loaded._policy = function
        loaded._native = _native.Simulation.load(fspath(path), dumped(changes), _risks(loaded))
        return loaded

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the simulation as it is now."""
        self._native.save(fspath(path))

    def __getstate__(self) -> dict[str, Any]:
        return {"simulation": self._native.to_bytes(), "policy": self._policy}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._policy = state["policy"]
        self._native = _native.Simulation.from_bytes(state["simulation"], _risks(self))

    def run(self, progress: Progress = False) -> dict[str, Any]:
        """Simulates all days that are left; gives :attr:`days`. ``progress=True`` shows a bar where ``tqdm`` is installed; a function is
        called with the days that are simulated and all days."""
        total = self.config["days"]
        with reporter(progress, total, self.day, "day") as report:
            while not self.is_over:
                self._native.step(1 if progress else 64)
                report(self.day)
        return self.days

    def step(self, days: int = 1) -> None:
        """Simulates some days."""
        self._native.step(days)

    def set_level(self, level: int) -> None:
        """How careful everyone is from now on at least: 0 as before the epidemic, 1 to 3, 4 quarantine."""
        self._native.set_level(level)

    @property
    def is_over(self) -> bool:
        """Whether all days are simulated."""
        return self._native.is_over()

    @property
    def day(self) -> int:
        """How many days are simulated."""
        return self._native.day()

    @property
    def phones(self) -> int:
        """How many people have the app."""
        return self._native.phones()

    @property
    def config(self) -> dict[str, Any]:
        """What is simulated."""
        return cast("dict[str, Any]", json.loads(self._native.config()))

    @property
    def outcome(self) -> dict[str, Any]:
        """The simulation in a few numbers: attack, deaths, reproduction, contacts, quarantine, …"""
        return cast("dict[str, Any]", json.loads(self._native.outcome()))

    @property
    def days(self) -> dict[str, Any]:
        """A row a day, as columns: ``pandas.DataFrame(simulation.days)``, ``pyarrow.table(simulation.days)``."""
        return self._native.days()

    def reproduction(self, window: int = 7, level: float = 0.95) -> dict[str, Any]:
        """R by the renewal equation, a row a day, as columns ``day``, ``r``, ``low``, ``high``: from the days of a window up to the day,
        with the interval that holds it with the probability ``level``; NaN where there is none (Cori et al. 2013)."""
        return self._native.reproduction(window, level)

    @property
    def hours(self) -> dict[str, Any]:
        """A row an hour, as columns: how many are in which state, and new infections."""
        return self._native.hours()

    @property
    def infections(self) -> dict[str, Any]:
        """A line for each infection, as columns."""
        return self._native.infections()

    @property
    def people(self) -> dict[str, Any]:
        """A line for each person, as columns."""
        return self._native.people()


class _Risks:
    """The policy of a simulation, whose risks are numbers in rows, whatever it gives them as.

    The native side holds it where the garbage collector does not see: it must not hold the policy, whose owner may hold the simulation.
    """

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = weakref.ref(simulation)

    def __call__(self, phones: dict[str, Any]) -> NDArray[np.float32]:
        simulation = self.simulation()
        policy = None if simulation is None else simulation._policy
        risks = None if policy is None else policy(phones)
        if risks is None:
            raise ValueError("the policy's risks: found None; allowed: a row for each phone, today and the 13 days before")
        return array(risks, np.float32, 2, "the policy's risks")


def _risks(simulation: Simulation) -> _Risks | None:
    return None if simulation._policy is None else _Risks(simulation)



def _outcome(config: Mapping[str, Any]) -> dict[str, Any]:
    simulation = Simulation(**config)
    days = simulation.run()
    return {**config, **simulation.outcome, "new_infections": np.asarray(days["new_infections"])}


def ensemble(configs: Iterable[Mapping[str, Any]], *, ray: bool = False) -> list[dict[str, Any]]:
    """The outcomes of many simulations, in their order; each configuration is that of a :class:`Simulation`.

    One after the other, each on all cores; with ``ray=True`` as tasks of the Ray cluster that ``ray.init`` connected to.

    >>> found = ensemble({"people": 500, "days": 10, "seed": seed} for seed in (1, 2))
    >>> [outcome["seed"] for outcome in found]
    [1, 2]
    """
    configs = list(configs)
    if not ray:
        return [_outcome(config) for config in configs]
    import ray as cluster

    task = cluster.remote(_outcome)
    return cast("list[dict[str, Any]]", cluster.get([task.remote(config) for config in configs]))


def epidemic_env(**options: Any) -> Any:
    """A Gymnasium environment: how careful should people be, week by week?

    An action is a level of behaviour for all (0 to 4). An observation is what an authority sees, as shares of the people: positive tests,
    people in hospital, in intensive care, dead, in quarantine, tests made, in the last step; the level; and the share of the time that is
    over. The reward of a step is, a person,

    ``-(infected * new infections + lost * (usual contacts - contacts))``

    Usual are the contacts of the same people on the same days of the week without an epidemic: seven days are simulated for them at each
    ``reset``, so that no action changes what it is measured by. After ``import lyceum.gymnasium``, ``gymnasium.make("lyceum/Epidemic-v0", **options)`` makes one too. ``reset(options={"people": …})`` changes options of
    :class:`Simulation` for an episode. Needs ``gymnasium``.

    Parameters
    ----------
    days_per_step
        Days between two decisions, 7 by default.
    infected, lost
        What an infection costs, and a contact that does not take place; 1 and 0.0015 by default.
    **options
        Those of :class:`Simulation`.
    """
    from .gymnasium import EpidemicEnv

    return EpidemicEnv(**options)
