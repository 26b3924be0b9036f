"""From runs to the numbers of a report: groups, their curves, final scores and aggregates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ipv_bench.errors import InputError
from ipv_bench.seeding import numpy_generator
from reports.config import ReportConfig, figure_width
from reports.scores.align import Aligned, Dropped, align
from reports.scores.ends import FinalScore, TaskEnds, final_scores, task_ends
from reports.scores.normalise import one_scale, scale_of
from reports.scores.overlap import overlapping
from reports.scores.pooling import origin
from reports.scores.protocols import PROTOCOLS
from reports.scores.score_table import ScoredRun
from reports.statistics.curves import area_under_curve, steps_to_reach
from reports.statistics.intervals import (
    CURVE_RESAMPLES,
    STATISTICS,
    TABLE_RESAMPLES,
    Interval,
    interval,
    intervals,
)
from reports.statistics.profiles import performance_profile

COLUMNS_AT_ONCE = 32
"""Columns that share one making of their draws: bounds the memory."""

Groups = Mapping[str, Sequence[ScoredRun]]
"""Legend label → runs."""


@dataclass(frozen=True)
class Computation:
    """How every number of a report is computed.

    Attributes:
        config: the report's config.
        seed: seed of all resampling.
        curve_resamples: draws for each point of a curve.
        table_resamples: draws for tables and final scores.
    """

    config: ReportConfig
    seed: int = 0
    curve_resamples: int = CURVE_RESAMPLES
    table_resamples: int = TABLE_RESAMPLES

    @property
    def width(self) -> float:
        """Width of figures in points."""
        return figure_width(self.config.width)

    def generator(self, purpose: str) -> np.random.Generator:
        """Draws of one number, independent of which other numbers the report holds."""
        return numpy_generator(self.seed, 0, f"report:{purpose}")

    def interval(self, scores: np.ndarray, statistic: str, purpose: str) -> Interval:
        """Interval of `scores` (R, M) or (R, M, S); only aggregates over several tasks may resample tasks."""
        return interval(
            scores,
            statistic,
            self.curve_resamples if scores.ndim == 3 else self.table_resamples,
            self.generator(purpose),
            confidence=self.config.confidence,
            resample_tasks=self.config.resample_tasks and scores.shape[1] > 1,
        )

    def intervals(self, scores: np.ndarray, purpose: str) -> dict[str, Interval]:
        """Intervals of all statistics of final scores (R, M), from one making of the draws."""
        return intervals(
            scores,
            STATISTICS,
            self.table_resamples,
            self.generator(purpose),
            confidence=self.config.confidence,
            resample_tasks=self.config.resample_tasks and scores.shape[1] > 1,
        )

    def columns(
        self, columns: Sequence[np.ndarray], statistic: str, purpose: str, *, allow_infinite: bool = False
    ) -> list[Interval]:
        """Intervals of many single tasks, each (R,) or (R, K) for K scores of its runs, points (K,).

        Tasks with equally many runs share their draws: each interval is that of draws of its own, and the draws, which
        take most of the time for so few runs, are made once for `COLUMNS_AT_ONCE` of them.

        Args:
            columns: without NaN.
            statistic: see `interval`.
            purpose: of the columns, for the seeds.
            allow_infinite: accept +∞, for the IQM.
        """
        found: list[Interval | None] = [None] * len(columns)
        wide = [column.reshape(len(column), -1) for column in columns]
        for shape in sorted({one.shape for one in wide}):
            places = [index for index, one in enumerate(wide) if one.shape == shape]
            for start in range(0, len(places), COLUMNS_AT_ONCE):
                chosen = places[start : start + COLUMNS_AT_ONCE]
                stacked = np.concatenate([wide[index] for index in chosen], axis=1)[:, None, :]  # (R, 1, S)
                generator = self.generator(f"{purpose}:{shape[0]} runs")
                together = interval(
                    stacked,
                    statistic,
                    self.table_resamples,
                    generator,
                    confidence=self.config.confidence,
                    allow_infinite=allow_infinite,
                )
                for number, index in enumerate(chosen):
                    part = slice(number * shape[1], (number + 1) * shape[1])
                    ends = {name: getattr(together, name)[part] for name in ("point", "low", "high")}
                    found[index] = replace(together, **ends)
        return [one for one in found if one is not None]

    def profile(self, scores: np.ndarray, thresholds: np.ndarray, purpose: str) -> Interval:
        """Performance profile of final scores (R, M) at thresholds (K,)."""
        generator = self.generator(purpose)
        return performance_profile(
            scores, thresholds, self.curve_resamples, generator, confidence=self.config.confidence
        )


@dataclass(frozen=True)
class CurveResult:
    """One line: its grid and its interval at each grid point.

    Attributes:
        label: of the group.
        aligned: the scores behind it.
        interval: arrays (S,).
    """

    label: str
    aligned: Aligned
    interval: Interval


@dataclass(frozen=True)
class Curves:
    """The lines of one panel, and what could not be drawn or was left out."""

    lines: tuple[CurveResult, ...]
    dropped: tuple[Dropped, ...] = ()
    problems: tuple[str, ...] = ()


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


def curves(groups: Groups, tasks: Sequence[str], computation: Computation, statistic: str, name: str) -> Curves:
    """One line per group over the tasks that every group has runs of; each line spans its own runs' common range.

    Args:
        groups: label → runs; empty groups are skipped.
        tasks: task ids that the panel is about.
        computation: how.
        statistic: of each line.
        name: of the panel, for the seeds.
    """
    present = {label: [run for run in runs if run.task_id in tasks] for label, runs in groups.items()}
    lines: list[CurveResult] = []
    dropped: list[Dropped] = []
    problems: list[str] = []
    present = _of_one_scale(present, problems)
    present = {label: runs for label, runs in present.items() if any(run.num_points for run in runs)}
    common = common_tasks(present)
    if present and not common:
        problems.append("no task was run by every method")
    for label, runs in present.items():
        kept, apart = overlapping([run for run in runs if run.task_id in common and run.num_points])
        dropped += apart
        if not kept:
            continue
        try:
            alignment = align({label: kept}, computation.config.grid)
        except InputError as error:
            problems.append(f"{label}: {error.found}")
            continue
        aligned = alignment.groups[label]
        dropped += alignment.dropped
        lines.append(CurveResult(label, aligned, computation.interval(aligned.scores, statistic, f"{name}:{label}")))
    return Curves(tuple(lines), tuple(dropped), tuple(problems))


def _of_one_scale(groups: Groups, problems: list[str]) -> dict[str, list[ScoredRun]]:
    """The groups without runs of another scale than that of most tasks: what pools scores must not mix scales."""
    runs = [run for its_runs in groups.values() for run in its_runs]
    if len({run.task_id for run in runs}) < 2:
        return {label: list(its_runs) for label, its_runs in groups.items()}
    _, others = one_scale(runs)
    if others:
        tasks = sorted({run.task_id for run in others})
        problems.append(
            f"{len(others)} runs of {', '.join(tasks[:3])} are on another scale ({scale_of(others[0]).text})"
        )
    ids = {id(run) for run in others}
    return {label: [run for run in its_runs if id(run) not in ids] for label, its_runs in groups.items()}


def common_tasks(groups: Groups) -> tuple[str, ...]:
    """Task ids of which every group has a run with evaluations."""
    found = [{run.task_id for run in runs if run.num_points} for runs in groups.values()]
    return tuple(sorted(set.intersection(*found))) if found else ()


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

    Args:
        groups: label → runs of one suite.
        every: all task ids of the suite.
        min_tasks: share of them that a method must have been run on.
    """
    kept = {label: [run for run in runs if run.num_points] for label, runs in groups.items()}
    counts = {label: len({run.task_id for run in runs}) for label, runs in kept.items() if runs}
    order = sorted(counts, key=lambda label: (counts[label], len(kept[label]), label))
    left_out = {label: counts[label] for label in order if counts[label] < min_tasks * len(every)}
    while True:
        chosen = {label: kept[label] for label in groups if label in counts and label not in left_out}
        tasks = common_tasks(chosen)
        if tasks or not chosen:
            break
        least = next(label for label in order if label in chosen)
        left_out[least] = counts[least]
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
