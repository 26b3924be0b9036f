"""Learning curves: a grid of panels, each with one line and band per method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from reports.figures.style import BAND_ALPHA, PANEL_HEIGHT, PANEL_WIDTH, line_style, style
from reports.text import plain, short_number


@dataclass(frozen=True)
class Curve:
    """One line with its interval.

    Attributes:
        label: name in the legend.
        steps: (N,) grid, increasing.
        point: (N,) statistic.
        low: (N,) lower end of the interval; equal to `point` where there is none.
        high: (N,) upper end.
        style_index: which colour and dash.
    """

    label: str
    steps: np.ndarray
    point: np.ndarray
    low: np.ndarray
    high: np.ndarray
    style_index: int = 0

    def __post_init__(self) -> None:
        shapes = {np.shape(values) for values in (self.steps, self.point, self.low, self.high)}
        if len(shapes) != 1 or len(np.shape(self.steps)) != 1:
            raise ValueError(f"steps, point, low and high must share one shape (N,); got {sorted(shapes)}")


@dataclass(frozen=True)
class Panel:
    """One set of axes.

    Attributes:
        title: shown above.
        curves: in legend order.
        missing: what is not there, one line each, written into the panel.
        level: a horizontal line with its name, such as the random policy's score.
        x_range: fixed limits, or None for those of the data.
        y_range: fixed limits, or None for those of the data.
    """

    title: str
    curves: Sequence[Curve]
    y_label: str = "score"
    x_label: str = "environment steps"
    missing: Sequence[str] = ()
    level: tuple[str, float] | None = None
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None


def draw_panels(panels: Sequence[Panel], columns: int = 3, scale: float = 1.0) -> Figure:
    """A grid of panels with one legend above it.

    Args:
        panels: in reading order.
        columns: panels in a row.
        scale: size of one panel relative to the small one of a paper's grid.
    """
    shown = list(panels)
    columns = max(1, min(columns, len(shown)))
    rows = math.ceil(len(shown) / columns)
    entries = _legend_entries(shown)
    width = columns * PANEL_WIDTH * scale
    legend_columns = _legend_columns([label for label, _ in entries], width)
    legend_rows = math.ceil(len(entries) / legend_columns) if entries else 0
    height = rows * PANEL_HEIGHT * scale + 0.2 * legend_rows + (0.1 if legend_rows else 0)
    with style():
        figure = Figure(figsize=(max(width, 2.6), height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for index, ax in enumerate(axes.flat):
            if index < len(shown):
                _draw_panel(ax, shown[index])
            else:
                ax.set_axis_off()
        if entries:
            figure.legend(
                [handle for _, handle in entries],
                [label for label, _ in entries],
                loc="outside upper center",
                ncols=legend_columns,
                columnspacing=1.2,
                handlelength=2.2,
            )
    return figure


def _draw_panel(ax: Axes, panel: Panel) -> None:
    for curve in panel.curves:
        look = line_style(curve.style_index)
        few = len(curve.steps) < 2
        ax.plot(
            curve.steps, curve.point, color=look.color, linestyle=look.dash, marker=look.marker if few else "", zorder=3
        )
        ax.fill_between(curve.steps, curve.low, curve.high, color=look.color, alpha=BAND_ALPHA, linewidth=0)
    if panel.level is not None:
        ax.axhline(panel.level[1], color="#666666", linewidth=1, linestyle=(0, (2, 2)), zorder=2)
    if panel.missing:
        lines = [plain(line, 44) for line in panel.missing[:6]]
        lines += [f"… and {len(panel.missing) - 6} more"] if len(panel.missing) > 6 else []
        box = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1.5}
        where = {"x": 0.5, "y": 0.5, "va": "center", "ha": "center"}
        if panel.curves:
            where = {"x": 0.02, "y": 0.98, "va": "top", "ha": "left"}
        ax.text(s="\n".join(lines), transform=ax.transAxes, fontsize=6, color="#8A1C1C", bbox=box, **where)  # type: ignore[arg-type]
    ax.set_title(plain(panel.title, 46))
    ax.set_xlabel(plain(panel.x_label))
    ax.set_ylabel(plain(panel.y_label, 40))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    if panel.x_range is not None:
        ax.set_xlim(*panel.x_range)
    if panel.y_range is not None:
        ax.set_ylim(*panel.y_range)
    if not panel.curves:
        ax.set_xticks([])
        ax.set_yticks([])


def _legend_entries(panels: Sequence[Panel]) -> list[tuple[str, Line2D]]:
    found: dict[str, Line2D] = {}
    for panel in panels:
        for curve in panel.curves:
            look = line_style(curve.style_index)
            if curve.label not in found:
                found[curve.label] = Line2D([], [], color=look.color, linestyle=look.dash)
    for panel in panels:
        if panel.level is not None and panel.level[0] not in found:
            found[panel.level[0]] = Line2D([], [], color="#666666", linewidth=1, linestyle=(0, (2, 2)))
    return [(plain(label, 60), handle) for label, handle in found.items()]


def _legend_columns(labels: Sequence[str], width_inches: float) -> int:
    if not labels:
        return 1
    entry = 0.55 + 0.075 * max(len(label) for label in labels)  # line sample and letters at 8 pt
    return max(1, min(len(labels), int(width_inches / entry)))
