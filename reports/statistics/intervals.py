"""Point estimates and confidence intervals of scores (num_runs, num_tasks[, num_steps]).

The statistics are those of rliable (Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical
Precipice", arXiv:2108.13264): IQM, median, mean, optimality gap. The resampling is ours. One draw takes whole runs
with replacement within each task, all steps together, and is kept as a multiplicity per run, not as copied scores:
each statistic is then a weighted one. The weights also carry unequal numbers of runs: every task weighs
1 / num_tasks, which equals rliable on the matrix in which each task's runs are repeated to one common number.

Legend: R runs per task, M tasks, S steps, N present runs in all, B draws of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

import numpy as np

from ipv_bench.errors import InputError, UnknownNameError
from reports.statistics.resampling import Draws, RunWeights, blocks, every_run_once, run_weights

Statistic = Literal["iqm", "median", "mean", "optimality_gap"]
STATISTICS: tuple[str, ...] = get_args(Statistic)
TABLE_RESAMPLES, CURVE_RESAMPLES = 50_000, 2_000
"""Draws for tables and final scores, and for each point of a curve."""
CONFIDENCE = 0.95
OPTIMAL_SCORE = 1.0
"""γ of the optimality gap: normalised scores above it count as it."""
TRIM = Fraction(1, 4)
"""Share of the scores that the IQM leaves out at each end, rounded down to whole scores."""


@dataclass(frozen=True, eq=False)
class Interval:
    """A statistic with its confidence interval.

    Attributes:
        point, low, high: () for scores (R, M), (S,) for scores (R, M, S).
        statistic: name of the statistic.
        label: what to print: "IQM", or "mean (n=3)" where trimming cuts nothing.
        num_runs: runs per task: (fewest, most).
        num_tasks: number of tasks.
        resamples: number of bootstrap draws.
    """

    point: np.ndarray
    low: np.ndarray
    high: np.ndarray
    statistic: str
    label: str
    num_runs: tuple[int, int]
    num_tasks: int
    resamples: int

    @property
    def width(self) -> np.ndarray:
        """high - low."""
        return np.asarray(self.high - self.low)


def interval(
    scores: np.ndarray,
    statistic: str,
    resamples: int,
    generator: np.random.Generator,
    *,
    confidence: float = CONFIDENCE,
    resample_tasks: bool = False,
    allow_infinite: bool = False,
) -> Interval:
    """Point estimate and percentile bootstrap interval.

    Args:
        scores: (num_runs, num_tasks) or (num_runs, num_tasks, num_steps), in units of score; tasks with fewer runs
            are filled up with NaN. Every task weighs 1 / num_tasks, whatever its number of runs.
        statistic: "iqm", "median", "mean" or "optimality_gap".
        resamples: number of draws; one draw takes whole runs with replacement within each task.
        generator: source of the draws; the same state gives the same interval.
        confidence: coverage of the interval, in (0, 1).
        resample_tasks: draw tasks with replacement as well: the uncertainty over a larger population of tasks.
        allow_infinite: accept +∞ ("never reached"), for the IQM only.

    Raises:
        InputError: see `run_weights`; resamples below 1; +∞ with another statistic than the IQM.
        UnknownNameError: unknown statistic.
    """
    found = intervals(
        scores,
        [statistic],
        resamples,
        generator,
        confidence=confidence,
        resample_tasks=resample_tasks,
        allow_infinite=allow_infinite,
    )
    return found[statistic]


def intervals(
    scores: np.ndarray,
    statistics: Sequence[str],
    resamples: int,
    generator: np.random.Generator,
    *,
    confidence: float = CONFIDENCE,
    resample_tasks: bool = False,
    allow_infinite: bool = False,
) -> dict[str, Interval]:
    """`interval` of several statistics, each the same as alone with this generator, from one making of the draws."""
    scores = np.asarray(scores, dtype=np.float64)
    weights = run_weights(scores, allow_infinite=allow_infinite)
    estimated = _estimated(scores, statistics, resamples, generator, weights, resample_tasks=resample_tasks)
    found = {}
    for statistic, (point, drawn) in estimated.items():
        low, high = percentile_bounds(drawn, confidence)
        if scores.ndim == 2:
            point, low, high = point[0], low[0], high[0]
        found[statistic] = Interval(
            point=point,
            low=low,
            high=high,
            statistic=statistic,
            label=label_of(statistic, int(weights.num_runs.sum())),
            num_runs=(int(weights.num_runs.min()), int(weights.num_runs.max())),
            num_tasks=scores.shape[1],
            resamples=resamples,
        )
    return found


def estimates(
    scores: np.ndarray,
    statistic: str,
    resamples: int,
    generator: np.random.Generator,
    weights: RunWeights,
    *,
    resample_tasks: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """(S,) the statistic of the data, and (S, resamples) of each draw; arguments and errors as of `interval`."""
    return _estimated(scores, [statistic], resamples, generator, weights, resample_tasks=resample_tasks)[statistic]


def _estimated(
    scores: np.ndarray,
    statistics: Sequence[str],
    resamples: int,
    generator: np.random.Generator,
    weights: RunWeights,
    *,
    resample_tasks: bool,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    for statistic in statistics:
        if statistic not in STATISTICS:
            raise UnknownNameError("statistic", statistic, STATISTICS)
        if statistic != "iqm" and np.isinf(scores).any():
            raise InputError(
                f"{statistic} of scores with +∞",
                expected="the IQM, which trims them or is +∞",
                fix='ask for "iqm" alone, or take out runs that never arrived',
            )
    if resamples < 1:
        raise InputError(
            f"resamples is {resamples}", expected="at least 1", fix="50,000 are usual for numbers, 2,000 for curves"
        )
    cube = scores.reshape(*scores.shape[:2], -1)  # (R, M, S)
    once = every_run_once(weights)
    found = {
        statistic: (_ESTIMATES[statistic](cube, once, weights)[:, 0], np.empty((cube.shape[2], resamples)))
        for statistic in statistics
    }
    held = cube.shape[1] * cube.shape[2] * (cube.shape[0] if resample_tasks else 1) if "median" in statistics else None
    for places, draws in blocks(weights, resamples, generator, resample_tasks=resample_tasks, cells_per_draw=held):
        for statistic, (_, drawn) in found.items():
            drawn[:, places] = _ESTIMATES[statistic](cube, draws, weights)
    return found


def label_of(statistic: str, total_runs: int) -> str:
    """What to print for a statistic of `total_runs` runs: the quarter trim of fewer than four cuts nothing."""
    if statistic == "iqm":
        return "IQM" if total_runs >= 4 else f"mean (n={total_runs})"
    return {"median": "median", "mean": "mean", "optimality_gap": "optimality gap"}[statistic]


def percentile_bounds(drawn: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """(S,) lower and upper bounds of (S, resamples) draws, as rliable takes them; `drawn` is reordered.

    With +∞ among the draws there is no line to interpolate on: the bounds are then draws themselves, outwards.
    """
    tail = 100 * (1 - confidence) / 2
    if np.isinf(drawn).any():
        low = np.percentile(drawn, tail, axis=1, method="lower")
        return low, np.percentile(drawn, 100 - tail, axis=1, method="higher")
    low, high = np.percentile(drawn, [tail, 100 - tail], axis=1, overwrite_input=True)
    return low, high


def _mean(cube: np.ndarray, draws: Draws, weights: RunWeights) -> np.ndarray:
    """(S, B) mean over tasks of the mean over runs."""
    return np.asarray(cube[weights.present].T @ (draws.multiplicities(weights) / weights.total))


def _optimality_gap(cube: np.ndarray, draws: Draws, weights: RunWeights) -> np.ndarray:
    """(S, B) γ minus the mean of the scores, none counted above γ."""
    return np.asarray(OPTIMAL_SCORE - _mean(np.minimum(cube, OPTIMAL_SCORE), draws, weights))


def _median(cube: np.ndarray, draws: Draws, weights: RunWeights) -> np.ndarray:
    """(S, B) median over tasks (columns of a draw) of the mean over runs."""
    used = draws.used(weights)  # (B, R, M)
    column_runs = weights.num_runs[draws.tasks]  # (M,) or (B, M)
    if draws.tasks.ndim == 2:
        # Two columns may hold one task with different runs, which multiplicities cannot tell apart.
        taken = cube[draws.runs, draws.tasks[:, None, :]]  # (B, R, M, S)
        means = np.where(used[..., None], taken, 0).sum(axis=1) / column_runs[..., None]  # (B, M, S)
        return np.asarray(np.median(means, axis=1).T)
    num_draws, num_places, num_tasks = draws.runs.shape
    counts = np.zeros((num_places, num_tasks, num_draws))
    counts[weights.present] = draws.multiplicities(weights) / weights.repeats[np.nonzero(weights.present)[1], None]
    values = np.where(weights.present[..., None], cube, 0)
    means = np.matmul(values.transpose(1, 2, 0), counts.transpose(1, 0, 2))  # (M, S, B)
    return np.asarray(np.median(means / column_runs[:, None, None], axis=0))


def _iqm(cube: np.ndarray, draws: Draws, weights: RunWeights) -> np.ndarray:
    """(S, B) mean of the scores between the quartiles, over all runs and tasks, as scipy's `trim_mean` cuts them."""
    counts = draws.multiplicities(weights)  # (N, B)
    cut = weights.share(TRIM)
    values = cube[weights.present]  # (N, S)
    order = np.argsort(values, axis=0, kind="stable")
    reached = np.empty_like(counts)
    found = np.empty((values.shape[1], counts.shape[1]))
    for step in range(values.shape[1]):
        ranked = values[order[:, step], step]
        np.copyto(reached[0], counts[order[0, step]])
        for place in range(1, len(ranked)):
            np.add(reached[place - 1], counts[order[place, step]], out=reached[place])
        found[step] = _trimmed_mean(ranked, reached, cut, weights.total)
    return found


def _trimmed_mean(ranked: np.ndarray, reached: np.ndarray, cut: int | float, total: int | float) -> np.ndarray:
    """(B,) trimmed means of weighted scores.

    Args:
        ranked: (N,) scores in ascending order; +∞ may stand at the end.
        reached: (N, B) sum of the weights up to and with each score; overwritten.
        cut: weight to leave out at each end.
        total: sum of all weights.
    """
    # The weight that stays of score i is K_i - K_(i-1), K being the sums clipped to [cut, total - cut]. Summed by
    # parts it is one product of K with the differences of neighbouring scores.
    kept = np.clip(reached, cut, total - cut, out=reached)
    finite = int(np.isfinite(ranked).sum())
    if not finite:
        return np.full(reached.shape[1], np.inf)
    last = kept[finite - 1].astype(np.float64)
    sums = ranked[finite - 1] * last - ranked[0] * cut - np.diff(ranked[:finite]) @ kept[: finite - 1]
    return np.where(last < total - cut, np.inf, sums / (total - 2 * cut))


_ESTIMATES: dict[str, Callable[[np.ndarray, Draws, RunWeights], np.ndarray]] = {
    "iqm": _iqm,
    "median": _median,
    "mean": _mean,
    "optimality_gap": _optimality_gap,
}
