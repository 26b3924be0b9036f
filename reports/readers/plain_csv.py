"""Plain CSV: `method,suite,task,seed,step,score[,variant]`, the format to write when no other fits.

One row per evaluation; `step` is in env steps (simulator control steps). Further columns that are understood: `metric`
(return | success | score) and `action_repeat`; others are ignored and named in a note. Lines that begin with `#` are
comments.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

import numpy as np

from ipv_bench.errors import InputError
from reports.readers.base import Read, ReadOptions
from reports.readers.csv_columns import CsvColumns, csv_header
from reports.scores.findings import note
from reports.scores.score_table import Metric, ScoredRun
from reports.scores.task_names import SUITE_METRIC

REQUIRED = ("method", "suite", "task", "seed", "step", "score")
OPTIONAL = ("variant", "metric", "action_repeat")
METRICS: tuple[str, ...] = get_args(Metric)
KEYS = ("method", "variant", "suite", "task", "seed", "metric", "action_repeat")
"""Columns that tell runs apart."""


class PlainCsv:
    """Reads the plain CSV."""

    name = "plain_csv"

    def accepts(self, path: Path) -> bool:
        """A `.csv` file whose header has at least three of the required columns, so that a slip in one is named."""
        return (
            path.suffix == ".csv" and len(set(csv_header(path)) & set(REQUIRED)) >= 3 and "method" in csv_header(path)
        )

    def read(self, path: Path, options: ReadOptions) -> Read:
        """Read all runs of the file; one of `options.metric` when the file has that column and several metrics.

        Raises:
            InputError: a required column is missing, or a step or score is not a number.
        """
        header = csv_header(path)
        missing = [name for name in REQUIRED if name not in header]
        if missing:
            raise InputError(
                f"{path} has no column {', '.join(map(repr, missing))}; its columns are {', '.join(header)}",
                expected=f"{','.join(REQUIRED)}[,{','.join(OPTIONAL)}]",
                fix="rename or add the column",
            )
        columns = CsvColumns(path)
        steps, scores = columns.numbers("step"), columns.numbers("score")
        keys = [name for name in KEYS if name in header]
        runs = [_run(path, fields, steps[rows], scores[rows]) for fields, rows in columns.groups(keys)]
        if options.metric != "auto" and any(run.metric == options.metric for run in runs):
            runs = [run for run in runs if run.metric == options.metric]
        extra = [name for name in header if name not in REQUIRED + OPTIONAL]
        findings = [note("ignored_columns", f"{path}: columns not used: {', '.join(extra)}")] if extra else []
        return Read(runs=tuple(runs), findings=tuple(findings))


def _run(path: Path, fields: dict[str, str], env_steps: np.ndarray, scores: np.ndarray) -> ScoredRun:
    metric = fields.get("metric") or SUITE_METRIC.get(fields["suite"], "score")
    if metric not in METRICS:
        raise InputError(f"{path}: metric {metric!r}", expected=", ".join(METRICS))
    repeat = fields.get("action_repeat", "")
    if repeat and not repeat.isdigit():
        raise InputError(f"{path}: action_repeat {repeat!r}", expected="a whole number")
    return ScoredRun(
        method=fields["method"],
        variant=fields.get("variant", ""),
        suite=fields["suite"],
        task=fields["task"],
        seed=fields["seed"],
        env_steps=env_steps,
        scores=scores,
        metric=cast(Metric, metric),
        source=str(path),
        format=PlainCsv.name,
        action_repeat=int(repeat) if repeat else None,
    )


READER = PlainCsv()
