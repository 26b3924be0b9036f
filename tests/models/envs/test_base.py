"""The protocol that all suites share: repeats, limits, success, and numbers that are refused."""

from __future__ import annotations

import numpy as np
import pytest

from ipv_bench.errors import ConfigError, SimulationError, TrainingError
from models.envs import EnvConfig
from tests.models.envs.toy_env import LIMIT, ToyEnv

MIDDLE = np.zeros(2, np.float32)


def _play(env: ToyEnv, steps: int):
    return [env.step(MIDDLE) for _ in range(steps)]


def test_a_repeat_sums_rewards_and_counts_control_steps() -> None:
    env = ToyEnv("toy/plain", EnvConfig(action_repeat=3))
    env.reset(0)
    _, reward, _, _, info = env.step(MIDDLE)
    assert reward == 1 + 2 + 3
    assert info == {"env_steps": 3, "success": False}


def test_a_repeat_stops_at_success_and_at_the_end() -> None:
    env = ToyEnv("toy/plain", EnvConfig(action_repeat=3))
    env.reset(0)
    taken = [info["env_steps"] for *_, info in _play(env, 4)]
    assert taken == [3, 1, 3, 3]  # success comes at control step 4; the episode ends at 10
    assert sum(taken) == LIMIT


def test_success_is_latched_over_the_episode_and_forgotten_at_the_next() -> None:
    env = ToyEnv("toy/plain", EnvConfig())
    env.reset(0)
    assert [info["success"] for *_, info in _play(env, LIMIT)] == [False] * 3 + [True] * 7
    env.reset(1)
    assert env.step(MIDDLE)[4]["success"] is False


def test_time_limit_truncates_and_termination_terminates() -> None:
    env = ToyEnv("toy/plain", EnvConfig(time_limit=5, action_repeat=2))
    env.reset(0)
    steps = _play(env, 3)
    assert [step[4]["env_steps"] for step in steps] == [2, 2, 1]  # success at step 4 is the end of a repeat anyway
    observation, _, terminated, truncated, _ = steps[-1]
    assert (terminated, truncated, observation["is_last"], observation["is_terminal"]) == (False, True, True, False)

    env = ToyEnv("toy/terminates", EnvConfig())
    env.reset(0)
    observation, _, terminated, truncated, _ = _play(env, 3)[-1]
    assert (terminated, truncated, observation["is_last"], observation["is_terminal"]) == (True, False, True, True)


def test_first_observation_is_marked() -> None:
    env = ToyEnv("toy/plain", EnvConfig())
    first = env.reset(3)
    assert first["is_first"]
    assert not first["is_last"]
    assert not env.step(MIDDLE)[0]["is_first"]


def test_actions_are_scaled_to_the_bounds_and_clipped() -> None:
    env = ToyEnv("toy/plain", EnvConfig())
    env.reset(0)
    for action in ((-1, -1), (1, 1), (0, 0), (5, -7)):
        env.step(np.array(action, np.float32))
    np.testing.assert_allclose(env.actions, [[-2, 0], [2, 1], [0, 0.5], [2, 0]])


def test_an_episode_without_frames_is_the_same_episode() -> None:
    with_frames, without = (ToyEnv("toy/plain", EnvConfig(action_repeat=2)) for _ in range(2))
    with_frames.reset(5)
    without.begin(5)
    for _ in range(3):
        assert with_frames.step(MIDDLE)[1:] == without.simulate(MIDDLE)


@pytest.mark.parametrize("action", [np.array([np.nan, 0]), np.array([np.inf, 0])])
def test_an_action_that_is_not_finite_is_refused(action: np.ndarray) -> None:
    env = ToyEnv("toy/plain", EnvConfig())
    env.reset(0)
    with pytest.raises(TrainingError, match="not finite") as caught:
        env.step(action)
    assert not isinstance(caught.value, SimulationError)  # the policy's fault, not the environment's


def test_an_action_of_a_wrong_size_is_refused() -> None:
    env = ToyEnv("toy/plain", EnvConfig())
    env.reset(0)
    with pytest.raises(TrainingError, match=r"shape \(3,\)\n.*\(2,\)\n.*one action at a time"):
        env.step(np.zeros(3))


def test_a_step_outside_an_episode_is_refused() -> None:
    env = ToyEnv("toy/plain", EnvConfig())
    with pytest.raises(TrainingError, match="outside an episode"):
        env.step(MIDDLE)
    env.reset(0)
    _play(env, LIMIT)
    with pytest.raises(TrainingError, match="outside an episode"):
        env.step(MIDDLE)


@pytest.mark.parametrize(("task", "found"), [("toy/nan_reward@2", "reward is nan"), ("toy/wrong_shape@2", "65, 65")])
def test_what_the_simulator_gets_wrong_is_named(task: str, found: str) -> None:
    env = ToyEnv(task, EnvConfig())
    env.reset(0)
    env.step(MIDDLE)
    with pytest.raises(SimulationError, match=found) as caught:
        env.step(MIDDLE)
    assert f"`ipv-bench record {task}`" in caught.value.fix


def test_a_time_limit_beyond_the_suites_is_refused() -> None:
    with pytest.raises(ConfigError, match="time_limit is 11"):
        ToyEnv("toy/plain", EnvConfig(time_limit=LIMIT + 1))
