"""Final scores of a suite: which methods and tasks are pooled, and where their runs end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ipv_bench.errors import InputError
from reports.config import ReportConfig
from reports.grouping import Groups, common_tasks
from reports.scores.align import Aligned, Dropped, align
from reports.scores.ends import FinalScore, TaskEnds, final_scores, task_ends
from reports.scores.overlap import overlapping
from reports.scores.protocols import PROTOCOLS
from reports.scores.score_table import ScoredRun
from reports.statistics.curves import area_under_curve, steps_to_reach


@dataclass(frozen=True)
class Pooled:
    """What a suite's aggregates are made of.

    Attributes:
        groups: label → runs of the tasks below.
        tasks: task ids that each of these methods was run on.
        every: all task ids of the suite.
        left_out: methods that were run on too few tasks, label → number of its tasks.
    """

    groups: Groups
    tasks: tuple[str, ...]
    every: tuple[str, ...]
    left_out: Mapping[str, int]


def pooled(groups: Groups, every: Sequence[str], min_tasks: float) -> Pooled:
    """The methods and tasks that are aggregated: no method with few tasks takes the others' tasks away.

    Where no task is common to all, those with the fewest tasks are left out together.

    Args:
        groups: label → runs of one suite.
        every: all task ids of the suite.
        min_tasks: share of them that a method must have been run on.
    """
    kept = {label: [run for run in runs if run.num_points] for label, runs in groups.items()}
    counts = {label: len({run.task_id for run in runs}) for label, runs in kept.items() if runs}
    order = sorted(counts, key=lambda label: (counts[label], label))
    left_out = {label: counts[label] for label in order if counts[label] < min_tasks * len(every)}
    while True:
        chosen = {label: kept[label] for label in groups if label in counts and label not in left_out}
        tasks = common_tasks(chosen)
        if tasks or not chosen:
            break
        least = min(counts[label] for label in chosen)  # all of them: which of equals would stay, a name would decide
        left_out |= {label: least for label in order if label in chosen and counts[label] == least}
    used = {label: [run for run in runs if run.task_id in tasks] for label, runs in chosen.items()}
    return Pooled(used, tasks, tuple(every), left_out)


@dataclass(frozen=True)
class SuiteScores:
    """One number per run, for the tasks of a suite that every method was run on.

    Attributes:
        tasks: (M,) task ids.
        every: all task ids of the suite.
        ends: (M,) where each task's final scores were read.
        final: label → (R, M) scores at the end.
        curve_tasks: (K,) the tasks on which all methods share a range of env steps.
        ranges: (K,) that range.
        area: label → (R, K) mean score over that range (area under the curve).
        steps: level → label → (R, K) env steps until the level is reached; +∞ where it is not within the range.
    """

    tasks: tuple[str, ...]
    every: tuple[str, ...]
    ends: tuple[TaskEnds, ...]
    final: Mapping[str, np.ndarray]
    curve_tasks: tuple[str, ...]
    ranges: tuple[tuple[float, float], ...]
    area: Mapping[str, np.ndarray]
    steps: Mapping[float, Mapping[str, np.ndarray]]

    def read_at(self, label: str) -> tuple[float, float]:
        """First and last of the env steps at which a method's final scores were read."""
        steps = [ends.read_at[label] for ends in self.ends]
        return min(steps), max(steps)


class Ends:
    """Where each task's final scores are read, and what they are.

    Args:
        groups: label → all runs of a suite, scores as they were logged.
        config: the report's.
    """

    def __init__(self, groups: Groups, config: ReportConfig) -> None:
        tasks = sorted({run.task_id for runs in groups.values() for run in runs if run.num_points})
        self._config = config
        self.tasks = {task: task_ends(groups, task, config.final_at, config.grid.stop) for task in tasks}

    def scores(self, runs: Sequence[ScoredRun], task: str, label: str) -> list[FinalScore]:
        """Final scores of a method's runs of a task; fewer than runs where one starts too late."""
        of_task = [run for run in runs if run.task_id == task]
        read_at = self.tasks[task].read_at.get(label)
        if read_at is None:
            return []
        config = self._config
        episodes = PROTOCOLS[config.protocol].episodes if config.protocol else 0
        return final_scores(of_task, read_at, config.final_window, config.grid.fill, episodes)


def suite_scores(chosen: Pooled, ends: Ends, config: ReportConfig) -> tuple[SuiteScores | None, list[Dropped]]:
    """Final scores, areas and steps to reach, and the tasks and evaluations that had to be left out.

    Tasks of one suite may be trained for different numbers of steps, so each is read off at its own end.
    """
    dropped: list[Dropped] = []
    final: dict[str, list[np.ndarray]] = {label: [] for label in chosen.groups}
    kept: list[str] = []
    for task in chosen.tasks:
        found = {label: ends.scores(runs, task, label) for label, runs in chosen.groups.items()}
        without = [label for label, read in found.items() if not read]
        if without:
            reason = f"no final score: all runs of {without[0]} start behind the step at which scores are read"
            dropped.append(Dropped(task, reason, 0, np.nan, np.nan))
            continue
        kept.append(task)
        for label, read in found.items():
            final[label].append(np.array([one.score for one in read]))
            dropped += _not_read(chosen.groups[label], task, read)
    if not kept:
        return None, dropped
    area: dict[str, list[np.ndarray]] = {label: [] for label in chosen.groups}
    steps: dict[float, dict[str, list[np.ndarray]]] = {
        level: {label: [] for label in chosen.groups} for level in config.reach
    }
    curve_tasks, ranges = [], []
    for task in kept:
        aligned = _common_range(chosen.groups, task, config, dropped)
        if aligned is None:
            continue
        grid = next(iter(aligned.values())).env_steps
        curve_tasks.append(task)
        ranges.append((float(grid[0]), float(grid[-1])))
        for label, one in aligned.items():
            area[label].append(area_under_curve(one.scores, grid)[:, 0])
            for level in config.reach:
                steps[level][label].append(steps_to_reach(one.scores, grid, level)[:, 0])
    scores = SuiteScores(
        tasks=tuple(kept),
        every=chosen.every,
        ends=tuple(ends.tasks[task] for task in kept),
        final=_side_by_side(final),
        curve_tasks=tuple(curve_tasks),
        ranges=tuple(ranges),
        area=_side_by_side(area) if curve_tasks else {},
        steps={level: _side_by_side(by_label) for level, by_label in steps.items()} if curve_tasks else {},
    )
    return scores, dropped


def _common_range(
    groups: Groups, task: str, config: ReportConfig, dropped: list[Dropped]
) -> Mapping[str, Aligned] | None:
    """All methods on one grid; None when they share no env steps, which is listed."""
    of_task = {label: overlapping([r for r in runs if r.task_id == task])[0] for label, runs in groups.items()}
    try:
        aligned = align(of_task, config.grid).groups
        why = "" if len(aligned) == len(groups) else "a method has no run within the grid's start and stop"
    except InputError as error:
        why = error.found
    if why:
        dropped.append(Dropped(task, f"not in the sample efficiency: {why}", 0, np.nan, np.nan))
    return None if why else aligned


def _not_read(runs: Sequence[ScoredRun], task: str, scores: Sequence[FinalScore]) -> list[Dropped]:
    """What the tables leave out: runs without a final score, and evaluations behind the step that was read."""
    found = []
    read = {id(one.run): one for one in scores}
    for run in runs:
        if run.task_id != task:
            continue
        one = read.get(id(run))
        if one is None:
            first, last = float(run.env_steps[0]), float(run.env_steps[-1])
            reason = "no final score: starts behind the step at which scores are read"
            found.append(Dropped(run.name, reason, run.num_points, first, last))
            continue
        behind = run.env_steps[run.env_steps > one.read_at]
        if len(behind):
            reason = f"behind {one.read_at:g}, where the tables read the final scores"
            found.append(Dropped(run.name, reason, len(behind), float(behind[0]), float(behind[-1])))
    return found


def _side_by_side(columns: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
    """Label → (R, M) of M columns with up to R runs; shorter ones are filled up with NaN."""
    found = {}
    for label, parts in columns.items():
        scores = np.full((max(map(len, parts)), len(parts)), np.nan)
        for index, part in enumerate(parts):
            scores[: len(part), index] = part
        found[label] = scores
    return found
