"""Runs on one grid of env steps: named dims (run, task, step), and a list of everything that was dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from ipv_bench.config import Config
from ipv_bench.config_faults import SECTION, RefusedValueError
from ipv_bench.errors import InputError
from reports.scores.score_table import ScoredRun

Fill = Literal["auto", "previous", "linear", "mean"]

MEAN_SHARE = 0.05
"""Means of training episodes reach back over this share of the env steps: one episode says little about a policy."""

FILL_WORDS: dict[str, str] = {
    "auto": "the previous score between two evaluations; training episodes as means over the last 5 % of env steps",
    "previous": "the previous score between two",
    "linear": "linear between two",
    "mean": "means over the last 5 % of env steps",
}
"""`fill` in words."""


class GridConfig(Config):
    """Where scores are read off the runs' curves."""

    points: Literal["union", "intersection", "every"] = "union"
    """union: steps that any run was evaluated at; intersection: steps common to all; every: multiples of `every`."""
    every: int | None = Field(None, gt=0)
    """Distance of grid points in env steps, for `points: every`."""
    fill: Fill = "auto"
    """A run's score at a grid point. previous: its last evaluation; linear: on the straight line between two; mean:
    the mean of what was logged since the grid point before, and at least over the last 5 % of the grid's env steps;
    auto: mean where a run's scores are training episodes, else previous."""
    start: float | None = None
    """First env step; unset: the first step at which every run has been evaluated (common range)."""
    stop: float | None = None
    """Last env step; unset: the last step that every run reached (common range). Runs that end before are dropped."""
    max_points: int = Field(101, ge=2)
    """At most this many grid points, spread evenly over the grid; its first and last point are kept."""
    min_length: float = Field(0.8, ge=0, le=1)
    """Leave out runs that end before this share of the median end of their method's runs on the task; 0: none."""

    @model_validator(mode="after")
    def _every_is_given(self) -> GridConfig:
        if self.points == "every" and self.every is None:
            raise RefusedValueError(
                f"{SECTION}points is every, and {SECTION}every is not set",
                expected="the distance of two points in env steps",
                fix=f"set {SECTION}every, or another {SECTION}points",
            )
        if self.points != "every" and self.every is not None:
            raise RefusedValueError(
                f"{SECTION}every is {self.every}, and {SECTION}points is {self.points}, which does not look at it",
                expected=f"{SECTION}points: every, or no {SECTION}every",
                fix=f"set {SECTION}points to every, or leave {SECTION}every out",
            )
        if self.start is not None and self.stop is not None and self.start > self.stop:
            raise RefusedValueError(
                f"{SECTION}start {self.start:g} is behind {SECTION}stop {self.stop:g}",
                expected="start before stop",
                fix=f"swap them, or leave {SECTION}start out",
            )
        return self


@dataclass(frozen=True)
class Dropped:
    """Something that alignment left out.

    Attributes:
        run: the run's name.
        reason: why, in words ("behind the grid", "no evaluations", ...).
        points: number of evaluations left out.
        first, last: env steps of the first and last of them (NaN without any).
    """

    run: str
    reason: str
    points: int
    first: float
    last: float


@dataclass(frozen=True, eq=False)
class Aligned:
    """Scores of one group of runs (a curve's) with named dims (run, task, step).

    Attributes:
        name: the group's name ("contextwm").
        tasks: (M,) task ids, the same for all groups that were aligned together.
        env_steps: (S,) the grid.
        scores: (R, M, S); tasks with fewer runs than R are filled up with NaN runs at the end.
        seeds: per task, the seeds of its runs, in the order of the run dim.
        runs: per task, the runs themselves, in the same order.
    """

    name: str
    tasks: tuple[str, ...]
    env_steps: np.ndarray
    scores: np.ndarray
    seeds: tuple[tuple[str, ...], ...]
    runs: tuple[tuple[ScoredRun, ...], ...]

    @property
    def num_runs(self) -> tuple[int, ...]:
        """Number of runs of each task."""
        return tuple(len(seeds) for seeds in self.seeds)

    def task(self, task: str) -> np.ndarray:
        """(R, 1, S) scores of one task, without filling runs."""
        column = self.tasks.index(task)
        return self.scores[: self.num_runs[column], column : column + 1]

    def final(self, window: float = 0.0) -> np.ndarray:
        """(R, M) each run's score at the end: the mean over the grid points of the last `window` env steps.

        `window` 0 takes the last grid point alone.
        """
        chosen: np.ndarray = self.scores[:, :, self.env_steps >= self.env_steps[-1] - window]
        return np.asarray(chosen.mean(axis=2))


@dataclass(frozen=True, eq=False)
class Alignment:
    """Groups of runs on one grid.

    Attributes:
        groups: name → aligned scores, in the order given.
        tasks: the tasks that every group has.
        env_steps: (S,) the grid.
        dropped: everything that was left out.
    """

    groups: Mapping[str, Aligned]
    tasks: tuple[str, ...]
    env_steps: np.ndarray
    dropped: tuple[Dropped, ...]


def align(groups: Mapping[str, Sequence[ScoredRun]], grid: GridConfig | None = None) -> Alignment:
    """Put groups of runs on one grid, so that they can be compared.

    Only tasks that every non-empty group has are kept; what else is left out is in `dropped`.

    Raises:
        InputError: nothing is left: no runs, no common task, or no common range of env steps.
    """
    grid = grid or GridConfig()
    dropped: list[Dropped] = []
    filled = {name: _usable(runs, dropped) for name, runs in groups.items()}
    filled = {name: runs for name, runs in filled.items() if runs}
    tasks = _common_tasks(filled)
    kept = {name: _keep_tasks(runs, tasks, dropped) for name, runs in filled.items()}
    kept = _within_range(kept, grid, dropped)
    tasks = _common_tasks({name: runs for name, runs in kept.items() if runs})
    kept = {name: [run for run in runs if run.task_id in tasks] for name, runs in kept.items() if runs}
    every_run = [run for runs in kept.values() for run in runs]
    if not every_run:
        raise InputError(
            "no runs are left to align: " + _reasons(dropped),
            expected="runs with evaluations, and at least one task that every method was run on",
            fix="compare fewer methods, lower `stop`, or give more runs",
        )
    env_steps = grid_points(every_run, grid)
    for run in every_run:
        dropped.extend(_outside(run, env_steps))
    aligned = {name: _aligned(name, runs, tasks, env_steps, grid.fill) for name, runs in kept.items()}
    return Alignment(aligned, tasks, env_steps, tuple(dropped))


def grid_points(runs: Sequence[ScoredRun], grid: GridConfig) -> np.ndarray:
    """(S,) env steps of the grid for these runs.

    Raises:
        InputError: the runs share no range of env steps, or no step for `points: intersection`.
    """
    start = max(run.env_steps[0] for run in runs) if grid.start is None else grid.start
    stop = min(run.env_steps[-1] for run in runs) if grid.stop is None else grid.stop
    if start > stop:
        late = max(runs, key=lambda run: run.env_steps[0])
        short = min(runs, key=lambda run: run.env_steps[-1])
        raise InputError(
            f"the runs share no env steps: {late.name} starts at {late.env_steps[0]:g}, "
            f"{short.name} ends at {short.env_steps[-1]:g}",
            expected="runs whose evaluations overlap",
            fix="leave the short run out, or set `stop` in the report's config",
        )
    if grid.points == "every":
        assert grid.every is not None
        points = np.arange(np.ceil(start / grid.every), np.floor(stop / grid.every) + 1) * float(grid.every)
    elif grid.points == "union":
        points = np.unique(np.concatenate([run.env_steps for run in runs]))
    else:
        points = _in_all(runs)
    points = points[(points >= start) & (points <= stop)].astype(np.float64)
    if not len(points):
        raise InputError(
            f"no grid point lies between {start:g} and {stop:g} env steps (points: {grid.points})",
            expected="at least one",
            fix="use `points: union`, or a smaller `every`",
        )
    if len(points) > grid.max_points:
        points = points[np.unique(np.linspace(0, len(points) - 1, grid.max_points).round().astype(np.int64))]
    return points


def _in_all(runs: Sequence[ScoredRun]) -> np.ndarray:
    points = runs[0].env_steps
    for run in runs[1:]:
        points = np.intersect1d(points, run.env_steps)
    return points


def fill_of(run: ScoredRun, fill: Fill) -> Fill:
    """What `auto` is for a run."""
    if fill != "auto":
        return fill
    return "mean" if run.origin == "training_episode" else "previous"


def read_off(run: ScoredRun, env_steps: np.ndarray, fill: Fill) -> np.ndarray:
    """(S,) scores of a run at env steps between its first and its last evaluation."""
    fill = fill_of(run, fill)
    if fill == "mean":
        first, behind = mean_window(run, env_steps)
        sums = np.append(0.0, np.cumsum(run.scores))
        return np.asarray((sums[behind] - sums[first]) / (behind - first))
    if fill == "linear":
        return np.asarray(np.interp(env_steps, run.env_steps, run.scores))
    return np.take(run.scores, np.searchsorted(run.env_steps, env_steps, side="right") - 1)


def mean_window(run: ScoredRun, env_steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(S,) first point, and (S,) point behind the last, that `fill: mean` averages at each env step.

    Where nothing was logged within the window, the last point before it is taken.
    """
    low = env_steps - MEAN_SHARE * abs(float(env_steps[-1]))
    low[1:] = np.minimum(low[1:], env_steps[:-1])
    behind = np.maximum(np.searchsorted(run.env_steps, env_steps, side="right"), 1)
    first = np.minimum(np.searchsorted(run.env_steps, low, side="right"), behind - 1)
    return first, behind


def _usable(runs: Sequence[ScoredRun], dropped: list[Dropped]) -> list[ScoredRun]:
    for run in runs:
        if not run.num_points:
            dropped.append(Dropped(run.name, "no evaluations", 0, np.nan, np.nan))
    return [run for run in runs if run.num_points]


def _common_tasks(groups: Mapping[str, Sequence[ScoredRun]]) -> tuple[str, ...]:
    of_groups = [{run.task_id for run in runs} for runs in groups.values()]
    return tuple(sorted(set.intersection(*of_groups))) if of_groups else ()


def _whole(run: ScoredRun, reason: str) -> Dropped:
    return Dropped(run.name, reason, run.num_points, float(run.env_steps[0]), float(run.env_steps[-1]))


def _keep_tasks(runs: Sequence[ScoredRun], tasks: tuple[str, ...], dropped: list[Dropped]) -> list[ScoredRun]:
    dropped.extend(_whole(run, "task not run by every method") for run in runs if run.task_id not in tasks)
    return [run for run in runs if run.task_id in tasks]


def _within_range(
    groups: Mapping[str, Sequence[ScoredRun]], grid: GridConfig, dropped: list[Dropped]
) -> dict[str, list[ScoredRun]]:
    def reason(run: ScoredRun) -> str:
        # The last training episode ends a little before the budget does.
        missing = MEAN_SHARE if run.origin == "training_episode" else 0.0
        if grid.stop is not None and run.env_steps[-1] < (1 - missing) * grid.stop:
            return f"ends before {grid.stop:g}"
        if grid.start is not None and run.env_steps[0] > grid.start:
            return f"starts after {grid.start:g}"
        return ""

    kept: dict[str, list[ScoredRun]] = {}
    for name, runs in groups.items():
        dropped.extend(_whole(run, reason(run)) for run in runs if reason(run))
        kept[name] = [run for run in runs if not reason(run)]
    return kept


def _outside(run: ScoredRun, env_steps: np.ndarray) -> list[Dropped]:
    found = []
    for reason, mask in (
        ("before the grid", run.env_steps < env_steps[0]),
        ("behind the grid", run.env_steps > env_steps[-1]),
    ):
        if mask.any():
            steps = run.env_steps[mask]
            found.append(Dropped(run.name, reason, len(steps), float(steps[0]), float(steps[-1])))
    return found


def _aligned(
    name: str,
    runs: Sequence[ScoredRun],
    tasks: tuple[str, ...],
    env_steps: np.ndarray,
    fill: Fill,
) -> Aligned:
    of_task = tuple(tuple(run for run in runs if run.task_id == task) for task in tasks)
    scores = np.full((max(map(len, of_task)), len(tasks), len(env_steps)), np.nan)  # (R, M, S)
    for column, its_runs in enumerate(of_task):
        for row, run in enumerate(its_runs):
            scores[row, column] = read_off(run, env_steps, fill)
    seeds = tuple(tuple(run.seed for run in its_runs) for its_runs in of_task)
    return Aligned(name, tasks, env_steps, scores, seeds, of_task)


def _reasons(dropped: Sequence[Dropped]) -> str:
    counts: dict[str, int] = {}
    for item in dropped:
        counts[item.reason] = counts.get(item.reason, 0) + 1
    return ", ".join(f"{count} × {reason}" for reason, count in counts.items()) or "none were given"
