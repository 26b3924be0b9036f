"""The stratified bootstrap's draws, as how often each run was taken.

Legend: R runs per task, M tasks, N runs in all, B draws of a block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from ipv_bench.errors import InputError

_BLOCK_CELLS = 1 << 20
"""Multiplicities (N × B) made at once: bounds the memory, and keeps a block near the cache."""

_DRAWN_AT_ONCE = 1024
"""Blocks hold a multiple of so many draws."""

_LARGEST_TOTAL = 1 << 31
"""Repeats that add up to more than this are kept as fractions instead of whole numbers."""


@dataclass(frozen=True, eq=False)
class RunWeights:
    """Which runs there are, and how they weigh when tasks have unequal numbers of runs.

    Attributes:
        present: (R, M) whether there is such a run.
        num_runs: (M,) runs per task.
        repeats: (M,) how often each run of a task counts, so that all tasks count equally: the least common multiple
            of the numbers of runs, divided by the task's. All 1 when every task has the same number. With many
            different numbers their multiple leaves every integer type (that of 1 … 64 has 27 digits): each task then
            counts 1, its runs 1 / num_runs.
        multiple: that least common multiple, exactly.
    """

    present: np.ndarray
    num_runs: np.ndarray
    repeats: np.ndarray
    multiple: int

    @property
    def total(self) -> int | float:
        """Sum of the repeats over all runs; every task has `total / num_tasks` of it. Whole when `repeats` are."""
        num_tasks = len(self.num_runs)
        return self.multiple * num_tasks if self.repeats.dtype.kind == "i" else float(num_tasks)

    def share(self, part: Fraction) -> int | float:
        """`part` of the total, rounded down to whole repeats; in units of `repeats`."""
        whole = math.floor(part * self.multiple * len(self.num_runs))
        return whole if self.repeats.dtype.kind == "i" else float(Fraction(whole, self.multiple))


def run_weights(scores: np.ndarray, *, allow_infinite: bool = False) -> RunWeights:
    """Find the runs of a score array; one that a task does not have is NaN at all steps.

    Args:
        scores: (R, M) or (R, M, S).
        allow_infinite: accept +∞ ("never reached").

    Raises:
        InputError: other dims; a task without runs; a run with NaN at some steps only; an infinite score.
    """
    if scores.ndim not in (2, 3) or 0 in scores.shape:
        raise InputError(
            f"scores have shape {scores.shape}",
            expected="(num_runs, num_tasks) or (num_runs, num_tasks, num_steps), none of them 0",
            fix="one task's scores are scores[:, None]; lists of unequal length are filled up with NaN",
        )
    cube = scores.reshape(*scores.shape[:2], -1)  # (R, M, S)
    missing = np.isnan(cube)
    absent = missing.all(axis=2)  # (R, M)
    partly = missing.any(axis=2) & ~absent
    if partly.any():
        run, task = np.argwhere(partly)[0]
        raise InputError(
            f"run {run} of task {task} has NaN at some steps and scores at others",
            expected="a score at every step; NaN at all steps for a run that does not exist",
            fix="align the runs first (reports.scores.align)",
        )
    infinite = np.isneginf(cube) if allow_infinite else np.isinf(cube)
    if infinite.any():
        run, task = np.argwhere(infinite)[0][:2]
        raise InputError(
            f"run {run} of task {task} has an infinite score",
            expected="finite scores",
            fix="correct it, or write NaN for a run that does not exist",
        )
    num_runs = (~absent).sum(axis=0)
    if (num_runs == 0).any():
        raise InputError(
            f"task {int(np.argmin(num_runs))} has no runs",
            expected="at least one run of every task",
            fix="leave the task out, or make a run of it",
        )
    multiple = math.lcm(*num_runs.tolist())
    whole = multiple * len(num_runs) <= _LARGEST_TOTAL
    return RunWeights(~absent, num_runs, multiple // num_runs if whole else 1 / num_runs, multiple)


@dataclass(frozen=True, eq=False)
class Draws:
    """A block of bootstrap draws.

    Attributes:
        runs: (B, R, M) the run taken for each place; places behind a task's number of runs are not used. uint8 where
            there are none of those and each column holds its own task, else int64.
        tasks: (M,) or (B, M) the task that each column holds; 0 … M - 1 unless tasks are drawn as well.
    """

    runs: np.ndarray
    tasks: np.ndarray
    _counts: list[np.ndarray] = field(default_factory=list, repr=False)

    def used(self, weights: RunWeights) -> np.ndarray:
        """(B, R, M) whether a place holds a run."""
        places = np.arange(self.runs.shape[1])[:, None]  # (R, 1)
        column_runs = weights.num_runs[self.tasks]  # (M,) or (B, M)
        return np.broadcast_to(places < column_runs[..., None, :], self.runs.shape)

    def multiplicities(self, weights: RunWeights) -> np.ndarray:
        """(N, B) how much each present run counts in each draw: times taken × the task's repeats.

        N runs in the order of `weights.present` (run by run, then task by task); each column sums to `weights.total`.
        Counted once for all statistics of these draws, which are of one `weights`: not to be written to.
        """
        if not self._counts:
            self._counts.append(self._multiplied(weights))
        return self._counts[0]

    def _multiplied(self, weights: RunWeights) -> np.ndarray:
        if self.runs.dtype == np.uint8:
            return self._counted().reshape(weights.present.size, -1).astype(_count_type(weights.total))
        num_draws, num_places, num_tasks = self.runs.shape
        tasks = np.broadcast_to(self.tasks[..., None, :], self.runs.shape)
        cells = num_places * num_tasks
        flat = self.runs * num_tasks + tasks + (np.arange(num_draws) * cells)[:, None, None]
        used = self.used(weights)
        counts = np.bincount(flat[used] if not used.all() else flat.ravel(), minlength=num_draws * cells)
        counts = counts.reshape(num_draws, cells)[:, weights.present.ravel()]  # (B, N)
        repeats = np.broadcast_to(weights.repeats, weights.present.shape)[weights.present]  # (N,)
        return np.ascontiguousarray((counts * repeats).T.astype(_count_type(weights.total)))  # (N, B)

    def _counted(self) -> np.ndarray:
        """(R, M, B) times taken, of draws without gaps: comparing bytes is five times as fast as `bincount`."""
        places = self.runs.transpose(1, 2, 0)  # (R, M, B), as drawn
        counts = np.empty(places.shape, np.uint8)
        for run in range(len(places)):
            np.add.reduce((places == run).view(np.uint8), axis=0, out=counts[run])
        return counts


def _count_type(total: int | float) -> type:
    if isinstance(total, float):
        return np.float64
    # The IQM adds these up over and over; the narrowest type is several times faster than int64.
    return next(kind for kind in (np.int16, np.int32, np.int64) if total <= np.iinfo(kind).max)


def every_run_once(weights: RunWeights) -> Draws:
    """The data itself, as one draw."""
    num_places, num_tasks = weights.present.shape
    # A task's runs need not stand first: its k-th place takes its k-th present run.
    runs = np.argsort(~weights.present, axis=0, kind="stable")[None]  # (1, R, M)
    return Draws(runs.reshape(1, num_places, num_tasks), np.arange(num_tasks))


def draw_runs(weights: RunWeights, num_draws: int, generator: np.random.Generator, resample_tasks: bool) -> Draws:
    """Draw runs with replacement within each task.

    Args:
        weights: the runs.
        num_draws: B.
        generator: source of the draws.
        resample_tasks: draw the tasks of the columns with replacement first.
    """
    num_places, num_tasks = weights.present.shape
    tasks = np.arange(num_tasks)
    if weights.present.all() and num_places <= 255 and not resample_tasks:
        return Draws(_draw_bytes(num_places, num_tasks, num_draws, generator).transpose(2, 0, 1), tasks)
    if resample_tasks:
        tasks = generator.integers(0, num_tasks, size=(num_draws, num_tasks))
    column_runs = weights.num_runs[tasks][..., None, :]  # (1, M) or (B, 1, M)
    places = (generator.random((num_draws, num_places, num_tasks)) * column_runs).astype(np.int64)
    if weights.present.all():  # the k-th run stands in the k-th row, and looking it up costs as much as the draw
        return Draws(places, tasks)
    order = np.argsort(~weights.present, axis=0, kind="stable")  # (R, M)
    return Draws(order[places, np.broadcast_to(tasks[..., None, :], places.shape)], tasks)


def _draw_bytes(num_places: int, num_tasks: int, num_draws: int, generator: np.random.Generator) -> np.ndarray:
    """(R, M, B) run indices; made `_DRAWN_AT_ONCE` draws at a time, so that the block's size changes nothing."""
    size = (num_places, num_tasks, _DRAWN_AT_ONCE)
    parts = [
        generator.integers(0, num_places, size=size, dtype=np.uint8)
        for _ in range(math.ceil(num_draws / _DRAWN_AT_ONCE))
    ]
    return np.concatenate(parts, axis=2)[:, :, :num_draws]


def blocks(
    weights: RunWeights,
    resamples: int,
    generator: np.random.Generator,
    *,
    resample_tasks: bool = False,
    cells_per_draw: int | None = None,
) -> Iterator[tuple[slice, Draws]]:
    """All draws, in blocks of bounded memory; yields the places in 0 … resamples - 1 and the draws.

    Args:
        cells_per_draw: numbers that the statistic holds per draw, when that is more than N.
    """
    cells = max(weights.present.size, cells_per_draw or 0)
    size = max(1, _BLOCK_CELLS // cells // _DRAWN_AT_ONCE) * _DRAWN_AT_ONCE
    for first in range(0, resamples, size):
        number = min(size, resamples - first)
        yield slice(first, first + number), draw_runs(weights, number, generator, resample_tasks)
