"""A panel's CSV export of Weights & Biases: one column per run, `<run> - <metric>`, with `__MIN` and `__MAX` beside.

An empty cell means that the run logged nothing there. `__MIN` and `__MAX` are the extremes of what the panel merged
into the point: where they agree, they are the point, also where its own cell is empty; where they differ, the point is
a mean over several steps or runs, and the report says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ipv_bench.errors import InputError
from reports.readers.base import Read, ReadOptions
from reports.readers.column_names import plain
from reports.readers.run_names import NamesError, names_of_run
from reports.readers.score_names import ScoreName, find_score
from reports.readers.text_table import TextTable, table_header
from reports.scores.findings import Finding, note, warning
from reports.scores.score_table import ScoredRun

_MARK = " - "
_EXTREMES = ("__MIN", "__MAX")
_STEPS = ("step", "_step", "global_step", "env_steps", "env_step", "frame", "frames", "timesteps", "total_timesteps")
_LOG_CALLS = ("step", "_step")
"""What W&B counts by itself: calls of its log function, which are env steps only if the program passed them."""


@dataclass(frozen=True)
class _Column:
    run: str
    metric: str
    name: str


class WandbExport:
    """Reads a wide export; each run's names come from its name in W&B."""

    name = "wandb_export"

    def accepts(self, path: Path) -> bool:
        """A table with a column `<run> - <metric>` and its `__MIN` and `__MAX`."""
        header = set(table_header(path))
        return any(_MARK in name and {name + end for end in _EXTREMES} <= header for name in header)

    def read(self, path: Path, options: ReadOptions) -> Read:
        """Read all runs of one metric.

        Raises:
            InputError: the x-axis is a time, several metrics are unknown, or the runs' names say nothing.
        """
        table = TextTable(path)
        step = _step_column(path, table.names, options)
        columns = [_Column(*_cut(name), name) for name in table.names if _MARK in name and not name.endswith(_EXTREMES)]
        columns = [column for column in columns if plain(column.metric) not in ("step", "runtime", "timestamp")]
        score = _metric(path, columns, options)
        steps = table.numbers(step)
        runs, findings, unnamed = [], list[Finding](), list[NamesError]()
        for column in columns:
            if column.metric != score.name:
                continue
            try:
                names = names_of_run(column.run, path, options)
            except NamesError as error:
                unnamed.append(error)
                continue
            values, merged = _values(table, column.name)
            there = ~np.isnan(values)
            run = ScoredRun(
                method=names.method, variant=names.variant, suite=names.suite, task=names.task, seed=names.seed,
                env_steps=steps[there], scores=values[there], metric=score.metric, source=f"{path}: {column.run}",
                format=self.name, origin=score.origin,
            )  # fmt: skip
            runs.append(run)
            if merged:
                findings.append(_merged(path, run, merged))
        if unnamed and not runs:
            raise unnamed[0]
        findings += [warning("names_needed", error.found + "; not used", error.fix) for error in unnamed]
        findings.append(note("score_name", f"{path}: the score is {score.name!r}", subjects=[run.name for run in runs]))
        if plain(step) in map(plain, _LOG_CALLS):
            findings.append(_log_calls(path, step))
        return Read(runs=tuple(runs), findings=tuple(findings))


def _cut(name: str) -> tuple[str, str]:
    run, _, metric = name.rpartition(_MARK)
    return run.strip(), metric.strip()


def _step_column(path: Path, header: list[str], options: ReadOptions) -> str:
    asked = options.columns.get("step")
    if asked in header:
        return str(asked)
    for name in header:
        if name.split("/")[-1].strip().lower() in _STEPS:
            return name
    raise InputError(
        f"{path}: the x-axis is {header[0]!r}",
        expected="steps",
        fix="export the panel with env steps as its x-axis, or name the column (columns: {step: ...})",
    )


def _metric(path: Path, columns: list[_Column], options: ReadOptions) -> ScoreName:
    metrics = list(dict.fromkeys(column.metric for column in columns))
    asked = options.columns.get("score")
    if asked in metrics:
        return find_score([asked], "return") or ScoreName(str(asked), "score", "unknown")
    wanted = "return" if options.metric == "auto" else options.metric
    found = find_score(metrics, wanted, only_wanted=options.metric != "auto")
    if found:
        return found
    if len(metrics) == 1:
        return ScoreName(metrics[0], "score", "unknown")
    raise InputError(
        f"{path} has the metrics {', '.join(metrics[:20])}",
        expected="one that is known as a score",
        fix="name it in the report's config (columns: {score: ...})",
    )


def _values(table: TextTable, name: str) -> tuple[np.ndarray, int]:
    """(rows,) the run's values, and the number of points that were merged from several."""
    values = table.numbers(name)
    low, high = (table.numbers(name + end) if name + end in table.names else values for end in _EXTREMES)
    merged = int((high > low).sum())
    return np.where(np.isnan(values) & (low == high), low, values), merged


def _merged(path: Path, run: ScoredRun, count: int) -> Finding:
    return warning(
        "merged_points",
        f"{path}: {count} points of {run.name} are means over several values (their minimum and maximum differ): "
        "W&B merges steps, or the runs of a group",
        "export without grouping and smoothing, or better the run's whole history",
        [run.name],
    )


def _log_calls(path: Path, step: str) -> Finding:
    return warning(
        "wandb_steps",
        f"{path}: the x-axis {step!r} counts calls of W&B's log function unless the program passed its env steps",
        "export the panel with global_step or another count of env steps as its x-axis",
    )


READER = WandbExport()
