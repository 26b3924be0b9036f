"""Point estimates with their intervals, one row per method and one column of axes per statistic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.figures.style import line_style, style
from reports.text import plain


@dataclass(frozen=True)
class IntervalBar:
    """One estimate: a bar from low to high with a tick at the point."""

    label: str
    point: float
    low: float
    high: float
    style_index: int = 0


def draw_interval_bars(groups: Sequence[tuple[str, Sequence[IntervalBar]]]) -> Figure:
    """One column per statistic, one row per method.

    Args:
        groups: (title of the column, its bars); the rows of all columns are in the first one's order.
    """
    labels = [bar.label for bar in groups[0][1]] if groups else []
    with style():
        size = (1.6 + 1.9 * max(len(groups), 1), 0.75 + 0.27 * max(len(labels), 1))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(1, max(len(groups), 1), squeeze=False)[0]
        for column, (ax, (title, bars)) in enumerate(zip(axes, groups, strict=False)):
            for bar in bars:
                row = labels.index(bar.label)
                color = line_style(bar.style_index).color
                ax.barh(row, bar.high - bar.low, left=bar.low, height=0.55, color=color, alpha=0.55, linewidth=0)
                ax.vlines(bar.point, row - 0.32, row + 0.32, color="#000000", linewidth=1.4)
            ax.set_title(plain(title, 40))
            ax.use_sticky_edges = False
            ax.margins(x=0.08)
            ax.set_ylim(len(labels) - 0.5, -0.5)
            shown = [plain(label, 40) for label in labels] if column == 0 else [""] * len(labels)
            ax.set_yticks(range(len(labels)), shown)
            ax.grid(visible=False, axis="y")
            ax.tick_params(axis="y", length=0)
            ax.xaxis.set_major_locator(MaxNLocator(4))
    return figure
