"""Any installed Gymnasium environment with a continuous action and pictures: `gym/CarRacing-v3`, `gym/<id>`.

The other way round, our tasks as Gymnasium's environments, is `models.envs.gymnasium_tasks`. Facts: docs/suites/gym.md.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import warnings
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue

from ipv_bench.errors import ConfigError, MissingDependencyError, UsageError, nearest_name
from ipv_bench.extras import EXTRAS, install_command, missing_modules
from ipv_bench.file_names import shown
from models.envs.base import ControlStep, Env, EnvConfig
from models.envs.gym_pictures import Fit, as_picture, fitted, is_picture_space
from models.envs.registry import Suite
from models.envs.rendering import gl_in_use

PACKAGE = "gymnasium>=1.2,<1.5"

ENDLESS_TASK_LIMIT = 1000
"""Control steps of an episode where the environment is registered without a limit and the config names none."""

OUR_NAMESPACE = "ipv_bench"

_ID = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}/)?[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")


class GymConfig(EnvConfig):
    """What this suite has beside what all suites have."""

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
        spec = _find_spec(name, config.module)
        self._from_render = _pictures_are_rendered(name, config)
        if config.check:
            _check(name, _as_json(config.kwargs), self._from_render, config.image_key)
        self._simulator = _make(name, config.kwargs, self._from_render)
        space = self._simulator.action_space
        low, high = _bounds(name, space, config.action_bound)
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
        picture = self._simulator.render() if self._from_render else _entry(self._last, self._config.image_key)
        found = as_picture(picture)
        if found is None:
            raise self._fault(f"the picture is {_described(picture)}", "uint8 (H, W, 3)")
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


def _find_spec(name: str, module: str) -> Any:
    import gymnasium

    if module:
        _import(module)
    if name in gymnasium.registry:
        return gymnasium.spec(name)
    known = [key for key in gymnasium.registry if not key.startswith(f"{OUR_NAMESPACE}/")]
    near = nearest_name(name, known)
    raise UsageError(
        f"Gymnasium knows no environment {shown(name)}" + (f" after `import {module}`" if module else ""),
        expected=f"an id with its version, such as {near or 'CarRacing-v3'}",
        fix=(f"did you mean gym/{near}? " if near else "")
        + "An environment of another package is registered by its module: --set env.module=gymnasium_robotics",
    )


def _import(module: str) -> None:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", module):
        raise ConfigError(
            f"env.module is {shown(module)}",
            expected="a module's name, as after `import`",
            fix="write package.module, neither a path nor a file's name",
        )
    try:
        importlib.import_module(module)
    except Exception as error:  # foreign code may raise anything
        raise ConfigError(
            f"env.module: `import {module}` raised {type(error).__name__}: {error}",
            expected="a module that can be imported and registers environments",
            fix="install the package that has it, or set PYTHONPATH to its folder",
        ) from error


def _make(name: str, kwargs: Mapping[str, Any], render: bool) -> Any:
    import gymnasium

    # As for our MuJoCo suites (`models.envs.rendering`): without a screen there is nothing else to draw with.
    os.environ.setdefault("MUJOCO_GL", "egl")
    mode: dict[str, Any] = {"render_mode": "rgb_array"} if render else {}
    if "render_mode" in kwargs:
        raise ConfigError(
            f"env.kwargs.render_mode is {shown(kwargs['render_mode'])}",
            expected="none: it is ours to set",
            fix="leave it out; env.picture says where pictures come from",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an older version; runs record which one they used
            return gymnasium.make(name, disable_env_checker=True, **mode, **kwargs)
    except gymnasium.error.DependencyNotInstalled as error:
        raise _missing(name, error) from error
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise ConfigError(
            f"gym/{name} does not take env.kwargs {', '.join(kwargs) or 'render_mode'}: {error}",
            expected="arguments of its constructor" if kwargs else "an environment that renders to rgb_array",
            fix="correct env.kwargs" if kwargs else "let its constructor take render_mode",
        ) from error


def _missing(name: str, error: Exception) -> MissingDependencyError:
    """Our extra, where it brings what is missing; else the environment's own words."""
    absent = missing_modules(EXTRAS["driving"].modules)
    ours = any(module.lower() in str(error).lower() for module in absent)
    return MissingDependencyError(
        f"gym/{name} needs a package that is not installed: {error}",
        expected="all that the environment imports",
        fix=install_command("driving") if ours else "install what the message names",
    )


def _pictures_are_rendered(name: str, config: GymConfig) -> bool:
    """Whether pictures come from `render()`.

    Raises:
        ConfigError: there are none.
    """
    env = _make(name, config.kwargs, render=False)
    try:
        space, modes = env.observation_space, env.metadata.get("render_modes") or []
    finally:
        env.close()
    rendered = config.picture == "render" or not is_picture_space(_entry_space(name, space, config.image_key))
    if rendered and (config.picture == "observation" or config.image_key):
        raise ConfigError(
            f"the observation of gym/{name} is no picture: {space}",
            expected="uint8 (H, W, 3), (H, W, 1) or (H, W)",
            fix="env.picture=render takes what `render()` draws; env.image_key names an entry of a dictionary",
        )
    if rendered and "rgb_array" not in modes:
        raise ConfigError(
            f"gym/{name} has no pictures: its observation is none, and it does not render to rgb_array",
            expected="an image observation, or `rgb_array` among its render modes",
            fix="wrap it so that it draws; models here see pictures only",
        )
    return rendered


def _entry_space(name: str, space: Any, key: str) -> Any:
    if not key:
        return space
    entries = getattr(space, "spaces", None)
    if not isinstance(entries, Mapping) or key not in entries:
        had = f"entries {', '.join(entries)}" if isinstance(entries, Mapping) else f"none: {space} has no entries"
        raise ConfigError(
            f"env.image_key={key}: the observation of gym/{name} has no {key!r}",
            expected=f"one of its {had}" if isinstance(entries, Mapping) else had,
            fix="name an entry that is a picture" if isinstance(entries, Mapping) else "leave env.image_key out",
        )
    return entries[key]


def _entry(observation: Any, key: str) -> Any:
    return observation[key] if key else observation


def _bounds(name: str, space: Any, bound: float | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from gymnasium.spaces import Box

    if not isinstance(space, Box) or not np.issubdtype(space.dtype, np.floating):
        raise ConfigError(
            f"the action of gym/{name} is {space}",
            expected="a Box of real numbers; agents here have continuous actions",
            fix="some environments have a continuous form: --set env.kwargs.continuous=true, or an id as "
            "MountainCarContinuous-v0",
        )
    low, high = (np.asarray(side, np.float64).reshape(-1) for side in (space.low, space.high))
    if not (np.isfinite(low).all() and np.isfinite(high).all()) and bound is None:
        raise ConfigError(
            f"the action of gym/{name} has no bounds: {space}",
            expected="finite bounds, onto which [-1, 1] is mapped",
            fix="--set env.action_bound=1.0 gives bounds to the components that have none",
        )
    limit = np.inf if bound is None else bound
    return np.where(np.isfinite(low), low, -limit), np.where(np.isfinite(high), high, limit)


@lru_cache(maxsize=64)
def _check(name: str, kwargs: str, render: bool, image_key: str) -> None:
    """Gymnasium's checker, and one picture, on an environment of their own.

    Raises:
        ConfigError: rules are broken, or there is no picture.
    """
    from gymnasium.utils.env_checker import check_env

    env = _make(name, json.loads(kwargs), render)
    try:
        _bounds(name, env.action_space, 1.0)
        try:
            if env.spec.nondeterministic:
                raise AssertionError("it is registered as nondeterministic: equal seeds give different episodes")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # advice, such as bounds that could be tighter
                check_env(env.unwrapped, skip_render_check=True, skip_close_check=True)
        except Exception as error:  # the checker asserts, and foreign code may raise anything
            raise ConfigError(
                f"gym/{name} breaks Gymnasium's rules: {_first_lines(error)}",
                expected="what gymnasium.utils.env_checker.check_env accepts",
                fix="mend the environment; --set env.check=false runs it as it is, and its runs are marked exact=false",
            ) from error
        observation, _ = env.reset(seed=0)
        picture = env.render() if render else _entry(observation, image_key)
    finally:
        env.close()
    if as_picture(picture) is None:
        where = "render()" if render else "the observation"
        raise ConfigError(
            f"gym/{name} has no pictures: {where} gives {_described(picture)}",
            expected="uint8 (H, W, 3)",
            fix="mend its `render`, or name an entry of its observation that is a picture with env.image_key"
            if render
            else "mend the environment, whose space promises pictures, or set env.picture=render",
        )


def _as_json(kwargs: Mapping[str, Any]) -> str:
    return json.dumps(kwargs, sort_keys=True)


def _first_lines(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text[:300]}"


def _described(value: Any) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


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
