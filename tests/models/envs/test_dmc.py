"""dm-control tasks: seeds, bounds, limits, and images equal to dm-control's own."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from ipv_bench.errors import SimulationError
from models.envs import EnvConfig, make_env
from tests.models.envs.episodes import check_seeding

FAST = EnvConfig(render_profile="fast")


@pytest.mark.parametrize("task", ["dmc/cartpole_balance", "dmc/cheetah_run"])
def test_equal_seeds_give_equal_episodes(task: str) -> None:
    with closing(make_env(task, FAST)) as env:
        check_seeding(env)


def test_an_environment_made_anew_plays_the_same_episode() -> None:
    frames = []
    for _ in range(2):
        with closing(make_env("dmc/reacher_easy", FAST)) as env:
            frames.append(env.reset(11)["image"])
    np.testing.assert_array_equal(*frames)


def test_default_images_are_dm_controls_own() -> None:
    with closing(make_env("dmc/walker_walk", EnvConfig(render_profile="default"))) as env:
        for seed in range(2):
            image = env.reset(seed)["image"]
            np.testing.assert_array_equal(image, env.physics.render(64, 64, camera_id=0))
        env.physics.free()


def test_profiles_camera_size_and_flip_are_what_they_say() -> None:
    def image(**fields) -> np.ndarray:
        with closing(make_env("dmc/cheetah_run", EnvConfig(**fields))) as env:
            return env.reset(1)["image"].astype(int)

    default = image(render_profile="default")
    assert np.abs(default - image(render_profile="faithful")).mean() < 0.05
    assert 0.5 < np.abs(default - image(render_profile="fast")).mean() < 5
    assert np.abs(default - image(render_profile="default", camera="back")).mean() > 5
    np.testing.assert_array_equal(default[::-1], image(render_profile="default", flip=True))
    assert image(render_profile="fast", image_size=96).shape == (96, 96, 3)


def test_the_pole_hangs_and_stands_upright_in_the_image() -> None:
    """The cart is on its rail and the pole above it: rows run from the top."""
    with closing(make_env("dmc/cartpole_balance", FAST)) as env:
        image = env.reset(0)["image"].astype(int)
    yellowish = image[..., 0] - image[..., 2] > 60  # cart and pole; sky and floor are blue
    rows = np.flatnonzero(yellowish.any(axis=1))
    width = yellowish.sum(axis=1)
    assert width[rows[-4:]].mean() > 2 * width[rows[:4]].mean()  # the broad cart is below the thin pole


def test_an_episode_ends_at_the_suites_limit() -> None:
    with closing(make_env("dmc/cartpole_balance", EnvConfig(action_repeat=8))) as env:
        env.begin(0)
        total, steps, ended = 0, 0, False
        while not ended:
            _, terminated, truncated, info = env.simulate(np.zeros(1))
            ended, total, steps = terminated or truncated, total + info["env_steps"], steps + 1
        assert (terminated, truncated) == (False, True)
        assert (total, steps) == (1000, 125)
        assert info["success"] is None


def test_rewards_of_a_repeat_are_those_of_its_control_steps() -> None:
    returns = []
    for repeat in (1, 4):
        with closing(make_env("dmc/cheetah_run", EnvConfig(action_repeat=repeat))) as env:
            env.begin(3)
            action = np.full(env.action_dim, 0.5)
            returns.append(sum(env.simulate(action)[0] for _ in range(40 // repeat)))
    assert returns[0] == pytest.approx(returns[1], rel=1e-12)


def test_an_unstable_simulation_is_named() -> None:
    with closing(make_env("dmc/cartpole_balance", FAST)) as env:
        env.reset(0)
        env.physics.data.qvel[0] = np.nan
        with pytest.raises(SimulationError, match="unstable"):
            env.step(np.zeros(1))


def test_actions_without_bounds_are_taken_as_they_are() -> None:
    with closing(make_env("dmc/lqr_lqr_2_1", FAST)) as env:
        env.begin(0)
        env.simulate(np.array([0.25]))
        assert env.physics.data.ctrl[0] == 0.25


def test_the_fingerprint_tells_versions_and_view() -> None:
    with closing(make_env("dmc/cheetah_run", EnvConfig(action_repeat=2))) as env:
        found = env.fingerprint()
    assert found["suite"] == "dmc"
    assert found["mujoco"] == "3.3.0"
    assert found["render_profile"] == "faithful"
    assert (found["camera"], found["flip"], found["action_repeat"]) == (0, False, 2)
