"""Playing episodes: environments in lockstep, and the agent or the random policy choosing actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ipv_bench.errors import SimulationError
from ipv_bench.seeding import derive_seed, numpy_generator
from models.envs.base import Env, EnvConfig, Observation
from models.envs.registry import make_env
from models.envs.workers import WorkerEnvs
from models.finetuning.config import EnvsConfig
from models.finetuning.episode import EpisodeBuilder

Actions = NDArray[np.float32]
StepResult = tuple[Observation, float, bool, bool, dict[str, Any]]


class Policy(Protocol):
    """Chooses actions for several environments and carries what it remembers of each."""

    def act(self, image: NDArray[np.uint8], is_first: NDArray[np.bool_], index: int) -> Actions:
        """Actions (N, A) in [-1, 1] for frames (N, H, W, 3); `index` numbers the call, for its random draws."""


class UniformPolicy:
    """Uniform actions in [-1, 1], independent of what is seen."""

    def __init__(self, action_dim: int, seed: int, purpose: str) -> None:
        self._action_dim, self._seed, self._purpose = action_dim, seed, purpose

    def act(self, image: NDArray[np.uint8], is_first: NDArray[np.bool_], index: int) -> Actions:
        """See `Policy.act`."""
        generator = numpy_generator(self._seed, index, self._purpose)
        return generator.uniform(-1, 1, (len(image), self._action_dim)).astype(np.float32)


@dataclass
class PlayedEpisode:
    """One finished episode.

    Attributes:
        seed: seed of its reset.
        length: agent steps.
        env_steps: control steps of the simulator.
        episode_return: sum of the rewards.
        success: reached at any step; None in suites without success.
        metadata: what the environment drew for it (visual factors).
        frames: images in order, when they were asked for.
    """

    seed: int
    length: int
    env_steps: int
    episode_return: float
    success: bool | None
    metadata: dict[str, Any] = field(default_factory=dict)
    frames: list[NDArray[np.uint8]] = field(default_factory=list)


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


@dataclass
class _Running:
    """An episode under way."""

    episode: PlayedEpisode
    observation: Observation
    builder: EpisodeBuilder | None


def play_round(
    envs: EnvGroup,
    policy: Policy,
    seeds: list[int],
    first_index: int,
    action_dim: int,
    *,
    meanwhile: Callable[[int], None] | None = None,
    on_step: Callable[[int, int], None] | None = None,
    keep_frames: bool = False,
    record: bool = False,
) -> list[tuple[PlayedEpisode, EpisodeBuilder | None] | None]:
    """Play one episode in each of the first `len(seeds)` environments, in lockstep.

    All start together, and those that end early wait for the others: so there is a moment after each round when every
    environment is between episodes, and what is seen never depends on how fast a process is.

    Args:
        envs: at least `len(seeds)` environments.
        policy: chooses the actions.
        seeds: one per episode.
        first_index: number of the first policy call; each lockstep has the next one.
        action_dim: size of an action.
        meanwhile: called with the number of agent steps of each lockstep while the environments take them.
        on_step: called after each lockstep with the number of agent steps and of control steps it took. It may raise
            to end the round.
        keep_frames: keep the images of the episodes.
        record: build the episodes for the replay.

    Returns:
        Per seed: the episode and, with `record`, its steps; None where the environment was lost.
    """
    running: list[_Running | None] = []
    started = envs.reset(dict(enumerate(seeds)))
    for index, seed in enumerate(seeds):
        observation = started[index]
        if observation is None:
            running.append(None)
            continue
        builder = EpisodeBuilder(observation["image"], action_dim) if record else None
        episode = PlayedEpisode(seed, 0, 0, 0.0, None, envs.episode_metadata(index))
        episode.frames += [observation["image"]] if keep_frames else []
        running.append(_Running(episode, observation, builder))
    active = [index for index, item in enumerate(running) if item is not None]
    blank = next((item.observation for item in running if item is not None), None)
    call = first_index
    while active and blank is not None:
        shown = [item.observation if item is not None else blank for item in running]
        image = np.stack([observation["image"] for observation in shown])  # (N, H, W, 3)
        is_first = np.array([observation["is_first"] for observation in shown])
        actions = policy.act(image, is_first, call)
        call += 1
        envs.step_async({index: actions[index] for index in active})
        if meanwhile is not None:
            meanwhile(len(active))
        results = envs.step_wait()
        env_steps = 0
        for index in list(active):
            env_steps += _take(running, index, actions[index], results[index], keep_frames)
            item = running[index]
            if item is None or item.observation["is_last"]:
                active.remove(index)
        if on_step is not None:
            on_step(len(results), env_steps)
    return [(item.episode, item.builder) if item is not None else None for item in running]


def _take(
    running: list[_Running | None], index: int, action: Actions, result: StepResult | None, keep_frames: bool
) -> int:
    """Book one step of environment `index`; returns its control steps."""
    item = running[index]
    assert item is not None
    if result is None:
        running[index] = None
        return 0
    observation, reward, terminated, _, info = result
    item.observation = observation
    item.episode.length += 1
    item.episode.env_steps += int(info["env_steps"])
    item.episode.episode_return += float(reward)
    item.episode.success = info["success"]
    if item.builder is not None:
        item.builder.add(observation["image"], action, reward, terminated)
    if keep_frames:
        item.episode.frames.append(observation["image"])
    return int(info["env_steps"])


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
        return self._envs[index].episode_metadata()

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
