"""From runs to the numbers of a report: groups, their curves, final scores and aggregates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ipv_bench.errors import InputError
from ipv_bench.seeding import numpy_generator
from reports.config import ReportConfig
from reports.scores.align import Aligned, Dropped, GridConfig, align
from reports.scores.pooling import origin
from reports.scores.score_table import ScoredRun
from reports.statistics.curves import area_under_curve, steps_to_reach
from reports.statistics.intervals import CURVE_RESAMPLES, TABLE_RESAMPLES, Interval, interval
from reports.statistics.profiles import performance_profile

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
    present = {label: runs for label, runs in present.items() if any(run.num_points for run in runs)}
    common = common_tasks(present)
    lines: list[CurveResult] = []
    dropped: list[Dropped] = []
    problems: list[str] = []
    if present and not common:
        problems.append("no task was run by every method")
    for label, runs in present.items():
        kept = [run for run in runs if run.task_id in common]
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


def common_tasks(groups: Groups) -> tuple[str, ...]:
    """Task ids of which every group has a run with evaluations."""
    found = [{run.task_id for run in runs if run.num_points} for runs in groups.values()]
    return tuple(sorted(set.intersection(*found))) if found else ()


def joint_alignment(groups: Groups, tasks: Sequence[str], grid: GridConfig) -> Mapping[str, Aligned]:
    """All groups on one grid, so that their scores at the end are of the same env step.

    Raises:
        InputError: nothing is left, or no common range.
    """
    kept = {label: [run for run in runs if run.task_id in tasks] for label, runs in groups.items()}
    return align({label: runs for label, runs in kept.items() if runs}, grid).groups


@dataclass(frozen=True)
class SuiteScores:
    """One number per run, for the tasks of a suite that every method was run on.

    Attributes:
        tasks: (M,) task ids.
        final: label → (R, M) scores at the end.
        area: label → (R, M) mean score over training (area under the curve).
        steps: level → label → (R, M) env steps until the level is reached; +∞ where it never is.
    """

    tasks: tuple[str, ...]
    final: Mapping[str, np.ndarray]
    area: Mapping[str, np.ndarray]
    steps: Mapping[float, Mapping[str, np.ndarray]]


def suite_scores(groups: Groups, tasks: Sequence[str], config: ReportConfig) -> SuiteScores:
    """Final scores, areas and steps to reach; each task is aligned on its own grid, jointly for all methods.

    Tasks of one suite may be trained for different numbers of steps, so each is read off at its own end.

    Raises:
        InputError: the runs of a task have no common range.
    """
    final: dict[str, list[np.ndarray]] = {label: [] for label in groups}
    area: dict[str, list[np.ndarray]] = {label: [] for label in groups}
    steps: dict[float, dict[str, list[np.ndarray]]] = {level: {label: [] for label in groups} for level in config.reach}
    for task in tasks:
        for label, aligned in joint_alignment(groups, [task], config.grid).items():
            final[label].append(aligned.final(config.final_window)[:, 0])
            area[label].append(area_under_curve(aligned.scores, aligned.env_steps)[:, 0])
            for level in config.reach:
                steps[level][label].append(steps_to_reach(aligned.scores, aligned.env_steps, level)[:, 0])
    return SuiteScores(
        tuple(tasks),
        _side_by_side(final),
        _side_by_side(area),
        {level: _side_by_side(by_label) for level, by_label in steps.items()},
    )


def _side_by_side(columns: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
    """Label → (R, M) of M columns with up to R runs; shorter ones are filled up with NaN."""
    found = {}
    for label, parts in columns.items():
        scores = np.full((max(map(len, parts)), len(parts)), np.nan)
        for index, part in enumerate(parts):
            scores[: len(part), index] = part
        found[label] = scores
    return found
