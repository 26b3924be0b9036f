"""Any installed Gymnasium environment with a continuous action and pictures: `gym/CarRacing-v3`, `gym/<id>`.

The other way round, our tasks as Gymnasium's environments, is `models.envs.gymnasium_tasks`. Facts: docs/suites/gym.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import metadata
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue

from ipv_bench.errors import ConfigError, UsageError
from ipv_bench.file_names import shown
from models.envs.base import ControlStep, Env, EnvConfig
from models.envs.gym_pictures import Fit, as_picture, fitted
from models.envs.gym_registered import (
    OUR_NAMESPACE,
    action_bounds,
    check_rules,
    described,
    entry,
    find_spec,
    make_registered,
    pictures_are_rendered,
)
from models.envs.registry import Suite
from models.envs.rendering import gl_in_use

PACKAGE = "gymnasium>=1.2,<1.5"

ENDLESS_TASK_LIMIT = 1000
"""Control steps of an episode where the environment is registered without a limit and the config names none."""

_ID = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}/)?[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")


class GymConfig(EnvConfig):
    """What this suite has beside what all suites have."""

    def unread(self) -> Mapping[str, str]:
        """See `EnvConfig.unread`."""
        return {"render_profile": "an environment of Gymnasium draws its pictures in its own way"}

    module: str = ""
    """Python module to import first, which registers the environment. A run's record decides it only where an
    installed package that asks for gymnasium brings the module."""

    kwargs: dict[str, JsonValue] = {}
    """Arguments of the environment's constructor, as `env.kwargs.domain_randomize=true` for CarRacing."""

    picture: Literal["auto", "observation", "render"] = "auto"
    """Where images come from: the observation, or `render()` in the mode `rgb_array`. `auto`: the observation where it
    is an image, else `render()`."""

    image_key: str = ""
    """Entry of a dictionary observation that is the image; empty: the observation itself."""

    fit: Fit = "stretch"
    """Pictures that are not square: `stretch` changes their proportions, `crop` keeps the middle square."""

    success_key: str = ""
    """Entry of `info` that says whether the goal is reached; empty: the task defines no success."""

    success_optional: bool = False
    """A whole episode without that entry counts as failed; else it is an error, since the key may be misspelt."""

    action_bound: float | None = Field(None, gt=0)
    """Bound, on both sides, of action components that have none of their own."""

    check: bool = True
    """Ask Gymnasium's own checker first; an environment that breaks its rules is refused."""

    @property
    def inexact(self) -> str:  # type: ignore[override]
        """Without the checker nobody knows whether seeds seed."""
        return "" if self.check else "env.check is off: nothing has shown that equal seeds give equal episodes"

    @classmethod
    def of_record(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Without a module that no package installed for Gymnasium brings; see `EnvConfig.of_record`."""
        taken = super().of_record(values)
        if not _belongs_to_gymnasium(taken.get("module")):
            taken.pop("module", None)
        return taken


class GymEnv(Env):
    """An environment of Gymnasium's registry.

    Args:
        name: its id there.
        config: how it is run and seen.

    Raises:
        UsageError: no environment of that id is registered.
        MissingDependencyError: a package that the environment needs is absent.
        ConfigError: its action is not a box of real numbers, it has no pictures, or it breaks Gymnasium's rules; or a
            field that does not fit it.
    """

    def __init__(self, name: str, config: GymConfig) -> None:
        self._id = name
        _refuse_camera(name, config)
        spec = find_spec(name, config.module)
        self._from_render = pictures_are_rendered(name, config.kwargs, config.picture, config.image_key)
        if config.check:
            check_rules(name, json.dumps(config.kwargs, sort_keys=True), self._from_render, config.image_key)
        self._simulator = make_registered(name, config.kwargs, self._from_render)
        space = self._simulator.action_space
        low, high = action_bounds(name, space, config.action_bound)
        self._action_shape, self._action_type = space.shape, space.dtype
        limit = spec.max_episode_steps or config.time_limit or ENDLESS_TASK_LIMIT
        super().__init__(f"gym/{name}", config, low, high, limit)
        self._config = config
        self._last: Any = None
        self._info_keys: set[str] = set()

    def fingerprint(self) -> dict[str, Any]:
        """Versions of Gymnasium and of the package that brings the environment; arguments, picture and protocol."""
        config = self._config
        return {
            "suite": "gym",
            "gymnasium": metadata.version("gymnasium"),
            "environment": _origin(self._simulator),
            "kwargs": dict(config.kwargs),
            "picture": "render" if self._from_render else "observation",
            "image_key": config.image_key,
            "fit": config.fit,
            "flip": bool(config.flip),
            "image_size": config.image_size,
            "action_low": self._action_low.tolist(),
            "action_high": self._action_high.tolist(),
            "action_repeat": config.action_repeat,
            "time_limit": self.time_limit,
            "success_key": config.success_key,
        }

    def renderer(self) -> str:
        """The OpenGL in use where the environment draws by it; else the package that brings the environment."""
        return gl_in_use() or f"drawn by the environment itself ({_origin(self._simulator)})"

    def close(self) -> None:
        """Close the environment."""
        self._simulator.close()

    def _start_episode(self, seed: int) -> None:
        self._last, info = self._simulator.reset(seed=seed % 2**31)
        self._info_keys = set(info)

    def _control_step(self, action: NDArray[np.float64]) -> ControlStep:
        given = action.astype(self._action_type).reshape(self._action_shape)
        self._last, reward, terminated, truncated, info = self._simulator.step(given)
        self._info_keys.update(info)
        ended = bool(terminated or truncated) or self._elapsed + 1 >= self.time_limit
        return ControlStep(float(reward), bool(terminated), bool(truncated), self._reached(info, ended))

    def _reached(self, info: Mapping[str, Any], ended: bool) -> bool | None:
        key = self._config.success_key
        if not key:
            return None
        if key in info:
            value = np.asarray(info[key])
            if value.size != 1 or value.dtype.kind not in "biuf":
                raise ConfigError(
                    f"{self.task}: info[{key!r}] is {shown(info[key])}",
                    expected="true, false or a number",
                    fix='name another key with env.success_key, or set it to "" where the task has no success',
                )
            return bool(value.reshape(()))
        if ended and key not in self._info_keys and not self._config.success_optional:
            known = ", ".join(sorted(map(str, self._info_keys))) or "nothing"
            raise ConfigError(
                f"{self.task}: a whole episode's info had no {key!r}",
                expected=f"env.success_key to be in it; it had: {known}",
                fix="correct env.success_key; or, where success alone is reported, --set env.success_optional=true",
            )
        return False

    def _image(self) -> NDArray[np.uint8]:
        picture = self._simulator.render() if self._from_render else entry(self._last, self._config.image_key)
        found = as_picture(picture)
        if found is None:
            raise self._fault(f"the picture is {described(picture)}", "uint8 (H, W, 3)")
        image = fitted(found, self.config.image_size, self._config.fit)
        return image[::-1].copy() if self.config.flip else image


def has_task(name: str) -> bool:
    """Whether `gym/<name>` may be a task: a name as Gymnasium registers them. Which there are is known when it is made.

    Raises:
        UsageError: it is one of our own tasks, seen through Gymnasium.
    """
    if name.startswith(f"{OUR_NAMESPACE}/"):
        raise UsageError(
            f"gym/{shown(name)[1:-1]} is a task of ipv-bench, wrapped for Gymnasium",
            expected="its own name",
            fix="ipv_bench/dmc-cheetah_run-v0 is dmc/cheetah_run",
        )
    return _ID.fullmatch(name) is not None


def _refuse_camera(name: str, config: GymConfig) -> None:
    if config.camera is not None:
        raise ConfigError(
            f"env.camera is {config.camera!r}, and gym/{name} has no cameras that are known here",
            expected="null",
            fix="environments that have some take an argument: --set env.kwargs.camera_name=…",
        )


def _origin(env: Any) -> str:
    """The package, with its version, that has the environment's class; the module where that is not installed."""
    module = type(env.unwrapped).__module__
    top = module.partition(".")[0]
    for name in metadata.packages_distributions().get(top, ()):
        return f"{name} {metadata.version(name)}"
    return module


def _belongs_to_gymnasium(module: object) -> bool:
    """Whether a package that was installed for Gymnasium (it asks for it) brings a module."""
    if not isinstance(module, str) or not module:
        return False
    names = metadata.packages_distributions().get(module.partition(".")[0], ())
    asked = [text for name in names for text in metadata.requires(name) or ()]
    return any(re.match(r"gymnasium\b(?!-)", text, re.IGNORECASE) and "extra ==" not in text for text in asked)


def make(name: str, config: GymConfig) -> GymEnv:
    """Build `gym/<name>`."""
    return GymEnv(name, config)


SUITE = Suite("gym", (), make, PACKAGE, config=GymConfig, has_task=has_task)
