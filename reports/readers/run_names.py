"""Method, suite, task and seed of a log that does not hold them, or the question to the user where nobody can know."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from ipv_bench.errors import InputError
from reports.readers.base import FIELDS_FILE, ReadOptions, RunFields, read_fields
from reports.readers.config_beside import ConfigBeside, config_beside
from reports.readers.name_patterns import match_names
from reports.readers.path_layouts import (
    NEUTRAL,
    SEED,
    TIME,
    Fields,
    layout_fields,
    own_parts,
    run_name_fields,
    without_time,
)
from reports.readers.text_table import table_stem
from reports.scores.task_names import known_task, split_task

_WHOLE = {"method", "task", "seed"}
_CONVENTIONAL = re.compile(
    r"(progress|eval|evaluations?|train|training|results?|logs?|monitor|(.*[._])?monitor|metrics|scores?|history|data|"
    r"output|test|stats|summary|curves?|returns?|rewards?)([._-]?\d*)?(\.[a-z]+)?",
    re.IGNORECASE,
)
"""Names that tools give to a run's log: they say nothing about the run."""


class NamesError(InputError):
    """Nobody can say which method, task and seed a log is of.

    Attributes:
        pattern: a line `names: "..."` that would say it, made from the log's own path.
        reading: what that pattern would read in this path.
    """

    def __init__(self, found: str, *, pattern: str, reading: str) -> None:
        super().__init__(
            found,
            expected="a known layout of folders, a config file beside the log, or a pattern",
            fix=f"put one line into the report's config (--config FILE): {pattern}  which reads {reading}",
        )
        self.pattern, self.reading = pattern, reading

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuilt, (self.found, self.pattern, self.reading)


def _rebuilt(found: str, pattern: str, reading: str) -> NamesError:
    return NamesError(found, pattern=pattern, reading=reading)


@dataclass(frozen=True)
class RunNames:
    """What a log is of, and what else stands beside it.

    Attributes:
        method, variant, suite, task, seed: as in `ScoredRun`.
        fields: contents of `run_fields.yaml`.
        config: the config file beside the log.
    """

    method: str
    variant: str
    suite: str
    task: str
    seed: str
    fields: RunFields
    config: ConfigBeside

    @property
    def action_repeat(self) -> int | None:
        """Control steps per agent step, where something says it."""
        return self.fields.action_repeat or self.config.action_repeat

    @property
    def step_factor(self) -> int:
        """What the log's steps are multiplied by to be env steps."""
        repeat = self.action_repeat
        return repeat if self.fields.steps_are == "agent_steps" and repeat else 1


def names_of_log(log: Path, options: ReadOptions, inside: Mapping[str, str] | None = None) -> RunNames:
    """Names of the run that a log (a file, or a folder of files) is of.

    Args:
        log: its path.
        options: the config's `names:`.
        inside: fields that the log itself says.

    In this order: `run_fields.yaml` beside it, the config's `names:` patterns, then for task and seed the config file
    beside the log and the layout of the path, for the method the path before the config file: folders tell apart what
    users compare, and an algorithm's name does not.

    Raises:
        NamesError: method, task or seed stay unknown.
        ConfigError: `run_fields.yaml` is wrong.
    """
    folder = log if log.is_dir() else log.parent
    full, by_file = folder.resolve(), _by_its_file(log)
    fields, config = _fields_beside(folder), config_beside(folder)
    if inside:
        config = replace(config, fields={**config.fields, **inside})
    subjects, layout = _subjects(log, full), layout_fields(full)
    if by_file != full and not {*layout, *config.fields} >= _WHOLE:
        named = layout_fields(by_file)
        layout = named if named.keys() >= _WHOLE else layout
    asked = match_names(options.names, subjects)
    if asked is not None:
        found = _with_suite(asked)
        found = {**layout, **config.fields, **found} if "task" not in found else found
        found.setdefault("seed", config.fields.get("seed", "0"))
    else:
        found = {**layout, **config.fields}
        method = layout.get("method") or _folder_method(full, found) or config.fields.get("method")
        if method:
            found["method"] = method
    found = {**found, **_given(fields)}
    names = _complete(found, log, full if config.fields else by_file, config.fields)
    return replace(names, fields=fields, config=config)


def _by_its_file(log: Path) -> Path:
    """A file whose own name is none of a tool's stands for its run: `sac_Ant-v4_s3.csv` in a folder of all runs."""
    if log.is_dir() or _CONVENTIONAL.fullmatch(table_stem(log)) or log.suffix == ".npz":
        return (log if log.is_dir() else log.parent).resolve()
    return log.resolve().parent / re.sub(r"\.jsonl?$", "", table_stem(log))


def names_of_run(name: str, source: Path, options: ReadOptions) -> RunNames:
    """Names from a run's name in a table of a tracker, such as `Hopper-v4__sac__1`.

    Raises:
        NamesError: method, task or seed stay unknown.
    """
    asked = match_names(options.names, [name])
    found = _with_suite(asked) if asked is not None else run_name_fields(name)
    if asked is not None:
        found.setdefault("seed", "0")
    return _complete(found, source, PurePath(name), {}, what=f"run {name!r} of {source}")


def names_in_path(path: Path, options: ReadOptions) -> Fields:
    """What the `names:` patterns find in a file's path; nothing where none fits."""
    found = match_names(options.names, _subjects(path, path.resolve().parent))
    return _with_suite(found) if found else {}


def _subjects(log: Path, folder: Path) -> list[str]:
    """Spellings of a log's path that a pattern may describe: with the file, without its suffix, its run's folder."""
    found = [] if log.is_dir() else [str(folder / log.name), str(folder / table_stem(log)), str(folder / log.stem)]
    found.append(str(folder))
    while NEUTRAL.fullmatch(folder.name):
        folder = folder.parent
        found.append(str(folder))
    return list(dict.fromkeys(found))


def _fields_beside(folder: Path) -> RunFields:
    """`run_fields.yaml` of the log's folder, or of its run's folder when the log lies in `eval/` or the like."""
    here = folder.resolve()
    while not (here / FIELDS_FILE).is_file() and NEUTRAL.fullmatch(here.name):
        here = here.parent
    return read_fields(here)


def _given(fields: RunFields) -> Fields:
    values = {name: getattr(fields, name) for name in ("method", "variant", "suite", "task", "seed")}
    return {name: str(value) for name, value in values.items() if value is not None}


def _with_suite(found: Mapping[str, str]) -> Fields:
    """A pattern's fields; a task that names its suite itself is split, unless the pattern has the suite."""
    fields = dict(found)
    if "task" in fields and "suite" not in fields:
        fields["suite"], fields["task"] = split_task(fields["task"])
    return fields


def _folder_method(folder: PurePath, found: Mapping[str, str]) -> str:
    """The innermost folder that is no seed, date or task, once a config has said what the task and the seed are."""
    if "task" not in found or "seed" not in found:
        return ""
    for part in reversed(own_parts(folder)):
        plain = _without_seed(without_time(part), found["seed"])
        if not plain or SEED.fullmatch(plain) or TIME.fullmatch(plain) or "=" in plain or plain == found["task"]:
            continue
        if known_task(plain) or plain == f"{found.get('suite', '')}_{found['task']}":
            continue
        return plain
    return ""


def _without_seed(part: str, seed: str) -> str:
    return re.sub(rf"[-_](?:seed|run|s)?[-_=]?{re.escape(seed)}$", "", part, flags=re.IGNORECASE)


def _complete(
    found: Mapping[str, str], log: Path, path: PurePath, known: Mapping[str, str], what: str = ""
) -> RunNames:
    lacking = [name for name in ("method", "task", "seed") if not found.get(name)]
    if lacking:
        pattern, reading = suggestion(path, known)
        raise NamesError(
            f"nothing says which {' and '.join(lacking)} {what or log} is of", pattern=pattern, reading=reading
        )
    return RunNames(
        method=found["method"],
        variant=found.get("variant", ""),
        suite=found.get("suite", ""),
        task=found["task"],
        seed=found["seed"],
        fields=RunFields(),
        config=ConfigBeside(),
    )


def suggestion(path: PurePath, known: Mapping[str, str]) -> tuple[str, str]:
    """A `names:` line that fits a path, and what it reads there: an example to correct, not an answer.

    Args:
        path: a log's folder, or a run's name.
        known: fields that a config beside the log says, which the line need not.
    """
    parts = own_parts(path)[-3:] or [path.name or "run"]
    pieces, values = _roles(parts, known)
    for name in ("task", "method"):
        if name not in values:
            values[name] = f"MY_{name.upper()}"
            pieces[0] = f"{{{name}={values[name]}}}" + pieces[0]
    version = re.fullmatch(r"version_(\d+)", path.name)
    if version and "seed" not in values:
        pieces.append("version_{seed}")
        values["seed"] = version.group(1)
        parts = [*parts, path.name]
    reading = ", ".join(f"{name} {values[name]}" for name in ("method", "task", "seed") if name in values)
    return f'names: "{"/".join(pieces)}"', f"{'/'.join(parts)} as {reading}"


def _roles(parts: Sequence[str], known: Mapping[str, str]) -> tuple[list[str], Fields]:
    """Per folder, the pattern's piece; and the values that the pieces find. From the innermost folder outwards."""
    pieces: list[str] = []
    values: Fields = {name: known[name] for name in ("task", "seed") if "task" in known and name in known}
    for part in reversed(parts):
        number = SEED.fullmatch(part)
        name, mark, last = part.rpartition("_") if "_" in part else part.rpartition("-")
        if "seed" not in values and number and not TIME.fullmatch(part):
            values["seed"] = number.group(1)
            pieces.append(part[: number.start(1)] + "{seed}")
        elif TIME.fullmatch(part) or SEED.fullmatch(part):
            pieces.append("{}")
        elif "seed" not in values and last.isdigit() and len(last) < 8 and name and "method" not in values:
            values |= {"seed": last, "method": name}
            pieces.append("{method}" + mark + "{seed}")
        elif "method" not in values and not known_task(part):
            values["method"] = part
            pieces.append("{method}")
        elif "task" not in values:
            values["task"] = part
            pieces.append("{task}")
        else:
            pieces.append("{}")
    while len(pieces) > 1 and pieces[-1] == "{}":
        pieces.pop()
    if all(piece == "{}" for piece in pieces):
        pieces = ["{}"]
    if "seed" not in values and "{}" in pieces:
        pieces[pieces.index("{}")] = "{seed}"
        values["seed"] = next(part for part in reversed(parts) if TIME.fullmatch(part) or SEED.fullmatch(part))
    return pieces[::-1], values
