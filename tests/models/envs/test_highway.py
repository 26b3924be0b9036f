"""Driving from above: pictures that are not blank, seeds that seed, collisions that end an episode."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
from numpy.typing import NDArray

from ipv_bench.errors import ConfigError
from models.envs import Env, EnvConfig, make_env
from models.envs.highway import TASKS

pytest.importorskip("highway_env", reason="the extra `driving` is not installed")


def _frames(env: Env, seed: int) -> NDArray[np.uint8]:
    """The first 20 frames of an episode in which the car keeps its lane and its speed, about."""
    actions = np.random.default_rng(0).uniform(-0.02, 0.02, (19, 2))
    return np.stack([env.reset(seed)["image"]] + [env.step(action)[0]["image"] for action in actions])


@pytest.mark.parametrize("name", TASKS)
def test_equal_seeds_give_equal_episodes(name: str) -> None:
    with closing(make_env(f"highway/{name}")) as env:
        first, other, again = (_frames(env, seed) for seed in (7, 8, 7))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("driver", ["dummy", "x11", "none-such"])
def test_frames_are_drawn_whatever_video_driver_is_set(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", driver)
    with closing(make_env("highway/highway")) as env:
        image = env.reset(0)["image"]
        drawn_by = env.renderer()
    assert image.shape == (64, 64, 3)
    assert image.std() > 10
    assert drawn_by.startswith("pygame ")


def test_full_throttle_ends_in_a_collision_and_steering_ends_off_the_road() -> None:
    with closing(make_env("highway/highway")) as env:
        for action in ((0.0, 1.0), (1.0, 0.0)):
            env.begin(1)
            for _ in range(env.time_limit):
                reward, terminated, truncated, _ = env.simulate(np.array(action))
                assert 0 <= reward <= 1
                if terminated or truncated:
                    break
            assert (terminated, truncated) == (True, False)


def test_throttle_and_steering_are_not_mixed_up() -> None:
    with closing(make_env("highway/highway")) as env:
        env.begin(0)
        vehicle = env._simulator.vehicle
        speed, heading = vehicle.speed, vehicle.heading
        env.simulate(np.array([0.0, 0.5]))
        assert vehicle.speed > speed
        assert vehicle.heading == pytest.approx(heading, abs=1e-6)
        env.simulate(np.array([0.3, 0.0]))
        assert vehicle.heading != pytest.approx(heading, abs=1e-3)


def test_actions_beyond_the_bounds_are_clipped() -> None:
    with closing(make_env("highway/highway_fast")) as env:
        places = []
        for action in ((-1.0, 1.0), (-7.0, 7.0)):
            env.begin(2)
            for _ in range(3):
                env.simulate(np.array(action))
            places.append((*env._simulator.vehicle.position, env._simulator.vehicle.speed))
    assert places[0] == places[1]


def test_a_camera_is_refused() -> None:
    with pytest.raises(ConfigError, match="no cameras"):
        make_env("highway/highway", EnvConfig(camera="front"))
