"""TD-MPC2's published results: `results/<method>/<task>.csv` with the columns `step`, `reward` or `success`, `seed`."""

from __future__ import annotations

from pathlib import Path

from reports.readers.base import Read, ReadOptions
from reports.readers.text_table import TextTable, table_header, table_stem
from reports.scores.score_table import Metric, ScoredRun
from reports.scores.task_names import split_tdmpc2_task

_METRICS: dict[str, Metric] = {"reward": "return", "success": "success"}


class TDMPC2:
    """Reads one task's file; the method is the folder's name, the task the file's."""

    name = "tdmpc2"

    def accepts(self, path: Path) -> bool:
        """A table with exactly step, seed, and reward or success."""
        return set(table_header(path)) in ({"step", "seed", name} for name in _METRICS)

    def read(self, path: Path, options: ReadOptions) -> Read:
        """Read all seeds of a task. A file has one metric, so `options` choose nothing here.

        Raises:
            InputError: a step or score is not a number.
        """
        header = table_header(path)
        score = next(name for name in _METRICS if name in header)
        columns = TextTable(path)
        steps, scores = columns.numbers("step"), columns.numbers(score)
        suite, task = split_tdmpc2_task(table_stem(path))
        runs = [
            ScoredRun(
                method=path.resolve().parent.name,
                variant="",
                suite=suite,
                task=task,
                seed=fields["seed"],
                env_steps=steps[rows],
                scores=scores[rows],
                metric=_METRICS[score],
                source=str(path),
                format=self.name,
                origin="evaluation",
            )
            for fields, rows in columns.groups(["seed"], seed="seed")
        ]
        return Read(runs=tuple(runs))


READER = TDMPC2()
