"""Differences between methods, and their ranks, with intervals; each method's runs are resampled on their own.

Legend: R runs per task, M tasks, B draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reports.statistics.intervals import CONFIDENCE, Interval, estimates, percentile_bounds
from reports.statistics.resampling import run_weights


def difference(
    scores: np.ndarray,
    others: np.ndarray,
    statistic: str,
    resamples: int,
    generator: np.random.Generator,
    *,
    confidence: float = CONFIDENCE,
) -> Interval:
    """A statistic of one method minus that of another.

    Args:
        scores: (R, M) of the method; NaN where a task has fewer runs.
        others: (R', M) of the method it is compared with, tasks in the same order.
        statistic, resamples, generator, confidence: see `interval`.
    """
    first, second = generator.spawn(2)
    weights, other_weights = run_weights(scores), run_weights(others)
    point, drawn = estimates(scores, statistic, resamples, first, weights)
    other_point, other_drawn = estimates(others, statistic, resamples, second, other_weights)
    low, high = percentile_bounds(drawn - other_drawn, confidence)
    numbers = np.concatenate([weights.num_runs, other_weights.num_runs])
    return Interval(
        point=(point - other_point)[0],
        low=low[0],
        high=high[0],
        statistic="difference",
        label="difference",
        num_runs=(int(numbers.min()), int(numbers.max())),
        num_tasks=scores.shape[1],
        resamples=resamples,
    )


@dataclass(frozen=True)
class Rank:
    """A method's place among others.

    Attributes:
        rank: 1 for the best statistic; equal ones share the mean of their places.
        low, high: ends of the interval over draws.
        share_first: share of the draws in which it is the best; equal best ones share it.
    """

    rank: float
    low: float
    high: float
    share_first: float


def ranks(
    scores: Mapping[str, np.ndarray],
    statistic: str,
    resamples: int,
    generator: np.random.Generator,
    *,
    confidence: float = CONFIDENCE,
) -> dict[str, Rank]:
    """Ranks of methods by a statistic, best first.

    Args:
        scores: label → (R, M); all of the same tasks.
        statistic: see `interval`; of the optimality gap the smallest is best, of the others the largest.
        resamples, generator, confidence: see `interval`.
    """
    points, drawn = [], []
    for one, source in zip(scores.values(), generator.spawn(len(scores)), strict=True):
        found = estimates(one, statistic, resamples, source, run_weights(one))
        points.append(found[0])
        drawn.append(found[1][0])
    sign = -1.0 if statistic == "optimality_gap" else 1.0
    now = _places(sign * np.stack(points))[:, 0]  # (labels,)
    places = _places(sign * np.stack(drawn))  # (labels, B)
    best = places == places.min(axis=0)
    firsts = (best / best.sum(axis=0)).mean(axis=1)
    low, high = percentile_bounds(places.copy(), confidence)
    found_ranks = {
        label: Rank(float(now[i]), float(low[i]), float(high[i]), float(firsts[i])) for i, label in enumerate(scores)
    }
    return dict(sorted(found_ranks.items(), key=lambda item: (item[1].rank, item[0])))


def _places(values: np.ndarray) -> np.ndarray:
    """(labels, B) place of each value in its column, 1 for the largest, ties at the mean of their places."""
    above = (values[None] > values[:, None]).sum(axis=1)
    equal = (values[None] == values[:, None]).sum(axis=1)
    return np.asarray(1 + above + (equal - 1) / 2)
