"""Meta-world: seeds that seed, success that lasts, experts that succeed, images that are upright."""

from __future__ import annotations

import warnings
from contextlib import closing

import numpy as np
import pytest
from numpy.typing import NDArray

from ipv_bench.errors import ConfigError, SimulationError
from models.envs import EnvConfig, make_env
from models.envs.metaworld import PAPER_TASKS, MetaworldConfig, MetaworldEnv
from tests.models.envs.episodes import check_seeding

FAST = EnvConfig(render_profile="fast")
UP = np.array([0, 0, 1, 0], np.float32)


def _expert(name: str):
    from metaworld.policies import ENV_POLICY_MAP

    return ENV_POLICY_MAP[name.replace("_", "-") + "-v3"]()


def _expert_action(expert, env: MetaworldEnv) -> NDArray[np.float64]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some experts ask for more than 1
        return np.clip(expert.get_action(env.state), -1, 1)


def test_equal_seeds_give_equal_episodes() -> None:
    with closing(make_env("metaworld/lever_pull", FAST)) as env:
        check_seeding(env)


@pytest.mark.parametrize("name", PAPER_TASKS)
def test_seeds_decide_positions_whatever_was_played_before(name: str) -> None:
    """Neither numpy's global generator nor an earlier episode has a say; frames are not needed to see it."""
    states = []
    with closing(make_env(f"metaworld/{name}")) as env:
        for seed, junk in ((7, 1), (8, 2), (7, 3)):
            np.random.seed(junk)
            env.begin(seed)
            states.append([env.state] + [(env.simulate(UP), env.state)[1] for _ in range(5)])
            for _ in range(20):
                env.simulate(np.random.uniform(-1, 1, 4))
    np.testing.assert_array_equal(states[0], states[2])
    assert not np.array_equal(states[0], states[1])


@pytest.mark.parametrize("name", PAPER_TASKS)
def test_scripted_experts_succeed_ten_of_ten(name: str) -> None:
    """The wrapper passes on actions, positions and goals as the package means them."""
    successes = 0
    with closing(make_env(f"metaworld/{name}")) as env:
        for seed in range(10):
            expert = _expert(name)
            env.begin(seed)
            for _ in range(500):
                _, _, truncated, info = env.simulate(_expert_action(expert, env))
                if truncated or info["success"]:
                    break
            successes += info["success"]
    assert successes == 10


def test_success_is_latched_and_does_not_end_the_episode() -> None:
    with closing(make_env("metaworld/reach")) as env:
        expert = _expert("reach")
        env.begin(0)
        now, latched, rewards = [], [], []
        for step in range(500):
            reward, terminated, truncated, info = env.simulate(UP if step > 200 else _expert_action(expert, env))
            assert not terminated
            assert truncated == (step == 499)
            now.append(np.linalg.norm(env.state[:3] - env.state[-3:]) < 0.05)
            latched.append(info["success"])
            rewards.append(reward)
    first = latched.index(True)
    assert not any(latched[:first])
    assert all(latched[first:])
    assert not now[-1]  # the hand has left the goal since
    assert min(rewards) >= 0
    assert max(rewards) <= 10


def test_a_repeated_action_stops_at_success() -> None:
    with closing(make_env("metaworld/reach", EnvConfig(action_repeat=50))) as env:
        env.begin(0)
        goal = env.state[-3:]
        for _ in range(10):
            towards = np.append(np.clip((goal - env.state[:3]) * 4, -1, 1), 0)
            *_, info = env.simulate(towards)
            if info["success"]:
                break
        assert info["success"]
        assert info["env_steps"] < 50


def _shade(image: NDArray[np.uint8], kind: str) -> NDArray[np.float64]:
    """Mean row and column of the red arm, or of the brown table."""
    red, green, blue = (image[..., channel].astype(int) for channel in range(3))
    arm = (red > 90) & (green < 45) & (blue < 45)
    table = (red - blue > 20) & (red - green > 8) & (green > 50)
    return np.argwhere(arm if kind == "arm" else table).mean(axis=0)


def test_images_are_upright() -> None:
    """The arm is above the table, and a hand that rises goes up in the image."""

    def hand_row(image: NDArray[np.uint8]) -> float:
        green, red = image[..., 1].astype(int), image[..., 0].astype(int)
        return float(np.argwhere(green - red > 80)[:, 0].mean())  # the cyan finger

    with closing(make_env("metaworld/drawer_open", FAST)) as env:
        image = env.reset(0)["image"]
        before = hand_row(image)
        for _ in range(15):
            after = env.step(UP)[0]["image"]
    arm, table = _shade(image, "arm"), _shade(image, "table")
    assert arm[0] < table[0] - 10
    assert arm[1] < 32  # mirrored as the papers' images: the arm stands on the left
    assert hand_row(after) < before - 3


def test_without_the_flip_the_scene_hangs_from_the_ceiling() -> None:
    with closing(make_env("metaworld/drawer_open", EnvConfig(render_profile="fast", flip=False))) as env:
        image = env.reset(0)["image"]
        assert env.fingerprint()["flip"] is False
    assert _shade(image, "arm")[0] > _shade(image, "table")[0] + 10


def test_faithful_images_hardly_differ_from_the_simulators_own() -> None:
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    images = {}
    for profile in ("faithful", "fast"):
        with closing(make_env("metaworld/door_lock", EnvConfig(render_profile=profile))) as env:
            images[profile] = env.reset(4)["image"].astype(int)
            state = env.state
    viewer = ALL_V3_ENVIRONMENTS["door-lock-v3"](render_mode="rgb_array", camera_name="corner", width=64, height=64)
    viewer._freeze_rand_vec, viewer.seeded_rand_vec, viewer._set_task_called = False, True, True
    viewer.seed(4)
    np.testing.assert_array_equal(viewer.reset()[0][:36], state[:36])
    own = viewer.render()[::-1].astype(int)
    viewer.close()
    assert np.abs(images["faithful"] - own).mean() < 0.3
    assert np.abs(images["fast"] - own).mean() < 6


def test_reward_versions() -> None:
    """v2 rewards an open hand at the button, v2-paper a closed one; v1 is another scale."""

    def last(version: str, grip: float) -> float:
        with closing(make_env("metaworld/button_press_topdown_wall", MetaworldConfig(reward_version=version))) as env:
            env.begin(0)
            return [env.simulate(np.array([0, 1, 0, grip]))[0] for _ in range(40)][-1]

    opened, closed = -1.0, 1.0
    assert last("v2", opened) > 1.5 * last("v2", closed)
    assert last("v2-paper", closed) > 1.5 * last("v2-paper", opened)
    assert last("v1", opened) < 0


def test_the_papers_reward_exists_for_its_six_tasks_only() -> None:
    with pytest.raises(ConfigError, match="v2-paper"):
        make_env("metaworld/hammer", MetaworldConfig(reward_version="v2-paper"))


def test_an_unstable_simulation_is_named() -> None:
    with closing(make_env("metaworld/reach", FAST)) as env:
        env.begin(0)
        env._simulator.data.qvel[0] = np.nan
        with pytest.raises(SimulationError, match="unstable"):
            env.simulate(UP)


def test_an_unknown_camera_names_the_nearest() -> None:
    with closing(make_env("metaworld/reach", EnvConfig(camera="corner9"))) as env:
        with pytest.raises(ConfigError, match="camera is 'corner9'") as caught:
            env.reset(0)
        assert "did you mean 'corner" in caught.value.fix
