"""Which runs are a line of a report, and what it is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reports.scores.pooling import origin
from reports.scores.score_table import ScoredRun

Groups = Mapping[str, Sequence[ScoredRun]]
"""Legend label → runs."""


class Grouping:
    """Names the lines of a report: `method@variant`, with the pre-training data where it differs within one of these.

    Args:
        runs: all runs of the report, so that a line is called the same in each of its figures.
    """

    def __init__(self, runs: Sequence[ScoredRun]) -> None:
        self._origins: dict[str, set[str]] = {}
        for run in runs:
            self._origins.setdefault(run.label, set()).add(origin(run))
        self.labels = sorted({self.label(run) for run in runs})

    def label(self, run: ScoredRun) -> str:
        """The name of the line that a run belongs to."""
        if len(self._origins[run.label]) == 1:
            return run.label
        return f"{run.label} ({origin(run) or 'no pre-training'})"

    def groups(self, runs: Sequence[ScoredRun]) -> dict[str, list[ScoredRun]]:
        """Some of the runs by line, in the order of `labels`."""
        found: dict[str, list[ScoredRun]] = {label: [] for label in self.labels}
        for run in runs:
            found[self.label(run)].append(run)
        return {label: its_runs for label, its_runs in found.items() if its_runs}


def common_tasks(groups: Groups) -> tuple[str, ...]:
    """Task ids of which every group has a run with evaluations."""
    found = [{run.task_id for run in runs if run.num_points} for runs in groups.values()]
    return tuple(sorted(set.intersection(*found))) if found else ()
