"""The protocol that every reader follows, and what readers share: the fields of a run that a log does not state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field

from ipv_bench.config import Config
from ipv_bench.errors import ConfigError, InputError
from reports.scores.findings import Finding
from reports.scores.score_table import PretrainedRun, ScoredRun

FIELDS_FILE = "run_fields.yaml"
"""A file that users may put beside logs that do not say what they are: method, variant, suite, task, seed, ..."""


class ReadConfig(Config):
    """What a report's config says about reading, under `read:`."""

    metric: Literal["auto", "return", "success"] = "auto"
    """Which score to take where a log has both; auto: the one that the task suite is reported in."""


class ReadOptions(ReadConfig):
    """What readers are asked for."""

    names: tuple[str, ...] = ()
    """Patterns for the names that logs do not hold; see `name_patterns`."""
    columns: dict[str, str] = {}
    """Our name → a table's name of a column (method, variant, suite, task, seed, step, score, metric)."""


@dataclass(frozen=True)
class Read:
    """What one file or folder held."""

    runs: tuple[ScoredRun, ...] = ()
    pretraining: tuple[PretrainedRun, ...] = ()
    findings: tuple[Finding, ...] = ()


class Reader(Protocol):
    """Reads one format.

    A reader of folders may have `uses`, patterns of the files that it reads there (`("*tfevents*",)`): the folder's
    other files, and the folders in it, are then offered to other readers. Without it, an accepted folder is the
    reader's whole. A reader of tables may have `fits(path, options)`: whether the config's `columns:` and `names:` make
    a file readable that it would not accept; it is asked first, when the config has either.
    """

    name: str
    """Name of the format, as shown in the report."""

    def accepts(self, path: Path) -> bool:
        """Whether `path` (a file, or a folder that is one run) is of this format; looks at names and first bytes."""

    def read(self, path: Path, options: ReadOptions) -> Read:
        """Read all runs of `path`.

        Raises:
            InputError: it cannot be used; the message says what was found and expected.
        """


MAX_ACTION_REPEAT = 1_000_000_000
"""Steps of a log may count iterations of many control steps; 20 digits fit into no table."""


class RunFields(Config):
    """Contents of `run_fields.yaml`: what a log does not say about its run. Every field is optional."""

    method: str | None = None
    """Name of the method."""
    variant: str | None = None
    """What distinguishes it from the method's preset."""
    suite: str | None = None
    """Task suite."""
    task: str | None = None
    """Task within the suite."""
    seed: int | str | None = None
    """The seed."""
    action_repeat: int | None = Field(None, ge=1, lt=MAX_ACTION_REPEAT)
    """Control steps per agent step."""
    steps_are: Literal["env_steps", "agent_steps"] = "env_steps"
    """Unit of the log's steps; agent steps are multiplied by `action_repeat`."""
    score: str | None = None
    """Name of the log's value to take as the score."""
    pretraining: dict[str, Any] = {}
    """{kind, data, num_videos, updates}, for `where` selections."""
    env_fingerprint: dict[str, Any] = {}
    """What the scores depend on besides the method."""


def read_fields(folder: Path) -> RunFields:
    """`run_fields.yaml` of a folder; all fields unset when there is none.

    Raises:
        ConfigError: it is not YAML, or has unknown or wrong fields.
    """
    from ipv_bench.bounded_yaml import read_yaml
    from ipv_bench.config import build

    path = folder / FIELDS_FILE
    if not path.is_file():
        return RunFields()
    fix = "correct it (docs/reports/formats.md), or delete it"
    values = read_yaml(path, error=ConfigError, fix=fix)
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no mapping", expected="lines such as method: sac", fix=fix)
    fields = build(RunFields, values)
    check_pretraining(fields.pretraining, str(path))
    if fields.steps_are == "agent_steps" and not fields.action_repeat:
        raise ConfigError(
            f"{path}: steps_are is agent_steps",
            expected="action_repeat beside it",
            fix="add `action_repeat: 2` (the run's own), or leave steps_are out where steps are env steps",
        )
    return fields


def check_pretraining(values: Mapping[str, Any], where: str) -> None:
    """Refuse a record of pre-training that the report could not compare or show.

    Raises:
        InputError: `data` is no list of names, or another field no name or number.
    """
    data = values.get("data")
    if data is not None and not (isinstance(data, list) and all(isinstance(name, str) for name in data)):
        raise InputError(
            f"{where}: pretraining.data is {str(data)[:100]!r}",
            expected="a list of data sets' names",
            fix="write `data: [ssv2]`" if isinstance(data, str) else "correct it there",
        )
    for name in ("kind", "num_videos", "updates"):
        value = values.get(name)
        if value is not None and not isinstance(value, str | int | float):
            raise InputError(
                f"{where}: pretraining.{name} is {str(value)[:100]!r}",
                expected="a name or a number",
                fix="correct it there, or leave it out",
            )


def first_bytes(path: Path, count: int = 4096) -> bytes:
    """The start of a file; empty when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except OSError:
        return b""


def unreadable(path: Path, error: Exception, expected: str) -> InputError:
    """The error for a file of a known format whose contents are damaged."""
    return InputError(f"{path} cannot be read: {error}", expected=expected, fix="restore the file, or leave it out")
