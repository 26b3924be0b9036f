"""Playing episodes: environments in lockstep, and the agent or the random policy choosing actions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ipv_bench.seeding import numpy_generator
from models.envs.base import Observation
from models.finetuning.env_groups import Actions, EnvGroup, StepResult
from models.finetuning.episode import EpisodeBuilder


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
