"""Task suites by name. Each is a plug-in: an object that follows `Suite`, ours one file each with a `SUITE`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ipv_bench.errors import ConfigError, MissingDependencyError, PluginError, UnknownNameError
from ipv_bench.extras import EXTRAS, missing_extras
from ipv_bench.plugins import all_plugins, find_plugin, plugin_names
from models.envs.base import Env, EnvConfig, explained_simulator_errors, refuse_longer_time_limit

MEMBERS = ("name", "tasks", "make", "package", "config")


@dataclass(frozen=True)
class Suite:
    """A family of tasks.

    Attributes:
        name: first part of the task names.
        tasks: names of the tasks, without the suite.
        make: builds an environment from the task's name and a config.
        package: what `pip install` brings the simulator.
        config: the suite's config; a subclass of `EnvConfig` where it has fields of its own.
        extra: the extra of ours that brings the simulator; empty: `package` is another package's own affair.
        has_task: whether it has a task of that name beside `tasks`, for a suite whose tasks cannot all be listed.
        time_limit: control steps after which the suite itself ends an episode of a task, by its name; None: only the
            environment says (`Env.time_limit`). A run that needs longer episodes is then refused before its start.
    """

    name: str
    tasks: tuple[str, ...]
    make: Callable[[str, Any], Env]
    package: str
    config: type[EnvConfig] = EnvConfig
    extra: str = ""
    has_task: Callable[[str], bool] | None = None
    time_limit: Callable[[str], int] | None = None


def find_suite(name: str) -> Suite:
    """The suite called `name`.

    Raises:
        UnknownNameError: there is none.
        PluginError: it belongs to another package and does not work.
    """
    suite: Suite = find_plugin("suites", name).load(MEMBERS)
    return suite


def suite_of(task: str) -> Suite:
    """The suite of a task `<suite>/<task>`.

    Raises:
        UnknownNameError: no such task; the nearest one is named.
    """
    name, _, short = task.partition("/")
    if name in plugin_names("suites"):
        suite = find_suite(name)
        others = getattr(suite, "has_task", None)  # a suite of another package need not say
        if short in suite.tasks or (others is not None and others(short)):
            return suite
    raise UnknownNameError("task", task, task_names())


def known_time_limit(task: str, config: EnvConfig) -> int | None:
    """Control steps that an episode of `<suite>/<task>` can have, as far as it is known without the environment.

    Raises:
        UnknownNameError: no such task.
        ConfigError: `env.time_limit` is longer than the suite's own.
    """
    own = getattr(suite_of(task), "time_limit", None)  # a suite of another package need not say
    if own is None:
        return config.time_limit
    limit: int = own(task.partition("/")[2])
    refuse_longer_time_limit(task, config, limit)
    return config.time_limit or limit


def task_names() -> list[str]:
    """All tasks that can be listed, `<suite>/<task>`, sorted; any Gymnasium environment is one too: `gym/<id>`."""
    return sorted(f"{name}/{task}" for name in plugin_names("suites") for task in find_suite(name).tasks)


def make_env(task: str, config: EnvConfig | None = None) -> Env:
    """Build an environment; what is random in it comes from the seeds given to `reset`.

    Args:
        task: `<suite>/<task>`, such as `dmc/cartpole_balance`.
        config: how it is run and seen; None: defaults.

    Raises:
        UnknownNameError: no such task.
        ConfigError: a field is set that belongs to another suite.
        MissingDependencyError: the suite's package, or offscreen rendering, is absent.
        SimulationError: the simulator cannot build the task.
    """
    suite = suite_of(task)
    config = _own_config(suite, config or EnvConfig())
    try:
        with explained_simulator_errors(task, suite.package):
            env = suite.make(task.partition("/")[2], config)
    except ModuleNotFoundError as error:
        extra = extra_of(suite)
        if extra:
            raise missing_extras(f"task {task}", extra) from error
        raise MissingDependencyError(
            f"{task} needs the Python package {error.name!r}, which is not installed",
            expected=suite.package,
            fix=f"{sys.executable} -m pip install '{suite.package}'",
        ) from error
    env.package = suite.package
    return env


def extra_of(suite: Suite) -> str:
    """The extra of ours that brings a suite's simulator; empty where it has none."""
    extra = getattr(suite, "extra", "")  # a suite of another package need not say
    return extra if extra in EXTRAS else ""


def fields_of_other_suites(suite: str) -> dict[str, str]:
    """Config fields that only other suites have → the suites that each belongs to, as a message names them.

    Suites of other packages that do not work are passed over: this suite needs nothing of them.
    """
    own = find_suite(suite).config.model_fields if suite else EnvConfig.model_fields
    owners: dict[str, list[str]] = {}
    for plugin in all_plugins("suites"):
        try:
            fields = find_suite(plugin.name).config.model_fields
        except PluginError:
            continue
        for name in fields:
            if name not in own:
                owners.setdefault(name, []).append(plugin.name)
    return {
        name: f"the suite{'s' if len(suites) > 1 else ''} {' and '.join(suites)}" for name, suites in owners.items()
    }


def refuse_fields_of_other_suites(suite: str, keys: Iterable[str]) -> None:
    """Refuse config keys `env.<field>` whose field belongs to another suite.

    Raises:
        ConfigError: naming that suite.
    """
    strange = fields_of_other_suites(suite)
    for key in keys:
        name = key.split(".")[1]
        if name in strange:
            raise ConfigError(
                f"env.{name} belongs to {strange[name]}, and "
                + (f"{suite} tasks do not have it" if suite else "no suite is named"),
                expected="fields that all suites have, and the suite's own",
                fix=f"leave env.{name} out, or choose a task of {strange[name]}",
            )


def _own_config(suite: Suite, config: EnvConfig) -> EnvConfig:
    """`config` as the suite's own type; a config of another suite may set only what all suites have."""
    if type(config) is suite.config:
        return config
    chosen = config.model_dump(exclude_unset=True)
    refuse_fields_of_other_suites(suite.name, [f"env.{name}" for name in chosen])
    return suite.config(**chosen)
