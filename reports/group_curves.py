"""Curves of groups of runs, on the grid of each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ipv_bench.errors import InputError
from reports.computation import Computation
from reports.grouping import Groups, common_tasks
from reports.scores.align import Aligned, Dropped, align
from reports.scores.normalise import one_scale, scale_of
from reports.scores.overlap import overlapping
from reports.scores.score_table import ScoredRun
from reports.statistics.intervals import Interval


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
