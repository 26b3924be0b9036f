"""Config of `ipv-bench record`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from pydantic import Field, create_model

from ipv_bench.config import Config, build, check_key, merge, nested, parse_overrides
from ipv_bench.errors import ConfigError
from models.envs.base import EnvConfig
from models.envs.registry import refuse_fields_of_other_suites, suite_of


class RecordConfig(Config):
    """How episodes are recorded; `env` is the suite's own."""

    env: EnvConfig = EnvConfig()
    workers: int = Field(1, ge=1)
    """Environments that play at once, each in a process of its own. Never changes a byte."""
    step_timeout_seconds: float = Field(120.0, gt=0)
    """An environment that takes longer for one step is killed and started again; its episode is played again."""
    smoothness: float = Field(0.9, ge=0, lt=1)
    """Policy `smooth`: correlation between an action and the one before; 0 is `uniform`."""
    explore: bool = False
    """Policy of a run: sample its actions, as while it was trained; false takes the most likely one."""


READ_BY = {"smoothness": ("smooth", "the policy smooth"), "explore": ("run", "the policy of a run")}
"""Key that one kind of policy alone reads → that kind, and in words."""


RESOURCE_KEYS = ("workers", "step_timeout_seconds")
"""Keys that may change when a recording is continued."""


def resolve_recording(
    task: str, kind: str, overrides: Mapping[str, Any] | Iterable[str], env: Mapping[str, Any] | None = None
) -> RecordConfig:
    """The config of a recording.

    Args:
        task: `<suite>/<task>`; the suite owns the fields of `env` beside those that all suites have.
        kind: of the policy: "uniform", "smooth", "expert" or "run".
        overrides: `key=value` texts, or dotted key → value.
        env: fields of `env` that hold where no override says otherwise.

    Raises:
        UnknownNameError: no such task.
        ConfigError: unknown key, a key of another suite or policy, or a wrong value.
    """
    suite = suite_of(task)
    own = suite.config
    made = create_model("RecordConfig", __base__=RecordConfig, __module__=__name__, env=(own, own()))
    config_class = cast(type[RecordConfig], made)
    changes = parse_overrides(overrides)
    refuse_fields_of_other_suites(
        suite.name, [key for key in changes if key.startswith("env.") and key.count(".") == 1]
    )
    values: dict[str, Any] = {"env": dict(env or {})}
    for key, value in changes.items():
        check_key(config_class, key)
        reader, words = READ_BY.get(key, (kind, ""))
        if reader != kind:
            raise ConfigError(f"{key} is set, and only {words} reads it", expected=f"no {key}", fix=f"leave {key} out")
        values = merge(values, nested(key, value))
    return build(config_class, values)
