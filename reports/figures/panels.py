"""Panels: a grid of axes, each with one line and band per method, one legend and one note for all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from reports.figures.canvas import Box, Canvas
from reports.figures.style import BAND_ALPHA, LABEL_SIZE, NOTE_SIZE, TICK_SIZE, TITLE_SIZE, line_style, style
from reports.figures.text_metrics import LINE_HEIGHT, text_width, wrapped
from reports.figures.ticks import Axis, AxisScale, data_range
from reports.text import hide_name, plain, short_number

ONE_COLUMN, TWO_COLUMNS = 234.0, 486.0
"""Points: 3.25 and 6.75 inches, one column and the whole width of a two-column page."""

SMALLEST_PANEL = 58.0
"""Points of a panel's inner width below which fewer panels stand in a row."""

GRID_COLOR, AXIS_COLOR, LEVEL_COLOR, MISSING_COLOR, NOTE_COLOR = "#D9D9D9", "#1b1f24", "#666666", "#8A1C1C", "#57606a"
SAMPLE, GAP = 20.0, 4.0
"""Points of a legend's line sample, and between it and its name."""


@dataclass(frozen=True)
class Curve:
    """One line with its interval.

    Attributes:
        label: name in the legend.
        steps: (N,) grid, increasing.
        point: (N,) statistic.
        low: (N,) lower end of the interval; NaN or equal to `point` where there is none.
        high: (N,) upper end.
        style_index: which colour and dash.
        runs: number of runs behind it, for the table of its values.
        stairs: a point holds until the next one.
    """

    label: str
    steps: np.ndarray
    point: np.ndarray
    low: np.ndarray
    high: np.ndarray
    style_index: int = 0
    runs: int = 0
    stairs: bool = False

    def __post_init__(self) -> None:
        shapes = {np.shape(values) for values in (self.steps, self.point, self.low, self.high)}
        if len(shapes) != 1 or len(np.shape(self.steps)) != 1:
            raise ValueError(f"steps, point, low and high must share one shape (N,); got {sorted(shapes)}")


@dataclass(frozen=True)
class Panel:
    """One set of axes.

    Attributes:
        title: shown above, in as many lines as it needs.
        curves: in legend order.
        y_label, x_label: beside the axes; once for all panels where they have the same.
        missing: what is not there, one line each, written into the panel.
        level: a horizontal line with its name, such as the random policy's score.
        x_range: fixed limits, or None for those of the data.
        y_range: fixed limits, or None for those of the data.
        x_scale: of the x-axis.
    """

    title: str
    curves: Sequence[Curve]
    y_label: str = "score"
    x_label: str = "environment steps"
    missing: Sequence[str] = ()
    level: tuple[str, float] | None = None
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    x_scale: AxisScale = "linear"


@dataclass(frozen=True)
class PanelPlot:
    """A grid of panels with one legend above it and one note below.

    Attributes:
        panels: in reading order.
        columns: panels in a row; fewer where the width does not hold them.
        width: of the whole figure in points; one panel alone takes one column of a page at most.
        note: number of runs, interval, steps: what a reader of the figure alone must know; empty: none.
    """

    panels: Sequence[Panel]
    columns: int = 3
    width: float = TWO_COLUMNS
    note: str = ""

    @property
    def size(self) -> int:
        """How much there is to draw, in panels."""
        return len(self.panels)

    def draw(self) -> Figure:
        """Draw it."""
        with style():
            return _Sheet(self).figure

    def values(self) -> Iterator[tuple[str | float | int, ...]]:
        """What is drawn, as rows (panel, line, x, point, low, high, runs)."""
        for panel in self.panels:
            for curve in panel.curves:
                for index in range(len(curve.steps)):
                    numbers = (float(part[index]) for part in (curve.steps, curve.point, curve.low, curve.high))
                    yield (panel.title, curve.label, *numbers, curve.runs)

    def labels(self) -> list[str]:
        """Names of its lines."""
        return list(dict.fromkeys(curve.label for panel in self.panels for curve in panel.curves))

    @property
    def x_name(self) -> str:
        """What the values' x is."""
        return " / ".join(dict.fromkeys(panel.x_label for panel in self.panels)) or "x"


class _Sheet:
    """One drawing of a `PanelPlot`: sizes first, then everything at its place."""

    def __init__(self, plot: PanelPlot) -> None:
        self.panels = list(plot.panels)
        self.width = plot.width if len(self.panels) > 1 else min(plot.width, ONE_COLUMN)
        self.axes = [(_x_limits(panel), _y_limits(panel)) for panel in self.panels]
        self.y_labels = [plain(panel.y_label, 60) for panel in self.panels]
        self.x_labels = [plain(panel.x_label) for panel in self.panels]
        self.tick_room = 5 + max((self._tick_width(index) for index in range(len(self.panels))), default=0.0)
        self.columns = self._columns(plot.columns)
        self.rows = math.ceil(len(self.panels) / self.columns)
        self.shared_y, self.shared_x = len(set(self.y_labels)) == 1, len(set(self.x_labels)) == 1
        label_room = LABEL_SIZE * LINE_HEIGHT + 2
        self.own_label = 0.0 if self.shared_y else label_room
        self.left = 2 + (label_room if self.shared_y else 0.0)
        room = self.width - self.left - 9  # half of the last tick's text stands behind the last panel
        self.inner = room / self.columns - self.tick_room - self.own_label - (5 if self.columns > 1 else 0)
        self.height_of_panel = min(max(0.78 * self.inner, 46.0), 132.0)
        self.titles = [
            wrapped(plain(panel.title, 200), TITLE_SIZE, self.inner + self.tick_room - 2) for panel in self.panels
        ]
        self.legend = _Legend(self.panels, self.width)
        self.note = wrapped(plain(plot.note, 800), NOTE_SIZE, self.width - 8, lines=6) if plot.note else []
        self._draw()

    def _tick_width(self, index: int) -> float:
        low, high = self.axes[index][1]
        return max((text_width(text, TICK_SIZE) for text in _labels(Axis(low, high, 0, 1).ticks(5))), default=0.0)

    def _columns(self, wanted: int) -> int:
        fitting = int((self.width - 20) // (SMALLEST_PANEL + self.tick_room + 5))
        return max(1, min(wanted, len(self.panels), fitting))

    def _draw(self) -> None:
        line = LABEL_SIZE * LINE_HEIGHT
        note = len(self.note) * NOTE_SIZE * LINE_HEIGHT + (4 if self.note else 0)
        ticks = TICK_SIZE + 5
        own_x = 0.0 if self.shared_x else line
        heads = []
        for row in range(self.rows):
            its = self.titles[row * self.columns : (row + 1) * self.columns]
            heads.append(max(map(len, its)) * TITLE_SIZE * LINE_HEIGHT + 4)
        below = ticks + own_x + 3
        foot = note + (line + 2 if self.shared_x and any(panel.curves for panel in self.panels) else 2)
        height = self.legend.height + sum(heads) + self.rows * (self.height_of_panel + below) + foot
        self.canvas = Canvas(self.width, height)
        top = height - self.legend.height
        grid = self.left, top
        for row in range(self.rows):
            top -= heads[row]
            for column in range(self.columns):
                index = row * self.columns + column
                if index < len(self.panels):
                    pitch = self.inner + self.tick_room + self.own_label + (5 if self.columns > 1 else 0)
                    left = self.left + column * pitch + self.own_label + self.tick_room
                    self._panel(index, Box(left, top - self.height_of_panel, left + self.inner, top))
            top -= self.height_of_panel + below
        middle = (self.left + self.width) / 2
        if self.shared_x and any(panel.curves for panel in self.panels):
            self.canvas.text(middle, top + 1, self.x_labels[0], LABEL_SIZE, across="center", up="top")
        if self.shared_y:
            centre = (grid[1] + top) / 2
            room = wrapped(self.y_labels[0], LABEL_SIZE, grid[1] - top, lines=1)
            self.canvas.text(2, centre, room, LABEL_SIZE, across="center", up="top", rotation=90)
        self.legend.draw(self.canvas, height)
        if self.note:
            self.canvas.text(4, note - 1, self.note, NOTE_SIZE, up="top", color=NOTE_COLOR)
        self.figure = self.canvas.figure

    def _panel(self, index: int, box: Box) -> None:
        panel, (x_limits, y_limits) = self.panels[index], self.axes[index]
        canvas = self.canvas
        x = Axis(*x_limits, box.left, box.right, panel.x_scale)
        y = Axis(*y_limits, box.bottom, box.top)
        canvas.text(
            (box.left + box.right) / 2, box.top + 3, self.titles[index], TITLE_SIZE, across="center", up="bottom"
        )
        if panel.curves:
            self._ticks(x, y, box)
        edges = [(box.left, box.bottom, box.right, box.bottom), (box.left, box.bottom, box.left, box.top)]
        canvas.segments(edges, AXIS_COLOR, 0.6, zorder=2)
        if not self.shared_y:
            label = wrapped(self.y_labels[index], LABEL_SIZE, box.height + 10, lines=1)
            left = box.left - self.tick_room - self.own_label + 2
            canvas.text(left, (box.bottom + box.top) / 2, label, LABEL_SIZE, across="center", up="top", rotation=90)
        if not self.shared_x and panel.curves:
            under = box.bottom - TICK_SIZE - 6
            canvas.text((box.left + box.right) / 2, under, self.x_labels[index], LABEL_SIZE, across="center", up="top")
        for curve in panel.curves:
            _draw_curve(canvas, curve, x, y, box)
        if panel.level is not None and y_limits[0] <= panel.level[1] <= y_limits[1]:
            place = float(y.place(np.array([panel.level[1]]))[0])
            canvas.segments([(box.left, place, box.right, place)], LEVEL_COLOR, 0.9, dash=(0, (2, 2)), zorder=2)
        if panel.missing:
            self._missing(panel, box)

    def _ticks(self, x: Axis, y: Axis, box: Box) -> None:
        marks, lines = [], []
        x_ticks = _fitting_ticks(x)
        for place, label in zip(x.place(x_ticks), _labels(x_ticks), strict=True):
            marks.append((place, box.bottom, place, box.bottom - 2))
            lines.append((place, box.bottom, place, box.top))
            self.canvas.text(place, box.bottom - 4, label, TICK_SIZE, across="center", up="top")
        y_ticks = y.ticks(6 if box.height > 100 else 5 if box.height > 60 else 4)
        for place, label in zip(y.place(y_ticks), _labels(y_ticks), strict=True):
            marks.append((box.left - 2, place, box.left, place))
            lines.append((box.left, place, box.right, place))
            self.canvas.text(box.left - 4, place - 0.36 * TICK_SIZE, label, TICK_SIZE, across="right")
        self.canvas.segments(lines, GRID_COLOR, 0.4)
        self.canvas.segments(marks, AXIS_COLOR, 0.5)

    def _missing(self, panel: Panel, box: Box) -> None:
        lines = [line for text in panel.missing[:4] for line in wrapped(plain(text, 120), NOTE_SIZE, box.width - 6, 3)]
        room = max(1, int(box.height / (NOTE_SIZE * LINE_HEIGHT)) - 1)
        if len(lines) > room or len(panel.missing) > 4:
            lines = [*lines[:room], "…"]
        place = (box.left + 3, box.top - 3, "left", "top") if panel.curves else _centre(box)
        self.canvas.text(
            place[0], place[1], lines, NOTE_SIZE, across=place[2], up=place[3], color=MISSING_COLOR, backed=True
        )


def _centre(box: Box) -> tuple[float, float, str, str]:
    return (box.left + box.right) / 2, (box.bottom + box.top) / 2, "center", "center"


def _draw_curve(canvas: Canvas, curve: Curve, x: Axis, y: Axis, box: Box) -> None:
    look, hide = line_style(curve.style_index), hide_name(curve.label)
    steps, parts = x.place(curve.steps), [y.place(part) for part in (curve.point, curve.low, curve.high)]
    if curve.stairs and len(steps) > 1:
        steps = np.repeat(steps, 2)[1:]
        parts = [np.repeat(part, 2)[:-1] for part in parts]
    clip = Box(box.left - 1, box.bottom - 1, box.right + 1, box.top + 1)
    if np.isfinite(parts[1]).all() and (parts[2] > parts[1]).any():
        if len(steps) > 1:
            canvas.band(steps, parts[1], parts[2], look.color, BAND_ALPHA, clip, hide)
        else:  # one step: its interval is a bar
            ends = [(steps[0], parts[1][0], steps[0], parts[2][0])]
            canvas.segments(ends, look.color, 1.0, zorder=2, hide=hide)
    canvas.line(steps, parts[0], look, clip=clip, hide=hide, marks=len(steps) < 2)


def _fitting_ticks(x: Axis) -> np.ndarray:
    """As many ticks as have room for their numbers."""
    for number in (6, 5, 4, 3, 2, 1):
        ticks = x.ticks(number)
        places = x.place(ticks)
        widths = np.array([text_width(label, TICK_SIZE) for label in _labels(ticks)])
        room = np.diff(places) - (widths[1:] + widths[:-1]) / 2
        inside = len(places) == 0 or places[-1] + widths[-1] / 2 <= x.last + 9
        if (room > 4).all() and inside:
            return ticks
    return ticks[:1]


def _labels(ticks: np.ndarray) -> list[str]:
    return [short_number(0.0 if abs(value) < 1e-12 else float(value)) for value in ticks]


def _x_limits(panel: Panel) -> tuple[float, float]:
    if panel.x_range is not None:
        return panel.x_range
    parts = [curve.steps for curve in panel.curves if len(curve.steps)]
    if not parts:
        return 0.0, 1.0
    return data_range(min(float(part[0]) for part in parts), max(float(part[-1]) for part in parts), margin=0.02)


def _y_limits(panel: Panel) -> tuple[float, float]:
    if panel.y_range is not None:
        return panel.y_range
    parts = [
        _within(curve.steps, part, panel.x_range)
        for curve in panel.curves for part in (curve.point, curve.low, curve.high)
    ]  # fmt: skip
    finite = np.concatenate([part[np.isfinite(part)] for part in parts]) if parts else np.zeros(0)
    levels = [panel.level[1]] if panel.level is not None and math.isfinite(panel.level[1]) else []
    if not len(finite):
        return data_range(min(levels, default=math.nan), max(levels, default=math.nan))
    return data_range(min([float(finite.min()), *levels]), max([float(finite.max()), *levels]))


def _within(steps: np.ndarray, part: np.ndarray, x_range: tuple[float, float] | None) -> np.ndarray:
    """What is seen of a line: its values inside the limits, and where it crosses them."""
    if x_range is None or not len(steps):
        return part
    low, high = x_range
    edges = [edge for edge in x_range if steps[0] < edge < steps[-1]]
    return np.concatenate([part[(steps >= low) & (steps <= high)], np.interp(edges, steps, part)])


class _Legend:
    """Names of the lines, in columns that their widths allow."""

    def __init__(self, panels: Sequence[Panel], width: float) -> None:
        self.width = width
        styles = {curve.label: curve.style_index for panel in panels for curve in panel.curves}
        first: dict[str, int | None] = {label: styles[label] for label in styles}
        for panel in panels:
            if panel.level is not None:
                first.setdefault(panel.level[0], None)
        room = width - 16 - SAMPLE - GAP
        self.entries = [
            (label, index, wrapped(plain(label, 120), LABEL_SIZE, room, 2)) for label, index in first.items()
        ]
        widths = [
            SAMPLE + GAP + 12 + max(text_width(line, LABEL_SIZE) for line in lines) for _, _, lines in self.entries
        ]
        self.pitch = max(widths, default=0.0)
        self.columns = max(1, min(len(self.entries), int((width - 4) // self.pitch))) if self.entries else 1
        if self.entries:  # rows of equal length look better than a full one and one name below
            self.columns = math.ceil(len(self.entries) / math.ceil(len(self.entries) / self.columns))
        self.rows = [self.entries[start : start + self.columns] for start in range(0, len(self.entries), self.columns)]
        self.heights = [max(len(lines) for _, _, lines in row) * LABEL_SIZE * 1.3 for row in self.rows]
        self.height = sum(self.heights) + (4 if self.rows else 0)

    def draw(self, canvas: Canvas, top: float) -> None:
        """Draw it below `top`, in the middle."""
        across = min(self.columns, len(self.entries)) * self.pitch
        place = top - 2
        for row, height in zip(self.rows, self.heights, strict=True):
            for column, (label, index, lines) in enumerate(row):
                left = max(2.0, (self.width - across) / 2) + column * self.pitch
                middle = place - LABEL_SIZE * 0.65
                hide = "" if index is None else hide_name(label)
                self._sample(canvas, index, left, middle, hide)
                name = left + SAMPLE + GAP
                canvas.text(name, middle - 0.36 * LABEL_SIZE, lines[0], LABEL_SIZE, hide=hide)
                if lines[1:]:
                    under = middle - 0.36 * LABEL_SIZE - LABEL_SIZE * LINE_HEIGHT
                    canvas.text(name, under, lines[1], LABEL_SIZE, hide=hide)
            place -= height

    @staticmethod
    def _sample(canvas: Canvas, index: int | None, left: float, middle: float, hide: str) -> None:
        if index is None:
            ends = [(left, middle, left + SAMPLE, middle)]
            canvas.segments(ends, LEVEL_COLOR, 0.9, dash=(0, (2, 2)), zorder=2)
            return
        x = np.array([left, left + SAMPLE / 2, left + SAMPLE])
        look = line_style(index)
        canvas.line(x, np.full(3, middle), look, hide=hide)
