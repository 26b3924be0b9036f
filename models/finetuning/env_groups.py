"""Environments of one task by index, in this process or in others: what an agent plays in."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.envs.base import EnvConfig, Observation
from models.envs.registry import make_env
from models.envs.workers import WorkerEnvs
from models.finetuning.config import EnvsConfig

Actions = NDArray[np.float32]
StepResult = tuple[Observation, float, bool, bool, dict[str, Any]]


class EnvGroup(Protocol):
    """Environments of one task by index, wherever they run.

    A lost environment (its process died or hung) answers None, and is there again at the next reset.
    """

    @property
    def count(self) -> int:
        """Number of environments."""

    @property
    def action_dim(self) -> int:
        """Number of action components."""

    @property
    def time_limit(self) -> int:
        """Control steps of the longest episode."""

    def reset(self, seeds: Mapping[int, int]) -> dict[int, Observation | None]:
        """Start an episode in each of the environments given, index → seed."""

    def step(self, actions: Mapping[int, Actions]) -> dict[int, StepResult | None]:
        """Take one agent step in each of the environments given, index → action: `step_async` and `step_wait`."""

    def step_async(self, actions: Mapping[int, Actions]) -> None:
        """Begin an agent step; environments of other processes take it while the caller goes on."""

    def step_wait(self) -> dict[int, StepResult | None]:
        """What came of the step that `step_async` began."""

    def episode_metadata(self, index: int) -> dict[str, Any]:
        """What environment `index` drew for its current episode."""

    def fingerprint(self) -> dict[str, Any]:
        """What makes scores comparable."""

    def renderers(self) -> list[str]:
        """What drew the frames so far, each once; see `Env.renderer`."""

    def close(self) -> None:
        """Release the environments."""


class LocalEnvs:
    """Environments in this process: nothing to start, but a fault of one ends the run.

    Args:
        task: `<suite>/<task>`.
        config: how it is run and seen.
        count: number of environments.
        first: number of the first of them among all of the run; see `EnvConfig.at`.
    """

    def __init__(self, task: str, config: EnvConfig, count: int, first: int = 0) -> None:
        self._envs = [make_env(task, config.at(first + index)) for index in range(count)]
        self._results: dict[int, StepResult | None] = {}

    @property
    def count(self) -> int:
        """Number of environments."""
        return len(self._envs)

    @property
    def action_dim(self) -> int:
        """Number of action components."""
        return self._envs[0].action_dim

    @property
    def time_limit(self) -> int:
        """See `EnvGroup.time_limit`."""
        return self._envs[0].time_limit

    def fingerprint(self) -> dict[str, Any]:
        """See `Env.fingerprint`."""
        return self._envs[0].fingerprint()

    def reset(self, seeds: Mapping[int, int]) -> dict[int, Observation | None]:
        """See `EnvGroup.reset`."""
        return {index: self._envs[index].reset(seed) for index, seed in seeds.items()}

    def step(self, actions: Mapping[int, Actions]) -> dict[int, StepResult | None]:
        """See `EnvGroup.step`."""
        self.step_async(actions)
        return self.step_wait()

    def step_async(self, actions: Mapping[int, Actions]) -> None:
        """See `EnvGroup.step_async`; in this process the step is over when the call is."""
        self._results = {index: self._envs[index].step(action) for index, action in actions.items()}

    def step_wait(self) -> dict[int, StepResult | None]:
        """See `EnvGroup.step_wait`."""
        return self._results

    def renderers(self) -> list[str]:
        """See `EnvGroup.renderers`."""
        return list(dict.fromkeys(filter(None, (env.renderer() for env in self._envs))))

    def episode_metadata(self, index: int) -> dict[str, Any]:
        """See `EnvGroup.episode_metadata`."""
        return copy.deepcopy(self._envs[index].episode_metadata())  # a suite may go on with its own

    def close(self) -> None:
        """Release the renderers."""
        for env in self._envs:
            env.close()


def open_envs(task: str, config: EnvConfig, hosting: EnvsConfig, count: int, first: int = 0) -> EnvGroup:
    """`count` environments of a task, in this process or in others, as `hosting` says; `first`: see `EnvConfig.at`.

    A suite whose simulator may take its process along is hosted by other processes whatever `hosting` says.
    """
    if hosting.workers == 0 and not config.own_process:
        return LocalEnvs(task, config, count, first)
    return WorkerEnvs(task, config, count, hosting.workers, hosting.step_timeout_seconds, first=first)
