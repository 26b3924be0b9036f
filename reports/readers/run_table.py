"""A table with the log of one run: `progress.csv` of garage, rlkit and RLlib, `progress.txt` of Spinning Up, Acme's
`logs.csv`, `eval.csv` of DrQ-v2 and TD-MPC2, MBPO's `results.csv`, a tracker's history of one run.

A step column and a score column that are known, and no column that tells runs apart. Names come from the path, a
config beside the file, or the report's config.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ipv_bench.errors import InputError
from reports.readers.base import Read, ReadOptions
from reports.readers.column_names import plain
from reports.readers.log_run import choose_score, log_run
from reports.readers.run_names import names_of_log
from reports.readers.score_names import OTHER_STEPS, STEPS, find_score, find_step
from reports.readers.text_table import TextTable, table_header
from reports.scores.findings import Finding, note

_OF_MANY_RUNS = {"method", "agent", "algo", "algorithm", "seed", "run_seed"}
"""Columns that tell runs apart: such a table is no log of one run."""


class RunTable:
    """Reads the table of one run."""

    name = "run_table"

    def accepts(self, path: Path) -> bool:
        """A table with a known score and a known counter, and no column that tells runs apart."""
        header = table_header(path)
        if len(header) < 2 or _OF_MANY_RUNS & {plain(name) for name in header}:
            return False
        known = {*STEPS, *OTHER_STEPS}
        return bool(find_score(header, "return")) and any(name in known for name in header)

    def fits(self, path: Path, options: ReadOptions) -> bool:
        """A table in which the config's `columns:` name the step and the score."""
        header = table_header(path)
        of_runs = [options.columns.get(name) for name in ("method", "task", "seed")]
        if _OF_MANY_RUNS & {plain(name) for name in header} or any(name in header for name in of_runs):
            return False
        return all(options.columns.get(name) in header for name in ("step", "score"))

    def read(self, path: Path, options: ReadOptions) -> Read:
        """Read the run; a last row that is cut off is left out.

        Raises:
            InputError: there are no env steps, a value is not a number, or the run has no names.
            ConfigError: `run_fields.yaml` is wrong.
        """
        names = names_of_log(path, options)
        table = TextTable(path, cut_off_allowed=True)
        score = choose_score(path, table.names, names, options)
        step = options.columns.get("step") or find_step(table.names)
        if step not in table.names:
            counted = ", ".join(name for name in table.names if name in OTHER_STEPS)
            raise InputError(
                f"{path} counts {counted or 'nothing'} and no env steps; its columns are {', '.join(table.names[:20])}",
                expected=f"one of {', '.join(STEPS[:6])}, ...",
                fix="name the column in the report's config (columns: {step: ...})",
            )
        steps, scores = _every_step(table.numbers(step)), table.numbers(score.name)
        logged = ~np.isnan(scores) | _is_named(table, score.name)
        run, said = log_run(self.name, path, names, score, steps[logged], scores[logged])
        findings: list[Finding] = [said]
        if table.is_cut_off:
            findings.append(note("cut_off_log", f"the last row of {path} is cut off; it was used up to there"))
        return Read(runs=(run,), findings=tuple(findings))


def _every_step(steps: np.ndarray) -> np.ndarray:
    """A row without a step has that of the row before: trackers write values of one step in several rows."""
    known = ~np.isnan(steps)
    if known.all() or not known.any():
        return steps
    last = np.maximum.accumulate(np.where(known, np.arange(len(steps)), -1))
    return np.where(last >= 0, steps[np.maximum(last, 0)], np.nan)


def _is_named(table: TextTable, column: str) -> np.ndarray:
    """Rows whose score is a NaN that was written, not an empty cell: an empty cell only says that another value was."""
    return np.array([bool(text) for text in table.texts(column)], dtype=bool)


READER = RunTable()
