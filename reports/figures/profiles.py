"""Performance profiles: the share of runs that score above each threshold."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from reports.figures.panels import Curve, Panel, draw_panels


def draw_profiles(curves: Sequence[Curve], score_name: str) -> Figure:
    """Performance profiles with their bands.

    Source: Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice", section 4.3.

    Args:
        curves: per method; `steps` are the thresholds, the other values shares in [0, 1].
        score_name: what the thresholds are, with its unit.
    """
    panel = Panel(
        title="performance profile",
        curves=curves,
        y_label="share of runs above",
        x_label=f"{score_name} threshold",
        y_range=(-0.02, 1.02),
    )
    return draw_panels([panel], columns=1, scale=1.5)
