"""The mean of an evaluation's episodes with a percentile-bootstrap interval over these episodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES, SEED = 50_000, 0


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, low and high end of the 95 % interval; both ends are the mean for one value.

    Args:
        values: one per episode, N ≥ 1.
    """
    scores = np.asarray(values, np.float64)
    draws = np.random.default_rng(SEED).integers(0, len(scores), (RESAMPLES, len(scores)))
    low, high = np.percentile(scores[draws].mean(1), [2.5, 97.5])
    return float(scores.mean()), float(low), float(high)
