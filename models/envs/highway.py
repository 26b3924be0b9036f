"""Driving among traffic seen from above: `highway/highway` and `highway/highway_fast`, by highway-env.

The driving task that anybody can run: no server, no GPU, steering and throttle as in CARLA. Facts:
docs/suites/highway.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipv_bench.errors import ConfigError
from models.envs.base import ControlStep, Env, EnvConfig
from models.envs.registry import Suite

PACKAGE = "highway-env>=1.12,<1.13"

TASKS = {"highway": ("HighwayEnv", 40), "highway_fast": ("HighwayEnvFast", 30)}
"""Task → class of highway-env, and seconds per episode. `roundabout` rewards discrete actions only."""

CONTROL_HZ = 5
MAX_STEERING_DEGREES = 2.0
"""At 25 m/s this turns the car as sharply as tyres comfortably hold (4.4 m/s² to the side). With highway-env's 45
degrees every wrong turn leaves the road within a second; with 10, random steering does within two."""
SUPERSAMPLING = 4
"""The scene is drawn at so many times the image's size and averaged: a car is six pixels long, a lane line a fourth."""
VIEW_METRES = 50.0
"""Side of the square that is seen."""
NO_TABLE = {"type": "AttributesObservation", "attributes": []}
"""Instead of the table of cars that highway-env makes each step: with pandas, it costs more than the simulation."""
PLACE = (0.3, 0.5)
"""Where the car stands in the image, from the left and from above: it drives to the right."""


class HighwayConfig(EnvConfig):
    """What all suites have."""

    def unread(self) -> Mapping[str, str]:
        """See `EnvConfig.unread`."""
        return {"render_profile": "highway-env draws its road in one way"}


class HighwayEnv(Env):
    """A task of highway-env with continuous steering and throttle.

    The action is steering and throttle (brake where negative), as in CARLA. The reward is highway-env's, 0 to 1 a step:
    speed, lane, no collision. A collision ends the episode (`terminated`), and so does leaving the road; the time limit
    truncates it.

    Args:
        name: a key of `TASKS`.
        config: how it is run and seen.

    Raises:
        ConfigError: a camera is named; there is one view.
    """

    def __init__(self, name: str, config: EnvConfig) -> None:
        if config.camera is not None:
            raise ConfigError(
                f"env.camera is {config.camera!r}, and highway tasks have no cameras",
                expected="null: the road is seen from above",
                fix="leave env.camera out",
            )
        _let_pictures_be_drawn()
        import highway_env.envs

        kind, seconds = TASKS[name]
        side, steering = config.image_size * SUPERSAMPLING, float(np.radians(MAX_STEERING_DEGREES))
        settings = {
            "action": {"type": "ContinuousAction", "steering_range": [-steering, steering]},
            "observation": NO_TABLE,
            "policy_frequency": CONTROL_HZ,
            "duration": seconds,
            "offroad_terminal": True,
            "offscreen_rendering": True,
            "screen_width": side,
            "screen_height": side,
            "scaling": side / VIEW_METRES,
            "centering_position": list(PLACE),
        }
        self._simulator: Any = getattr(highway_env.envs, kind)(config=settings, render_mode="rgb_array")
        super().__init__(f"highway/{name}", config, -np.ones(2), np.ones(2), seconds * CONTROL_HZ)

    def fingerprint(self) -> dict[str, Any]:
        """Versions, image and protocol."""
        config = self.config
        return {
            "suite": "highway",
            "highway_env": metadata.version("highway-env"),
            "flip": bool(config.flip),
            "image_size": config.image_size,
            "action_repeat": config.action_repeat,
            "time_limit": config.time_limit,
            "control_hz": CONTROL_HZ,
            "steering_degrees": MAX_STEERING_DEGREES,
            "view_metres": VIEW_METRES,
        }

    def renderer(self) -> str:
        """See `Env.renderer`."""
        return f"pygame {metadata.version('pygame-ce')}, in software"

    def close(self) -> None:
        """Close the drawing surface."""
        self._simulator.close()

    def _start_episode(self, seed: int) -> None:
        self._simulator.reset(seed=seed % 2**32)

    def _control_step(self, action: NDArray[np.float64]) -> ControlStep:
        steering, throttle = action
        _, reward, terminated, truncated, _ = self._simulator.step(np.array([throttle, steering]))
        left_the_road = not self._simulator.vehicle.on_road
        return ControlStep(float(reward), terminated=bool(terminated) or left_the_road, truncated=bool(truncated))

    def _image(self) -> NDArray[np.uint8]:
        large = self._simulator.render()  # (S·k, S·k, 3)
        size, times = self.config.image_size, SUPERSAMPLING
        mean = large.reshape(size, times, size, times, 3).mean(axis=(1, 3))
        image = np.asarray(mean + 0.5).astype(np.uint8)
        return image[::-1].copy() if self.config.flip else image


def _let_pictures_be_drawn() -> None:
    """Take away a setting with which highway-env draws nothing, or stops.

    `SDL_VIDEODRIVER=dummy` is what other games want on a machine without a screen; here every frame is blank with it,
    without a word. Others, such as `x11`, want a screen. Drawing off screen needs no driver at all.
    """
    os.environ.pop("SDL_VIDEODRIVER", None)
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")


def make(name: str, config: EnvConfig) -> HighwayEnv:
    """Build `highway/<name>`."""
    return HighwayEnv(name, config)


SUITE = Suite(
    "highway", tuple(TASKS), make, PACKAGE, config=HighwayConfig, extra="driving",
    time_limit=lambda name: TASKS[name][1] * CONTROL_HZ,
)  # fmt: skip
