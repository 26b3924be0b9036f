"""Point estimates with their intervals, one row per method and one column of axes per statistic."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from reports.figures.canvas import Box, Canvas
from reports.figures.panels import AXIS_COLOR, GRID_COLOR, NOTE_COLOR, TWO_COLUMNS
from reports.figures.style import LABEL_SIZE, NOTE_SIZE, TICK_SIZE, TITLE_SIZE, line_style, style
from reports.figures.text_metrics import LINE_HEIGHT, text_width, wrapped
from reports.figures.ticks import Axis, data_range
from reports.text import hide_name, plain, short_number

ROW, LONGEST_NAME = 15.0, 110.0
"""Points of a row, and of the longest line of a method's name."""


@dataclass(frozen=True)
class IntervalBar:
    """One estimate: a bar from low to high with a tick at the point; NaN ends: a tick alone."""

    label: str
    point: float
    low: float
    high: float
    style_index: int = 0
    runs: int = 0


@dataclass(frozen=True)
class BarPlot:
    """Interval bars.

    Attributes:
        groups: (title of the column, its bars); the rows of all columns are in the first one's order.
        width: of the figure in points, at most.
        note: what a reader of the figure alone must know; empty: none.
    """

    groups: Sequence[tuple[str, Sequence[IntervalBar]]]
    width: float = TWO_COLUMNS
    note: str = ""

    @property
    def size(self) -> int:
        """How much there is to draw, in panels."""
        return 1

    @property
    def x_name(self) -> str:
        """What the values' x is; bars have none."""
        return "x"

    def labels(self) -> list[str]:
        """Names of its rows."""
        return list(dict.fromkeys(bar.label for _, bars in self.groups for bar in bars))

    def values(self) -> Iterator[tuple[str | float | int, ...]]:
        """What is drawn, as rows (statistic, method, x, point, low, high, runs)."""
        for title, bars in self.groups:
            for bar in bars:
                yield title, bar.label, math.nan, bar.point, bar.low, bar.high, bar.runs

    def draw(self) -> Figure:
        """Draw it."""
        with style():
            return self._drawn()

    def _drawn(self) -> Figure:
        labels = [bar.label for bar in self.groups[0][1]] if self.groups else []
        names = {label: wrapped(plain(label, 120), LABEL_SIZE, LONGEST_NAME, 2) for label in labels}
        widest = max((text_width(line, LABEL_SIZE) for lines in names.values() for line in lines), default=0.0)
        left = widest + 10
        columns = self._columns(left)
        rows = math.ceil(len(self.groups) / columns) if self.groups else 1
        inner = (self.width - left - 8) / columns - 12
        note = wrapped(plain(self.note, 800), NOTE_SIZE, self.width - 8, lines=6) if self.note else []
        note_height = len(note) * NOTE_SIZE * LINE_HEIGHT + (4 if note else 0)
        block = TITLE_SIZE * LINE_HEIGHT + 6 + ROW * max(len(labels), 1) + TICK_SIZE + 8
        height = rows * block + note_height + 2
        canvas = Canvas(self.width, height)
        for index, (title, bars) in enumerate(self.groups):
            row, column = divmod(index, columns)
            x0 = left + column * (inner + 12)
            top = height - row * block - TITLE_SIZE * LINE_HEIGHT - 6
            box = Box(x0, top - ROW * len(labels), x0 + inner, top)
            canvas.text((box.left + box.right) / 2, top + 3, plain(title, 40), TITLE_SIZE, across="center")
            _draw_group(canvas, box, bars, labels)
            if column == 0:
                _draw_names(canvas, box, labels, names)
        if note:
            canvas.text(4, note_height - 1, note, NOTE_SIZE, up="top", color=NOTE_COLOR)
        return canvas.figure

    def _columns(self, left: float) -> int:
        return max(1, min(len(self.groups), int((self.width - left - 8) // 74)))


def _draw_names(canvas: Canvas, box: Box, labels: Sequence[str], names: dict[str, list[str]]) -> None:
    for row, label in enumerate(labels):
        middle = box.top - ROW * (row + 0.5)
        lines = names[label]
        size = LABEL_SIZE if len(lines) == 1 else NOTE_SIZE
        start = middle + (len(lines) - 1) * size * LINE_HEIGHT / 2 - 0.36 * size
        for number, line in enumerate(lines):
            place = start - number * size * LINE_HEIGHT
            canvas.text(box.left - 5, place, line, size, across="right", hide=hide_name(label))


def _draw_group(canvas: Canvas, box: Box, bars: Sequence[IntervalBar], labels: Sequence[str]) -> None:
    ends = np.array([end for bar in bars for end in (bar.low, bar.high, bar.point) if math.isfinite(end)])
    low, high = data_range(float(ends.min()), float(ends.max()), 0.08) if len(ends) else (0.0, 1.0)
    axis = Axis(low, high, box.left, box.right)
    ticks = axis.ticks(max(2, int(box.width // 28)))
    for place, value in zip(axis.place(ticks), ticks, strict=True):
        canvas.segments([(place, box.bottom, place, box.top)], GRID_COLOR, 0.4)
        text = short_number(0.0 if abs(value) < 1e-12 else float(value))
        canvas.text(place, box.bottom - 4, text, TICK_SIZE, across="center", up="top")
    canvas.segments([(box.left, box.bottom, box.right, box.bottom)], AXIS_COLOR, 0.6, zorder=2)
    for bar in bars:
        middle, hide = box.top - ROW * (labels.index(bar.label) + 0.5), hide_name(bar.label)
        start, point, end = axis.place(np.array([bar.low, bar.point, bar.high]))
        if math.isfinite(bar.low) and math.isfinite(bar.high):
            color = line_style(bar.style_index).color
            canvas.bar(Box(start, middle - 0.28 * ROW, end, middle + 0.28 * ROW), color, 0.55, hide)
        tick = [(point, middle - 0.33 * ROW, point, middle + 0.33 * ROW)]
        canvas.segments(tick, "#000000", 1.3, zorder=3, hide=hide)
