"""Points of two dimensions without units, coloured by class: one panel per model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from reports.figures.canvas import Box, Canvas
from reports.figures.panels import AXIS_COLOR, NOTE_COLOR, TWO_COLUMNS
from reports.figures.style import LABEL_SIZE, NOTE_SIZE, PALETTE, TITLE_SIZE, style
from reports.figures.text_metrics import LINE_HEIGHT, text_width, wrapped
from reports.text import plain

MARK, MARGIN = 1.7, 0.05
"""Half of a mark's size in points; room around the points, as a share of the panel."""
_SHAPES = (
    np.array([[np.cos(a), np.sin(a)] for a in np.linspace(0, 2 * np.pi, 12, endpoint=False)]),
    np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * 0.9,
    np.array([[0.0, 1.3], [1.2, -0.8], [-1.2, -0.8]]),
)
"""Marks: a second sign beside the colour, changed when the colours are used up."""


@dataclass(frozen=True)
class PointPanel:
    """Points of one model.

    Attributes:
        title: above the panel.
        points: (N, 2).
        classes: (N,) numbers into `PointPlot.names`.
    """

    title: str
    points: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True)
class PointPlot:
    """Panels that share a legend.

    Attributes:
        panels: side by side, at most three in a row.
        names: of the classes.
        width: of the figure in points.
        note: what a reader of the figure alone must know; empty: none.
    """

    panels: Sequence[PointPanel]
    names: Sequence[str]
    width: float = TWO_COLUMNS
    note: str = ""

    @property
    def size(self) -> int:
        """How much there is to draw, in panels."""
        return len(self.panels)

    @property
    def x_name(self) -> str:
        """What the values' x is."""
        return "x"

    def labels(self) -> list[str]:
        """Names that the page can hide; classes of points stay."""
        return []

    def values(self) -> Iterator[tuple[str | float | int, ...]]:
        """The points, as rows (model, class, x, y, and what points do not have)."""
        for panel in self.panels:
            for (x, y), kind in zip(panel.points.tolist(), panel.classes.tolist(), strict=True):
                yield panel.title, self.names[kind], x, y, math.nan, math.nan, 1

    def draw(self) -> Figure:
        """Draw it."""
        with style():
            return self._drawn()

    def _drawn(self) -> Figure:
        columns = min(3, len(self.panels))
        side = min((self.width - 8) / columns - 8, 220.0)
        rows = math.ceil(len(self.panels) / columns)
        note = wrapped(plain(self.note, 800), NOTE_SIZE, self.width - 8, lines=6) if self.note else []
        note_height = len(note) * NOTE_SIZE * LINE_HEIGHT + (6 if note else 0)
        legend = _legend_lines(self.names, self.width - 8)
        legend_height = len(legend) * (LABEL_SIZE * LINE_HEIGHT + 2) + 4
        titles = [wrapped(plain(panel.title, 120), TITLE_SIZE, side, 2) for panel in self.panels]
        title_height = max(map(len, titles)) * TITLE_SIZE * LINE_HEIGHT + 4
        block = title_height + side + 6
        canvas = Canvas(self.width, legend_height + rows * block + note_height + 2)
        _draw_legend(canvas, legend, canvas.height - 2)
        for number, (panel, title) in enumerate(zip(self.panels, titles, strict=True)):
            row, column = divmod(number, columns)
            left, top = 4 + column * (side + 8), canvas.height - legend_height - row * block - title_height
            box = Box(left, top - side, left + side, top)
            canvas.text((box.left + box.right) / 2, top + 3, title, TITLE_SIZE, across="center")
            _draw_points(canvas, panel, box)
        if note:
            canvas.text(4, note_height - 1, note, NOTE_SIZE, up="top", color=NOTE_COLOR)
        return canvas.figure


def _draw_points(canvas: Canvas, panel: PointPanel, box: Box) -> None:
    edges = [(box.left, box.bottom, box.right, box.bottom), (box.left, box.top, box.right, box.top)]
    edges += [(box.left, box.bottom, box.left, box.top), (box.right, box.bottom, box.right, box.top)]
    canvas.segments(edges, AXIS_COLOR, 0.5)
    low, high = panel.points.min(0), panel.points.max(0)
    share = (panel.points - low) / np.where(high > low, high - low, 1)
    share = MARGIN + (1 - 2 * MARGIN) * share
    places = np.array([box.left, box.bottom]) + share * np.array([box.width, box.height])
    for kind in np.unique(panel.classes).tolist():
        _marks(canvas, places[panel.classes == kind], kind)


def _marks(canvas: Canvas, places: np.ndarray, kind: int) -> None:
    color, shape = PALETTE[kind % len(PALETTE)], _SHAPES[kind // len(PALETTE) % len(_SHAPES)]
    corners = list(places[:, None] + MARK * shape)
    canvas.add(PolyCollection(corners, facecolors=color, edgecolors="white", linewidths=0.2, zorder=3))


def _legend_lines(names: Sequence[str], width: float) -> list[list[tuple[int, str, float]]]:
    """Lines of (class, text, width in points)."""
    lines: list[list[tuple[int, str, float]]] = [[]]
    used = 0.0
    for kind, name in enumerate(names):
        text = plain(name, 60)
        needs = text_width(text, LABEL_SIZE) + 20
        if lines[-1] and used + needs > width:
            lines.append([])
            used = 0.0
        lines[-1].append((kind, text, needs))
        used += needs
    return lines


def _draw_legend(canvas: Canvas, lines: Sequence[Sequence[tuple[int, str, float]]], top: float) -> None:
    for number, line in enumerate(lines):
        middle = top - (number + 0.5) * (LABEL_SIZE * LINE_HEIGHT + 2)
        left = 6.0
        for kind, text, needs in line:
            _marks(canvas, np.array([[left, middle]]), kind)
            canvas.text(left + 5, middle - 0.36 * LABEL_SIZE, text, LABEL_SIZE)
            left += needs
