"""Rounds of episodes: what is recorded, episodes of unequal length, lost environments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.envs.base import EnvConfig, Observation
from models.finetuning.env_groups import LocalEnvs
from models.finetuning.random_policy import random_policy_scores
from models.finetuning.rollout import UniformPolicy, play_round


class CountingEnvs:
    """Environments whose images, rewards and lengths carry their own answer; `lost_at` names (index, step)."""

    action_dim = 2

    def __init__(self, lengths: list[int], lost_at: tuple[int, int] | None = None) -> None:
        self.lengths, self.lost_at, self.steps = lengths, lost_at, [0] * len(lengths)
        self.asked: list[list[int]] = []

    @property
    def count(self) -> int:
        return len(self.lengths)

    def reset(self, seeds) -> dict[int, Observation | None]:
        self.steps = [0] * len(self.lengths)
        return {index: self._observe(index, 0) for index in seeds}

    def step_async(self, actions) -> None:
        self.asked.append(sorted(actions))
        self.under_way = list(actions)

    def step_wait(self) -> dict[int, Any]:
        return {index: self._step(index) for index in self.under_way}

    def renderers(self) -> list[str]:
        return []

    def episode_metadata(self, index: int) -> dict[str, Any]:
        return {"index": index}

    def _step(self, index: int):
        self.steps[index] += 1
        if self.lost_at == (index, self.steps[index]):
            return None
        done = self.steps[index] == self.lengths[index]
        return self._observe(index, self.steps[index]), 1.0, done, False, {"env_steps": 2, "success": done}

    def _observe(self, index: int, step: int) -> Observation:
        last = step == self.lengths[index]
        image = np.full((4, 4, 3), 10 * index + step, np.uint8)
        return Observation(image=image, is_first=step == 0, is_last=last, is_terminal=last)


def test_a_round_records_frames_actions_and_scores():
    seen: list[tuple[int, int]] = []
    envs = CountingEnvs([3])
    policy = UniformPolicy(2, 0, "test")
    played = play_round(
        envs, policy, [11], 40, 2, record=True, keep_frames=True, on_step=lambda a, e: seen.append((a, e))
    )
    episode, builder = played[0]
    assert (episode.seed, episode.length, episode.env_steps, episode.episode_return) == (11, 3, 6, 3.0)
    assert episode.success is True
    assert episode.metadata == {"index": 0}
    assert [frame[0, 0, 0] for frame in episode.frames] == [0, 1, 2, 3]
    arrays = builder.arrays()
    assert arrays["is_first"].tolist() == [True, False, False, False]
    assert arrays["is_terminal"].tolist() == [False, False, False, True]
    np.testing.assert_array_equal(arrays["reward"], [0, 1, 1, 1])
    expected = [policy.act(np.zeros((1, 4, 4, 3), np.uint8), np.ones(1, bool), 40 + i)[0] for i in range(3)]
    np.testing.assert_array_equal(arrays["action"][1:], expected)
    assert seen == [(1, 2)] * 3


def test_environments_that_end_early_wait_for_the_others():
    envs = CountingEnvs([2, 4])
    played = play_round(envs, UniformPolicy(2, 0, "test"), [1, 2], 0, 2)
    assert [item[0].length for item in played] == [2, 4]
    assert envs.asked == [[0, 1], [0, 1], [1], [1]]


def test_what_is_done_meanwhile_is_done_between_the_two_halves_of_each_step():
    envs, seen = CountingEnvs([2, 3]), []
    play_round(
        envs, UniformPolicy(2, 0, "test"), [1, 2], 0, 2,
        meanwhile=lambda steps: seen.append((steps, len(envs.asked), list(envs.steps))),
        on_step=lambda steps, _: seen.append((steps, len(envs.asked), list(envs.steps))),
    )  # fmt: skip
    assert seen == [
        (2, 1, [0, 0]), (2, 1, [1, 1]), (2, 2, [1, 1]), (2, 2, [2, 2]), (1, 3, [2, 2]), (1, 3, [2, 3]),
    ]  # fmt: skip


def test_a_lost_environment_costs_its_own_episode_only():
    envs = CountingEnvs([3, 3], lost_at=(0, 2))
    played = play_round(envs, UniformPolicy(2, 0, "test"), [1, 2], 0, 2, record=True)
    assert played[0] is None
    assert played[1][0].length == 3


@pytest.fixture(scope="module")
def config() -> EnvConfig:
    return EnvConfig(render_profile="fast", action_repeat=8, time_limit=80)


def test_the_random_policy_without_rendering_scores_as_it_does_with(config):
    envs = LocalEnvs("dmc/cartpole_balance", config, 1)
    scores = random_policy_scores(envs._envs[0], 2, seed=3)
    assert scores == random_policy_scores(envs._envs[0], 2, seed=3)
    assert scores["lengths"] == [10, 10]
    assert 0 < min(scores["returns"]) <= max(scores["returns"]) < 80
    assert len(set(scores["seeds"])) == 2
    played = play_round(envs, UniformPolicy(envs.action_dim, 3, "x"), scores["seeds"][:1], 0, envs.action_dim)
    assert played[0][0].length == 10
    envs.close()
