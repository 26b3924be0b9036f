"""Our tasks as Gymnasium's environments: `gymnasium.make("ipv_bench/dmcr-cheetah_run-v0")` after `import models.envs`.

Importing this registers them.

The other way round, Gymnasium's environments as our tasks, is `models.envs.gym`. Facts: docs/suites/gym.md.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray
from pydantic import ValidationError

from ipv_bench.errors import ConfigError
from ipv_bench.plugins import OURS
from models.envs.gym_registered import OUR_NAMESPACE
from models.envs.registry import Suite, find_suite, make_env, suite_of

VERSION = 0
FRAMES_PER_SECOND = 30
"""For players of rendered videos; control rates differ by suite, and none of ours depends on this."""


class GymnasiumTask(gymnasium.Env[NDArray[np.uint8], NDArray[np.float32]]):
    """A task of ours behind Gymnasium's interface.

    Observations are images, uint8 (image_size, image_size, 3); actions are in [-1, 1], float32 (A,). The time limit
    truncates. `info` holds `env_steps` (control steps of this step), `success` where the suite defines it, and at a
    reset `factors`, what was drawn for the episode, where the suite draws something.

    Args:
        task: `<suite>/<task>`.
        render_mode: `rgb_array`, or None.
        config: fields of the suite's config: `render_profile="fast"`, `action_repeat=2`, …

    Raises:
        ConfigError: a field that the suite does not have, or a wrong value.
        UnknownNameError, MissingDependencyError, SimulationError: as `models.envs.make_env`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": FRAMES_PER_SECOND}

    def __init__(self, task: str, render_mode: str | None = None, **config: Any) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ConfigError(
                f"render_mode is {render_mode!r}",
                expected="rgb_array or None: images only, no window",
                fix="leave it out, and show what `render` and `step` return",
            )
        self._env = make_env(task, _config(task, config))
        self.render_mode = render_mode
        size = self._env.config.image_size
        self.observation_space = Box(0, 255, (size, size, 3), np.uint8)
        self.action_space = Box(-1.0, 1.0, (self._env.action_dim,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Start an episode: that of `seed`, else one that the environment's own generator draws; no options."""
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(2**31)) if seed is None else seed
        observation = self._env.reset(drawn)
        factors = self._env.episode_metadata()
        return observation["image"], {"env_steps": 0, **({"factors": factors} if factors else {})}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Hold `action` (A,), in [-1, 1], for `action_repeat` control steps."""
        observation, reward, terminated, truncated, info = self._env.step(action)
        if info["success"] is None:
            del info["success"]
        return observation["image"], reward, terminated, truncated, info

    def render(self) -> NDArray[np.uint8] | None:
        """The current image; None unless the mode is `rgb_array`."""
        return self._env.look() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Release the renderer and the simulator."""
        self._env.close()


def gymnasium_id(task: str) -> str:
    """The id of a task `<suite>/<task>` in Gymnasium's registry."""
    return f"{OUR_NAMESPACE}/{task.replace('/', '-')}-v{VERSION}"


def register_suite(name: str) -> list[str]:
    """Register the tasks of a suite, ours or another package's; those that are registered stay as they are.

    Returns:
        their ids.

    Raises:
        UnknownNameError: no such suite.
        PluginError: it belongs to another package and does not work.
    """
    suite: Suite = find_suite(name)
    tasks = {gymnasium_id(f"{name}/{task}"): f"{name}/{task}" for task in suite.tasks}
    for its_id, task in tasks.items():
        if its_id not in gymnasium.registry:
            gymnasium.register(
                its_id,
                entry_point=f"{__name__}:{GymnasiumTask.__name__}",
                kwargs={"task": task},
                nondeterministic=bool(suite.config().inexact),
            )
    return list(tasks)


def register_our_suites() -> None:
    """Register every task of our suites that can be listed; no simulator is imported."""
    for name in OURS["suites"]:
        register_suite(name)


def _config(task: str, fields: dict[str, Any]) -> Any:
    owner = suite_of(task)
    unknown = sorted(set(fields) - set(owner.config.model_fields))
    if unknown:
        raise ConfigError(
            f"{task} has no {', '.join(unknown)}",
            expected=f"of {', '.join(sorted(owner.config.model_fields))}",
            fix=f"leave {', '.join(unknown)} out, or write one of these",
        )
    try:
        return owner.config(**fields)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']} (found {e.get('input')!r})" for e in error.errors()]
        raise ConfigError(
            f"{task}: {'; '.join(lines)}",
            expected=f"values as {owner.config.__name__} describes them",
            fix="correct them, or leave them out for their defaults",
        ) from None


register_our_suites()
