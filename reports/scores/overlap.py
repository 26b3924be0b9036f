"""Which runs one line can be made of: those that share a range of env steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reports.scores.align import Dropped
from reports.scores.score_table import ScoredRun

LATE = 0.2
"""A run that starts later than its task's others, by more than this share of their length, would cut the line to its
own part."""


def overlapping(runs: Sequence[ScoredRun]) -> tuple[list[ScoredRun], list[Dropped]]:
    """The runs of one line without those, and then without those tasks, that would cut it short or to nothing.

    Args:
        runs: of one method, of one or several tasks.
    """
    dropped: list[Dropped] = []
    by_task: dict[str, list[ScoredRun]] = {}
    for run in runs:
        by_task.setdefault(run.task_id, []).append(run)
    for task, its_runs in by_task.items():
        fits = _fitting([(float(run.env_steps[0]), float(run.env_steps[-1])) for run in its_runs])
        late = [run for run, fit in zip(its_runs, fits, strict=True) if not fit]
        dropped += [_whole(run, "starts long after its task's other runs; not in the curve") for run in late]
        by_task[task] = [run for run, fit in zip(its_runs, fits, strict=True) if fit]
    ranges = [(max(run.env_steps[0] for run in its), min(run.env_steps[-1] for run in its)) for its in by_task.values()]
    kept: set[int] = set()
    for its_runs, fit in zip(by_task.values(), _fitting(ranges), strict=True):
        if fit:
            kept |= {id(run) for run in its_runs}
        else:
            reason = "its task shares few or no env steps with most others; not in the curve"
            dropped += [_whole(run, reason) for run in its_runs]
    return [run for run in runs if id(run) in kept], dropped


def _fitting(ranges: Sequence[tuple[float, float]]) -> np.ndarray:
    """Which ranges start in time and have a point in common, as many as possible."""
    starts, ends = np.array(ranges, dtype=np.float64).T
    usual, end = float(np.median(starts)), float(np.median(ends))
    on_time = starts <= usual + LATE * max(0.0, end - usual)
    counts = [int((on_time & (starts <= point) & (point <= ends)).sum()) for point in starts]
    point = min(starts[np.array(counts) == max(counts)])
    return np.asarray(on_time & (starts <= point) & (point <= ends))


def _whole(run: ScoredRun, reason: str) -> Dropped:
    return Dropped(run.name, reason, run.num_points, float(run.env_steps[0]), float(run.env_steps[-1]))
