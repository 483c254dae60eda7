"""Gymnasium environments: importing this module registers ``lyceum/Epidemic-v0``, which :func:`lyceum.epidemic.epidemic_env` describes.

>>> import gymnasium, lyceum.gymnasium
>>> env = gymnasium.make("lyceum/Epidemic-v0", people=500, days=14)
>>> observation, info = env.reset(seed=1)
>>> observation.shape
(8,)
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from .epidemic import Simulation

SEEN = ("positive", "in_hospital", "critical", "dead", "quarantined", "tests")
WEEK = 7


__all__ = ["EpidemicEnv"]


class EpidemicEnv(gymnasium.Env):
    """See :func:`lyceum.epidemic.epidemic_env`."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, *, days_per_step: int = 7, infected: float = 1.0, lost: float = 0.0015, **options: Any) -> None:
        if days_per_step < 1:
            raise ValueError(f"days_per_step: found {days_per_step}; allowed: 1 and more")
        for name, price in (("infected", infected), ("lost", lost)):
            if not (np.isfinite(price) and price >= 0):
                raise ValueError(f"{name}: found {price}; allowed: finite numbers of 0 and more")
        self.days_per_step, self.infected, self.lost = days_per_step, infected, lost
        for name, why in (("seed", "give it to `reset`"), ("count_contacts", "they are always counted")):
            if name in options:
                raise ValueError(f"{name}: found {options[name]!r}; allowed: none here, {why}")
        self.options = {"people": 5_000, "days": 126, **options, "count_contacts": True}
        self.action_space = spaces.Discrete(5)
        self.observation_space = spaces.Box(0.0, 1.0, (len(SEEN) + 2,), np.float32)
        self.simulation: Simulation | None = None
        self.level = 1
        self.begin = 0
        self.usual = np.zeros(WEEK)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        chosen = {**self.options, "seed": int(self.np_random.integers(2**31)), **(options or {}), "count_contacts": True}
        self.simulation = Simulation(**chosen)
        self.people, self.days = int(chosen["people"]), int(chosen["days"])
        calm = Simulation(**{**chosen, "days": WEEK, "initially_infected": 0.0, "policy": "none", "interventions": ()})
        calm.set_level(0)
        self.usual = np.asarray(calm.run()["contacts"]) / self.people
        self.level, self.begin = 1, 0
        return self._observation(), {"usual_contacts": self.usual.copy()}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.simulation is None:
            raise RuntimeError("call reset first")
        self.level, self.begin = int(action), self.simulation.day
        self.simulation.set_level(self.level)
        self.simulation.step(self.days_per_step)
        rows = self.simulation.days
        new = float(rows["new_infections"][self.begin :].sum()) / self.people
        contacts = float(rows["contacts"][self.begin :].sum()) / self.people
        usual = float(self.usual[rows["day"][self.begin :] % WEEK].sum())
        reward = -(self.infected * new + self.lost * (usual - contacts))
        info = {"new_infections": new, "contacts": contacts, "usual_contacts": usual}
        return self._observation(), reward, self.simulation.is_over, False, info

    def _observation(self) -> Any:
        assert self.simulation is not None
        rows = self.simulation.days
        new = self.simulation.day - self.begin
        seen = [float(rows[name][self.begin :].sum()) / max(new, 1) / self.people for name in SEEN]
        return np.clip(np.asarray([*seen, self.level / 4.0, self.simulation.day / self.days], np.float32), 0.0, 1.0)


if "lyceum/Epidemic-v0" not in gymnasium.registry:
    gymnasium.register("lyceum/Epidemic-v0", entry_point="lyceum.gymnasium:EpidemicEnv")
