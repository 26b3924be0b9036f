"""Numbers of whole learning curves: the area under them, and the env steps until a score is reached."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ipv_bench.errors import InputError
from reports.statistics.intervals import CONFIDENCE, Interval, interval


def area_under_curve(scores: np.ndarray, env_steps: np.ndarray) -> np.ndarray:
    """(R, M) mean score over training: the area under each run's curve by trapezoids, divided by the range of steps.

    Args:
        scores: (R, M, S) aligned scores; NaN for runs that do not exist.
        env_steps: (S,) the grid; one point alone gives its score.

    Raises:
        InputError: scores and steps do not fit together.
    """
    if scores.ndim != 3 or scores.shape[2] != len(env_steps):
        raise InputError(
            f"scores have shape {scores.shape}, env_steps {env_steps.shape}",
            expected="(num_runs, num_tasks, num_steps)",
            fix="align the runs to one grid of steps first (reports.scores.align)",
        )
    if len(env_steps) == 1:
        return scores[:, :, 0]
    return np.asarray(np.trapezoid(scores, env_steps, axis=2) / (env_steps[-1] - env_steps[0]))


def steps_to_reach(scores: np.ndarray, env_steps: np.ndarray, level: float) -> np.ndarray:
    """(R, M) first env step of the grid at which a run has at least `level`; +∞ for runs that never do.

    Args:
        scores: (R, M, S) aligned scores; NaN, and so NaN steps, for runs that do not exist.
        env_steps: (S,) the grid.
        level: in units of score.
    """
    reached = scores >= level  # (R, M, S); False for NaN
    first = np.where(reached.any(axis=2), env_steps[reached.argmax(axis=2)], np.inf)
    return np.where(np.isnan(scores).all(axis=2), np.nan, first)


@dataclass(frozen=True, eq=False)
class Reach:
    """How soon a score is reached.

    Attributes:
        level: the score.
        env_steps: IQM of the env steps until then; +∞ where so many runs never reach it that the IQM contains one.
        share: share of the runs that reach it; tasks weigh equally.
    """

    level: float
    env_steps: Interval
    share: Interval


def reach(
    scores: np.ndarray,
    env_steps: np.ndarray,
    level: float,
    resamples: int,
    generator: np.random.Generator,
    *,
    confidence: float = CONFIDENCE,
) -> Reach:
    """Env steps until `level` is reached, and the share of runs that reach it, with intervals.

    Args:
        scores: (R, M, S) aligned scores.
        env_steps: (S,) the grid.
        level: in units of score.
        resamples, generator, confidence: see `interval`.
    """
    steps = steps_to_reach(scores, env_steps, level)
    share = np.where(np.isnan(steps), np.nan, np.isfinite(steps))
    first, second = generator.spawn(2)
    return Reach(
        level=level,
        env_steps=interval(steps, "iqm", resamples, first, confidence=confidence, allow_infinite=True),
        share=interval(share, "mean", resamples, second, confidence=confidence),
    )
