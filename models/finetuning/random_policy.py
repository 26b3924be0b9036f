"""What the uniform random policy scores in a task, played without rendering."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipv_bench.errors import SimulationError
from ipv_bench.seeding import derive_seed, numpy_generator
from models.envs.base import Env, EnvConfig
from models.envs.registry import make_env
from models.finetuning.config import EnvsConfig
from models.finetuning.env_groups import EnvGroup, open_envs


def random_policy_scores(env: Env | OneOfGroup, episodes: int, seed: int) -> dict[str, list[Any]]:
    """Scores of the uniform random policy with the very settings of the run, played without rendering.

    Each action is held for the whole action repeat, as the agent's are. An episode whose environment is lost is played
    again; a group of environments gives up by itself after some losses in a row.

    Returns:
        returns, successes, lengths and seeds, one of each per episode.
    """
    scores: dict[str, list[Any]] = {"returns": [], "successes": [], "lengths": [], "seeds": []}
    for number in range(episodes):
        while True:
            try:
                played = _random_episode(env, seed, number)
                break
            except EpisodeLostError:
                continue
        for name, value in played.items():
            scores[name].append(value)
    return scores


def _random_episode(env: Env | OneOfGroup, seed: int, number: int) -> dict[str, Any]:
    episode_seed = derive_seed(seed, number, "random policy episode")
    generator = numpy_generator(seed, number, "random policy actions")
    env.begin(episode_seed)
    total, length, ended = 0.0, 0, False
    while not ended:
        reward, terminated, truncated, info = env.simulate(generator.uniform(-1, 1, env.action_dim))
        total, length, ended = total + reward, length + 1, terminated or truncated
    return {"returns": total, "successes": info["success"], "lengths": length, "seeds": episode_seed}


class OneOfGroup:
    """The first environment of a group, its frames thrown away: what `random_policy_scores` needs of an `Env`.

    Args:
        envs: a group that this object closes.
    """

    def __init__(self, envs: EnvGroup) -> None:
        self._envs = envs

    @property
    def action_dim(self) -> int:
        """Number of action components."""
        return self._envs.action_dim

    @property
    def time_limit(self) -> int:
        """See `EnvGroup.time_limit`."""
        return self._envs.time_limit

    def fingerprint(self) -> dict[str, Any]:
        """See `Env.fingerprint`."""
        return self._envs.fingerprint()

    def begin(self, seed: int) -> None:
        """Start an episode.

        Raises:
            EpisodeLostError: the environment was lost; the next call starts another one.
        """
        if self._envs.reset({0: seed})[0] is None:
            raise EpisodeLostError("the environment was lost in its reset")

    def simulate(self, action: NDArray[np.floating[Any]]) -> tuple[float, bool, bool, dict[str, Any]]:
        """Take an agent step: reward, terminated, truncated, info.

        Raises:
            EpisodeLostError: the environment was lost.
        """
        result = self._envs.step({0: np.asarray(action, np.float32)})[0]
        if result is None:
            raise EpisodeLostError("the environment was lost in a step")
        return result[1:]

    def close(self) -> None:
        """End the group."""
        self._envs.close()


class EpisodeLostError(SimulationError):
    """An environment was lost in the middle of an episode that can be played again."""


def open_silent_env(task: str, config: EnvConfig, hosting: EnvsConfig) -> Env | OneOfGroup:
    """One environment to play without frames: in this process, unless its suite asks for one of its own."""
    return OneOfGroup(open_envs(task, config, hosting, 1)) if config.own_process else make_env(task, config)
