"""The environment of a run that is played again: as its record says, but for what no record decides.

A run may be somebody else's. What would run a program or import a module by its record alone is left out there
(`EnvConfig.of_record`), and who plays the run names it: `--set env.module=…`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ipv_bench.config import build, parse_overrides
from ipv_bench.errors import ConfigError, IpvBenchError, MissingDependencyError, UsageError
from ipv_bench.file_names import shown
from ipv_bench.run_record import RunRecord
from models.envs.base import EnvConfig


def withheld_fields(record: RunRecord, config_class: type[EnvConfig]) -> dict[str, Any]:
    """Fields of `env` that the record holds and does not decide → value there; those at their defaults left out."""
    values = record.config.get("env", {})
    if not isinstance(values, Mapping):
        return {}
    taken, fields = config_class.of_record(values), config_class.model_fields
    return {
        key: value
        for key, value in values.items()
        if key in fields and key not in taken and value != fields[key].get_default(call_default_factory=True)
    }


def played_env(record: RunRecord, env: EnvConfig, overrides: Mapping[str, Any] | Iterable[str]) -> EnvConfig:
    """The environment of a run with what its record does not decide.

    Args:
        record: of the run.
        env: as `saved_config` has it.
        overrides: `env.key=value` texts, or dotted key → value: of fields that the record does not decide, or that say
            where things run.

    Raises:
        ConfigError: another key, or a wrong value.
    """
    changes, kind = parse_overrides(overrides), type(env)
    if not changes:
        return env
    free = dict.fromkeys([*withheld_fields(record, kind), *kind.unsaved_fields, *kind.resource_fields])
    values = env.model_dump()
    for key, value in changes.items():
        name = key.removeprefix("env.") if key.startswith("env.") else ""
        if name not in free and not (name in values and values[name] == value):
            raise ConfigError(
                f"{key} is set, and a run is evaluated as it was trained",
                expected="of this run " + (", ".join(f"env.{each}" for each in free) or "no key")
                + ": what its record does not decide",
                fix=f"leave {key} out; `ipv-bench record SUITE/TASK --policy RUN --set …` plays a run otherwise",
            )  # fmt: skip
        values[name] = value
    return build(kind, values)


@contextmanager
def withheld_is_told(record: RunRecord, env: EnvConfig) -> Iterator[None]:
    """An environment that cannot be opened without what was withheld from it says so, and what to do.

    Args:
        record: of the run.
        env: that is opened; a field that was named is withheld no more.
    """
    try:
        yield
    except MissingDependencyError:
        raise
    except IpvBenchError as error:
        fields = type(env).model_fields
        absent = {
            key: value
            for key, value in withheld_fields(record, type(env)).items()
            if getattr(env, key) == fields[key].get_default(call_default_factory=True)
        }
        if absent:
            named = ", ".join(f"env.{key}={shown(value)}" for key, value in absent.items())
            options = " ".join(f"--set {shlex.quote(f'env.{key}={value}')}" for key, value in absent.items())
            error.found += (
                f"; the run was made with {named}, which is not taken from its record: a run from somebody else must "
                "not decide what code runs here"
            )
            instead = "" if isinstance(error, UsageError) or not error.fix else f"; or {error.fix}"
            error.fix = f"where you trust it, name it: {options} (a module's folder must be on PYTHONPATH){instead}"
        raise
