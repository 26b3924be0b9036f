"""Task suites by name. Each is a plug-in: an object that follows `Suite`, ours one file each with a `SUITE`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ipv_bench.errors import ConfigError, MissingDependencyError, UnknownNameError
from ipv_bench.plugins import find_plugin, plugin_names
from models.envs.base import Env, EnvConfig, explained_simulator_errors

MEMBERS = ("name", "tasks", "make", "package")
_OPTIONAL_FIELDS = ("reward_version", "vary", "assets")


@dataclass(frozen=True)
class Suite:
    """A family of tasks.

    Attributes:
        name: first part of the task names.
        tasks: names of the tasks, without the suite.
        make: builds an environment from the task's name and a config.
        package: what `pip install` brings the simulator.
        fields: optional config fields that mean something here.
    """

    name: str
    tasks: tuple[str, ...]
    make: Callable[[str, EnvConfig], Env]
    package: str
    fields: frozenset[str] = field(default_factory=frozenset)


def suite_of(task: str) -> Suite:
    """The suite of a task `<suite>/<task>`.

    Raises:
        UnknownNameError: no such task; the nearest one is named.
    """
    name, _, short = task.partition("/")
    if name in plugin_names("suites"):
        suite = _load(name)
        if short in suite.tasks:
            return suite
    raise UnknownNameError("task", task, task_names())


def task_names() -> list[str]:
    """All tasks, `<suite>/<task>`, sorted."""
    return sorted(f"{name}/{task}" for name in plugin_names("suites") for task in _load(name).tasks)


def make_env(task: str, config: EnvConfig | None = None) -> Env:
    """Build an environment; what is random in it comes from the seeds given to `reset`.

    Args:
        task: `<suite>/<task>`, such as `dmc/cartpole_balance`.
        config: how it is run and seen; None: defaults.

    Raises:
        UnknownNameError: no such task.
        ConfigError: a field is set that the suite does not have.
        MissingDependencyError: the suite's package, or offscreen rendering, is absent.
        SimulationError: the simulator cannot build the task.
    """
    suite = suite_of(task)
    config = config or EnvConfig()
    for name in _OPTIONAL_FIELDS:
        if name not in suite.fields and getattr(config, name) != EnvConfig.model_fields[name].default:
            raise ConfigError(
                f"env.{name} is {getattr(config, name)!r}, but {suite.name} tasks do not have it",
                fix=f"leave env.{name} out",
            )
    try:
        with explained_simulator_errors(task, suite.package):
            env = suite.make(task.partition("/")[2], config)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{task} needs the Python package {error.name!r}, which is not installed",
            expected=suite.package,
            fix=f"pip install '{suite.package}'",
        ) from error
    env.package = suite.package
    return env


def _load(name: str) -> Suite:
    suite: Suite = find_plugin("suites", name).load(MEMBERS)
    return suite
