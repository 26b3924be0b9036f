"""Performance profiles: the share of runs that score above each threshold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from reports.figures.panels import Curve, Panel
from reports.figures.ticks import AxisScale

MOST_THRESHOLDS = 401
FAR_OUT = 5.0
"""Largest score, in units of the nine tenths' quantile, above which the axis is logarithmic beyond 1."""


def profile_thresholds(scores: Iterable[np.ndarray]) -> np.ndarray:
    """(K,) thresholds at the scores themselves, where the shares change, from 0 (or below the smallest) on.

    Args:
        scores: final scores of each method, any shape; NaN where there is no run.
    """
    every = np.unique(np.concatenate([np.ravel(one)[np.isfinite(np.ravel(one))] for one in scores]))
    if len(every) > MOST_THRESHOLDS - 1:
        places = np.linspace(0, len(every) - 1, MOST_THRESHOLDS - 1).round().astype(np.int64)
        every = every[np.unique(places)]
    span = float(every[-1] - every[0]) or abs(float(every[0])) or 1.0
    start = min(0.0, float(every[0]) - 0.02 * span)
    return np.unique(np.append(every, start))


def profile_scale(thresholds: np.ndarray) -> AxisScale:
    """A linear axis, unless a few scores are so large that the others would share its first pixels."""
    usual = float(np.quantile(thresholds, 0.9))
    return "symlog" if thresholds[-1] > FAR_OUT * max(usual, 1.0) else "linear"


def profile_panel(curves: Sequence[Curve], score_name: str) -> Panel:
    """Performance profiles with their bands.

    Source: Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice", section 4.3.

    Args:
        curves: per method; `steps` are the thresholds, the other values shares in [0, 1].
        score_name: what the thresholds are, with its unit.
    """
    return Panel(
        title="performance profile",
        curves=curves,
        y_label="share of runs above",
        x_label=f"{score_name} threshold",
        y_range=(-0.02, 1.02),
        x_scale=profile_scale(curves[0].steps) if curves else "linear",
    )
