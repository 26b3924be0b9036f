"""Environments of Gymnasium's registry: found, made, and held against what a suite of pictures needs.

Each function raises before a run begins, and names the field of the config to change; see docs/suites/gym.md.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipv_bench.errors import ConfigError, MissingDependencyError, UsageError, nearest_name
from ipv_bench.extras import EXTRAS, install_command, missing_modules
from ipv_bench.file_names import shown
from models.envs.gym_pictures import as_picture, is_picture_space

OUR_NAMESPACE = "ipv_bench"
"""Before the ids of our own tasks in the registry; see `models.envs.gymnasium_tasks`."""


def find_spec(name: str, module: str) -> Any:
    """What is registered under an id, after `module` (if any) was imported.

    Raises:
        UsageError: nothing is, or it is registered by a module that was not imported.
        ConfigError: `module` is no module's name, or cannot be imported.
    """
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


def make_registered(name: str, kwargs: Mapping[str, Any], render: bool) -> Any:
    """The environment, without Gymnasium's checker around it.

    Args:
        name: an id of the registry.
        kwargs: arguments of its constructor.
        render: in the mode `rgb_array`.

    Raises:
        MissingDependencyError: a package that the environment needs is absent.
        ConfigError: its constructor does not take these arguments, or they are not for it.
    """
    import gymnasium

    # As for our MuJoCo suites (`models.envs.rendering`): without a screen there is nothing else to draw with.
    os.environ.setdefault("MUJOCO_GL", "egl")
    mode: dict[str, Any] = {"render_mode": "rgb_array"} if render else {}
    _refuse_arguments_of_make(kwargs)
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


def _refuse_arguments_of_make(kwargs: Mapping[str, Any]) -> None:
    """Refuse what `gymnasium.make` keeps for itself: no constructor gets it, and time limits would change."""
    import gymnasium

    named = inspect.signature(gymnasium.make).parameters.values()
    own = {parameter.name for parameter in named if parameter.kind is not parameter.VAR_KEYWORD} | {"render_mode"}
    found = next((key for key in kwargs if key in own), None)
    if found is None:
        return
    raise ConfigError(
        f"env.kwargs.{found} is {shown(kwargs[found])}",
        expected="none: it is ours to set" if found == "render_mode"
        else "arguments of the environment's constructor; this one is of gymnasium.make itself",
        fix={
            "render_mode": "leave it out; env.picture says where pictures come from",
            "max_episode_steps": "set env.time_limit instead, up to the limit that the environment is registered with",
            "disable_env_checker": "leave it out; env.check says whether Gymnasium's checker is asked",
        }.get(found, "leave it out"),
    )  # fmt: skip


def _missing(name: str, error: Exception) -> MissingDependencyError:
    """Our extra, where it brings what is missing; else the environment's own words."""
    absent = missing_modules(EXTRAS["driving"].modules)
    ours = any(module.lower() in str(error).lower() for module in absent)
    return MissingDependencyError(
        f"gym/{name} needs a package that is not installed: {error}",
        expected="all that the environment imports",
        fix=install_command("driving") if ours else "install what the message names",
    )


def pictures_are_rendered(name: str, kwargs: Mapping[str, Any], picture: str, image_key: str) -> bool:
    """Whether pictures come from `render()`.

    Args:
        name: an id of the registry.
        kwargs: arguments of its constructor.
        picture: "auto", "observation" or "render".
        image_key: entry of a dictionary observation that is the image; empty: the observation itself.

    Raises:
        ConfigError: there are none.
    """
    env = make_registered(name, kwargs, render=False)
    try:
        space, modes = env.observation_space, env.metadata.get("render_modes") or []
    finally:
        env.close()
    rendered = picture == "render" or not is_picture_space(_entry_space(name, space, image_key))
    if rendered and (picture == "observation" or image_key):
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


def entry(observation: Any, key: str) -> Any:
    """An entry of a dictionary observation; the observation itself where `key` is empty."""
    return observation[key] if key else observation


def action_bounds(name: str, space: Any, bound: float | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest action, (A,) each; `bound` stands on both sides of components without one.

    Raises:
        ConfigError: the action is no box of real numbers, or components have no bound.
    """
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
def check_rules(name: str, kwargs: str, render: bool, image_key: str) -> None:
    """Gymnasium's checker, and one picture, on an environment of their own.

    Args:
        name: an id of the registry.
        kwargs: arguments of its constructor, as JSON.
        render: whether pictures come from `render()`.
        image_key: as for `pictures_are_rendered`.

    Raises:
        ConfigError: rules are broken, or there is no picture.
    """
    from gymnasium.utils.env_checker import check_env

    env = make_registered(name, json.loads(kwargs), render)
    try:
        action_bounds(name, env.action_space, 1.0)
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
        picture = env.render() if render else entry(observation, image_key)
    finally:
        env.close()
    if as_picture(picture) is None:
        where = "render()" if render else "the observation"
        raise ConfigError(
            f"gym/{name} has no pictures: {where} gives {described(picture)}",
            expected="uint8 (H, W, 3)",
            fix="mend its `render`, or name an entry of its observation that is a picture with env.image_key"
            if render
            else "mend the environment, whose space promises pictures, or set env.picture=render",
        )


def _first_lines(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text[:300]}"


def described(value: Any) -> str:
    """An array's dtype and shape; else its type."""
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
