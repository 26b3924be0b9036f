"""Performance profiles and the probability of improvement, with intervals (both as rliable defines them).

Legend: R runs per task, M tasks, K thresholds, B draws of a block.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ipv_bench.errors import InputError
from reports.statistics.intervals import CONFIDENCE, Interval, interval, percentile_bounds
from reports.statistics.resampling import Draws, RunWeights, blocks, every_run_once, run_weights


def performance_profile(
    scores: np.ndarray,
    thresholds: np.ndarray,
    resamples: int,
    generator: np.random.Generator,
    *,
    confidence: float = CONFIDENCE,
    resample_tasks: bool = False,
) -> Interval:
    """Share of runs (over all tasks) whose score is above each threshold: the score distribution.

    Args:
        scores: (R, M) final scores; NaN where a task has fewer runs.
        thresholds: (K,) scores.
        resamples, generator, confidence, resample_tasks: see `interval`.

    Returns:
        point, low and high (K,).
    """
    above = np.where(np.isnan(scores)[:, :, None], np.nan, scores[:, :, None] > thresholds)  # (R, M, K)
    found = interval(above, "mean", resamples, generator, confidence=confidence, resample_tasks=resample_tasks)
    return replace(found, statistic="performance_profile", label="share of runs")


def probability_of_improvement(
    scores: np.ndarray,
    others: np.ndarray,
    resamples: int,
    generator: np.random.Generator,
    *,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Probability that a run of one method is better than a run of the other on a task drawn at random.

    Over all pairs of runs of a task, a better score counts 1 and an equal one 1/2; tasks weigh equally. Both methods'
    runs are resampled, independently of each other.

    Args:
        scores: (R, M) of the method; NaN where a task has fewer runs.
        others: (R', M) of the method it is compared with, tasks in the same order.
        resamples, generator, confidence: see `interval`.

    Raises:
        InputError: the numbers of tasks differ, or see `run_weights`.
    """
    if scores.shape[1:] != others.shape[1:] or scores.ndim != 2:
        raise InputError(
            f"scores have shape {scores.shape}, the others {others.shape}",
            expected="(num_runs, num_tasks), equal tasks",
            fix="keep the tasks that both have, in one order",
        )
    weights, other_weights = run_weights(scores), run_weights(others)
    wins = _wins(scores, others)  # (M, R, R')
    point = _improvement(wins, every_run_once(weights), every_run_once(other_weights), weights, other_weights)
    drawn = np.empty((1, resamples))
    # Equal block sizes for both sides, so that draw b of one meets draw b of the other.
    cells = max(weights.present.size, other_weights.present.size, wins.size)
    ours = blocks(weights, resamples, generator.spawn(1)[0], cells_per_draw=cells)
    theirs = blocks(other_weights, resamples, generator.spawn(1)[0], cells_per_draw=cells)
    for (places, draws), (_, other_draws) in zip(ours, theirs, strict=True):
        drawn[0, places] = _improvement(wins, draws, other_draws, weights, other_weights)
    low, high = percentile_bounds(drawn, confidence)
    numbers = np.concatenate([weights.num_runs, other_weights.num_runs])
    return Interval(
        point=point[0],
        low=low[0],
        high=high[0],
        statistic="probability_of_improvement",
        label="P(X > Y)",
        num_runs=(int(numbers.min()), int(numbers.max())),
        num_tasks=scores.shape[1],
        resamples=resamples,
    )


def _wins(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(M, R, R') 1 where our run is better, 1/2 where equal, 0 where worse or where there is no run."""
    ours, theirs = scores.T[:, :, None], others.T[:, None, :]
    return np.asarray((ours > theirs) + 0.5 * (ours == theirs))


def _improvement(
    wins: np.ndarray, draws: Draws, other_draws: Draws, weights: RunWeights, other_weights: RunWeights
) -> np.ndarray:
    """(B,) mean over tasks of the share of won pairs."""
    ours = _shares(draws, weights)  # (M, R, B)
    theirs = _shares(other_draws, other_weights)  # (M, R', B)
    met = np.matmul(wins.transpose(0, 2, 1), ours)  # (M, R', B): share of our runs that each other run loses to
    return np.asarray((met * theirs).sum(axis=1).mean(axis=0))


def _shares(draws: Draws, weights: RunWeights) -> np.ndarray:
    """(M, R, B) share of each run among the drawn ones of its task."""
    num_places, num_tasks = weights.present.shape
    shares = np.zeros((num_places, num_tasks, draws.runs.shape[0]))
    shares[weights.present] = draws.multiplicities(weights) * (num_tasks / weights.total)
    return shares.transpose(1, 0, 2)
