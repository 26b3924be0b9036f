"""A small real environment whose frames and rewards are its step number, and which can be told to fail."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.envs.base import ControlStep, Env, EnvConfig

LIMIT = 10


class ToyConfig(EnvConfig):
    """A suite's own config, with a field of its own and a value for each environment."""

    door: int = 100

    def at(self, place: int) -> ToyConfig:
        return self.model_copy(update={"door": self.door + place})


class ToyEnv(Env):
    """Reward n at control step n; success at step 4 only; what fails, and when, stands in the task's name.

    `toy/<failure>@<step>`: die, hang, raise, nan_reward, wrong_shape, bad_config.
    """

    def __init__(self, task: str, config: EnvConfig) -> None:
        super().__init__(task, config, np.array([-2.0, 0.0]), np.array([2.0, 1.0]), LIMIT)
        self._failure, _, step = task.partition("/")[2].partition("@")
        self._fails_at = int(step or -1)
        self.seed = self.steps = 0
        self.actions: list[NDArray[np.float64]] = []
        self.drawn = False

    def fingerprint(self) -> dict[str, Any]:
        return {"suite": "toy"}

    def episode_metadata(self) -> dict[str, Any]:
        return {"seed": self.seed, "process": os.getpid(), "door": getattr(self.config, "door", None)}

    def renderer(self) -> str:
        return "a toy's pen" if self.drawn else ""

    def _start_episode(self, seed: int) -> None:
        self.seed, self.steps = seed, 0

    def _control_step(self, action: NDArray[np.float64]) -> ControlStep:
        self.steps += 1
        self.actions.append(action)
        now = self.steps == self._fails_at and self.seed < 1000
        if now and self._failure == "die":
            os._exit(7)
        if now and self._failure == "hang":
            time.sleep(3600)
        if now and self._failure == "raise":
            raise RuntimeError("a simulator's own error")
        reward = float("nan") if now and self._failure == "nan_reward" else float(self.steps)
        ends = self._failure == "terminates" and self.steps == 3
        return ControlStep(reward, terminated=ends, truncated=self.steps >= LIMIT, success=self.steps == 4)

    def _image(self) -> NDArray[np.uint8]:
        size, self.drawn = self.config.image_size, True
        if self._failure == "wrong_shape" and self.steps == self._fails_at:
            size += 1
        return np.full((size, size, 3), (self.seed + self.steps) % 256, np.uint8)


def make(task: str, config: EnvConfig) -> ToyEnv:
    """Build a toy; `toy/bad_config` cannot be built."""
    if task == "toy/bad_config":
        from ipv_bench.errors import ConfigError

        raise ConfigError("this toy cannot be built", fix="take another one")
    return ToyEnv(task, config)
