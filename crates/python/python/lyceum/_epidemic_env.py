"""The Gymnasium environment of :func:`lyceum.epidemic.epidemic_env`; apart, since it needs gymnasium."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from .epidemic import Simulation

SEEN = ("positive", "in_hospital", "critical", "dead", "quarantined", "tests")


class EpidemicEnv(gymnasium.Env):
    """See :func:`lyceum.epidemic.epidemic_env`."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, *, days_per_step: int = 7, infected: float = 1.0, lost: float = 0.005, **options: Any) -> None:
        if days_per_step < 1:
            raise ValueError(f"days_per_step: found {days_per_step}; allowed: 1 and more")
        self.days_per_step, self.infected, self.lost = days_per_step, infected, lost
        self.options = {"people": 5_000, "days": 126, **options, "count_contacts": True}
        self.action_space = spaces.Discrete(5)
        self.observation_space = spaces.Box(0.0, 1.0, (len(SEEN) + 2,), np.float32)
        self.simulation: Simulation | None = None
        self.level = 1
        self.before = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.simulation = Simulation(**{**self.options, "seed": int(self.np_random.integers(2**31)), **(options or {})})
        self.level = 1
        self.before = 0.0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.simulation is None:
            raise RuntimeError("call reset first")
        self.level = int(action)
        self.simulation.set_level(self.level)
        self.simulation.step(self.days_per_step)
        days, people = self.simulation.days, self.options["people"]
        new = float(days["new_infections"][-self.days_per_step :].sum()) / people
        contacts = float(days["contacts"][-self.days_per_step :].sum()) / people
        self.before = self.before or contacts
        reward = -(self.infected * new + self.lost * max(self.before - contacts, 0.0))
        info = {"new_infections": new, "contacts": contacts}
        return self._observation(), reward, self.simulation.is_over, False, info

    def _observation(self) -> Any:
        assert self.simulation is not None
        days, people = self.simulation.days, self.options["people"]
        seen = [float(np.mean(days[name][-self.days_per_step :])) / people if len(days["day"]) else 0.0 for name in SEEN]
        over = self.simulation.day / self.options["days"]
        return np.clip(np.asarray([*seen, self.level / 4.0, over], np.float32), 0.0, 1.0)
