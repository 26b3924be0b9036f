"""Plain CSV: `method,suite,task,seed,step,score[,variant]`, the format to write when no other fits.

One row per evaluation; `step` is in env steps (simulator control steps). `suite` may be left out where the task says
it. Further columns that are understood: `metric` (return | success | score) and `action_repeat`; others are ignored and
named in a note. Lines that begin with `#` are comments. Other names of columns are given by the config's `columns:`,
and names that no column holds by its `names:` pattern for the file's path; DrQ-v2's published curves need neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast, get_args

import numpy as np

from ipv_bench.errors import InputError
from reports.readers.base import MAX_ACTION_REPEAT, Read, ReadOptions
from reports.readers.column_names import OPTIONAL, REQUIRED, as_line, our_columns, plain, suggested_columns
from reports.readers.run_names import names_in_path
from reports.readers.text_table import TextTable, table_header
from reports.scores.findings import note
from reports.scores.score_table import Metric, ScoredRun
from reports.scores.task_names import SUITE_METRIC, split_task

METRICS: tuple[str, ...] = get_args(Metric)
_KEYS = ("method", "variant", "suite", "task", "seed", "metric", "action_repeat")
"""Columns that tell runs apart."""


class PlainCsv:
    """Reads the plain CSV."""

    name = "plain_csv"

    def accepts(self, path: Path) -> bool:
        """A table with three of our columns, one of them of the runs, or with likely names for all of them."""
        header = table_header(path)
        found = our_columns(header, {})
        if set(REQUIRED) <= {*found, *suggested_columns(header, found)}:
            return True
        return len(found) >= 3 and ("method" in found or ("task" in found and "seed" in found))

    def fits(self, path: Path, options: ReadOptions) -> bool:
        """A table that the config's `columns:` and `names:` make whole, and that names its runs in some column."""
        columns = our_columns(table_header(path), options.columns)
        names = set(columns) & {"method", "task", "seed"}
        return bool(names) and set(REQUIRED) <= {*columns, *names_in_path(path, options)}

    def read(self, path: Path, options: ReadOptions) -> Read:
        """Read all runs of the file; one of `options.metric` when the file has that column and several metrics.

        Raises:
            InputError: a required column is missing, or a step or score is not a number.
        """
        header = table_header(path)
        columns = our_columns(header, options.columns)
        fixed = {name: text for name, text in names_in_path(path, options).items() if name not in columns}
        missing = [name for name in REQUIRED if name not in columns and name not in fixed]
        if missing:
            raise _missing(path, missing, header, columns)
        table = TextTable(path)
        steps, scores = table.numbers(columns["step"]), table.numbers(columns["score"])
        keys = {columns[name]: name for name in _KEYS if name in columns}
        runs = []
        for texts, rows in table.groups(list(keys), seed=columns.get("seed", "")):
            named = {**fixed, **{keys[column]: text for column, text in texts.items()}}
            runs.append(_run(path, named, columns["score"], steps[rows], scores[rows]))
        if options.metric != "auto" and any(run.metric == options.metric for run in runs):
            runs = [run for run in runs if run.metric == options.metric]
        extra = [name for name in header if name and name not in columns.values()]
        findings = [note("ignored_columns", f"{path}: columns not used: {', '.join(extra[:20])}")] if extra else []
        return Read(runs=tuple(runs), findings=tuple(findings))


def missing_columns(path: Path, options: ReadOptions) -> InputError:
    """Why a table is not read, and the line that would read it; for a table that no reader accepts."""
    header = table_header(path)
    columns = our_columns(header, options.columns)
    return _missing(path, [name for name in REQUIRED if name not in columns], header, columns)


def _missing(path: Path, missing: list[str], header: tuple[str, ...], columns: Mapping[str, str]) -> InputError:
    return InputError(
        f"{path} has no column {', '.join(map(repr, missing))}; its columns are {_some(header)}",
        expected=f"{','.join(REQUIRED)}[,{','.join(OPTIONAL)}]",
        fix=_fix(missing, suggested_columns(header, columns)) if not _is_summary(header) else _EACH_SEED,
    )


_EACH_SEED = "means over seeds cannot be pooled: give the scores of each seed, a row for each"


def _is_summary(header: tuple[str, ...]) -> bool:
    words = {plain(name) for name in header}
    return "seed" not in words and bool(words & {"std", "stderr", "sem", "ci", "ci_low", "lower", "low"})


def _fix(missing: list[str], suggested: Mapping[str, str]) -> str:
    still = [name for name in missing if name not in suggested]
    numbers = [name for name in still if name in ("step", "score")]
    if numbers:
        return f"add the column {' and '.join(numbers)}"
    lines = [as_line(suggested)] if suggested else []
    if still:
        pattern = "-".join(f"{{{name}}}" for name in still)
        lines.append(f'names: "{pattern}" (for a file that is named like that; {{{still[0]}=NAME}} sets it for all)')
    return "rename the columns, or put into the report's config (--config FILE): " + " and ".join(lines)


def _some(header: tuple[str, ...]) -> str:
    return ", ".join(header[:20]) + (f" and {len(header) - 20} more" if len(header) > 20 else "")


def _run(path: Path, fields: Mapping[str, str], score: str, env_steps: np.ndarray, scores: np.ndarray) -> ScoredRun:
    empty = [name for name in ("method", "task", "seed") if not fields[name] or fields[name].lower() == "nan"]
    if empty:
        raise InputError(
            f"{path}: a row has no {' and no '.join(empty)}",
            expected="a name in every row",
            fix=f"fill the column {empty[0]} in every row, or take such rows out",
        )
    suite, task = (fields["suite"], fields["task"]) if "suite" in fields else split_task(fields["task"])
    metric = fields.get("metric") or SUITE_METRIC.get(suite, "success" if "success" in score.lower() else "score")
    if metric not in METRICS:
        raise InputError(
            f"{path}: metric {metric!r}",
            expected=f"one of {', '.join(METRICS)}",
            fix="write one of these into the column metric, or take the column out",
        )
    repeat = fields.get("action_repeat", "")
    if repeat and not re.fullmatch(r"[1-9][0-9]{0,8}", repeat):
        raise InputError(
            f"{path}: action_repeat {repeat!r}",
            expected=f"a whole number from 1 to {MAX_ACTION_REPEAT - 1:,}",
            fix="correct the column action_repeat, or leave it empty where nobody knows it",
        )
    return ScoredRun(
        method=fields["method"],
        variant=fields.get("variant", ""),
        suite=suite,
        task=task,
        seed=fields["seed"],
        env_steps=env_steps,
        scores=scores,
        metric=cast(Metric, metric),
        source=str(path),
        format=PlainCsv.name,
        action_repeat=int(repeat) if repeat else None,
    )


READER = PlainCsv()
