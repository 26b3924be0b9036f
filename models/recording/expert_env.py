"""An environment in which a suite's expert acts: whatever action it is given, it takes the expert's and says which."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.envs.base import Env, EnvConfig, Observation
from models.envs.registry import make_env

EXPERT_ACTION = "expert_action"
"""Key of `info` with the action that was taken, float32 (A,)."""
MAKER = f"{__name__}:make_expert_env"


class ExpertEnv:
    """Wraps an environment whose suite has an expert; see `Env.expert_action`."""

    def __init__(self, task: str, config: EnvConfig) -> None:
        self._env = make_env(task, config)
        if type(self._env).expert_action is Env.expert_action:
            self._env.expert_action()  # raises: said before anything is played
        self.action_dim, self.time_limit = self._env.action_dim, self._env.time_limit
        self.fingerprint, self.episode_metadata = self._env.fingerprint, self._env.episode_metadata
        self.reset, self.close, self.renderer = self._env.reset, self._env.close, self._env.renderer

    def step(self, action: NDArray[np.floating[Any]]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """See `Env.step`; `action` is not looked at."""
        chosen = np.clip(self._env.expert_action(), -1, 1).astype(np.float32)
        observation, reward, terminated, truncated, info = self._env.step(chosen)
        return observation, reward, terminated, truncated, info | {EXPERT_ACTION: chosen}


def make_expert_env(task: str, config: EnvConfig) -> ExpertEnv:
    """Build the environment of a task with its suite's expert in it."""
    return ExpertEnv(task, config)
