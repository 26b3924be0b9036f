"""A sheet of pictures: rows of frames with their names on the left, in blocks with a title each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.figure import Figure

from reports.figures.canvas import Canvas
from reports.figures.panels import NOTE_COLOR, TWO_COLUMNS
from reports.figures.style import LABEL_SIZE, NOTE_SIZE, TICK_SIZE, TITLE_SIZE, style
from reports.figures.text_metrics import LINE_HEIGHT, text_width, wrapped
from reports.text import plain

LONGEST_NAME = 90.0
"""Points of the longest line of a row's name."""
GAP = 1.5
"""Points between pictures."""
Value = tuple[str | float | int, ...]


@dataclass(frozen=True)
class PictureRow:
    """A row.

    Attributes:
        label: on its left.
        frames: (C, H, W, 3) uint8.
    """

    label: str
    frames: np.ndarray


@dataclass(frozen=True)
class PictureBlock:
    """Rows of equally many frames.

    Attributes:
        title: above them; empty: none.
        heads: above each column.
        rows: from top to bottom.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[PictureRow]


@dataclass(frozen=True)
class PicturePlot:
    """A sheet of pictures.

    Attributes:
        blocks: one below the other.
        width: of the figure in points.
        note: what a reader of the figure alone must know; empty: none.
        numbers: rows (panel, line, x, point, low, high, runs) of what was measured, for the values' file.
    """

    blocks: Sequence[PictureBlock]
    width: float = TWO_COLUMNS
    note: str = ""
    numbers: Sequence[Value] = field(default=())

    @property
    def size(self) -> int:
        """How much there is to draw, in panels."""
        return len(self.blocks)

    @property
    def x_name(self) -> str:
        """What the values' x is; there is none."""
        return "x"

    def labels(self) -> list[str]:
        """Names that the page can hide; rows of pictures stay."""
        return []

    def values(self) -> Iterator[Value]:
        """What was measured."""
        yield from self.numbers

    def draw(self) -> Figure:
        """Draw it."""
        with style():
            return self._drawn()

    def _drawn(self) -> Figure:
        names = {row.label for block in self.blocks for row in block.rows}
        lines = {name: wrapped(plain(name, 120), LABEL_SIZE, LONGEST_NAME, 3) for name in names}
        left = 8 + max((text_width(line, LABEL_SIZE) for found in lines.values() for line in found), default=0.0)
        note = wrapped(plain(self.note, 800), NOTE_SIZE, self.width - 8, lines=6) if self.note else []
        note_height = len(note) * NOTE_SIZE * LINE_HEIGHT + (6 if note else 0)
        sides = [self._side(block, left) for block in self.blocks]
        heights = [self._height(block, side) for block, side in zip(self.blocks, sides, strict=True)]
        canvas = Canvas(self.width, sum(heights) + note_height + 2)
        top = canvas.height - 2
        for block, side, height in zip(self.blocks, sides, heights, strict=True):
            _draw_block(canvas, block, left, top, side, lines)
            top -= height
        if note:
            canvas.text(4, note_height - 1, note, NOTE_SIZE, up="top", color=NOTE_COLOR)
        return canvas.figure

    def _side(self, block: PictureBlock, left: float) -> float:
        columns = max(len(row.frames) for row in block.rows)
        return min((self.width - left - 4) / columns - GAP, 64.0)

    def _height(self, block: PictureBlock, side: float) -> float:
        return _title_height(block) + len(block.rows) * (side + GAP) + 6


def _title_height(block: PictureBlock) -> float:
    return (TITLE_SIZE * LINE_HEIGHT + 3 if block.title else 0) + (TICK_SIZE * LINE_HEIGHT + 2 if block.heads else 0)


def _draw_block(
    canvas: Canvas, block: PictureBlock, left: float, top: float, side: float, lines: dict[str, list[str]]
) -> None:
    if block.title:
        canvas.text(left, top - TITLE_SIZE, plain(block.title, 120), TITLE_SIZE)
    under = top - _title_height(block)
    for column, head in enumerate(block.heads):
        canvas.text(left + column * (side + GAP) + side / 2, under + 3, plain(head, 20), TICK_SIZE, across="center")
    for number, row in enumerate(block.rows):
        bottom = under - (number + 1) * (side + GAP) + GAP
        found = lines[row.label]
        start = bottom + side / 2 + (len(found) - 1) * LABEL_SIZE * LINE_HEIGHT / 2 - 0.36 * LABEL_SIZE
        for at, line in enumerate(found):
            canvas.text(left - 5, start - at * LABEL_SIZE * LINE_HEIGHT, line, LABEL_SIZE, across="right")
        _place(canvas, row.frames, left, bottom, side)


def _place(canvas: Canvas, frames: np.ndarray, left: float, bottom: float, side: float) -> None:
    """The frames of a row as one picture: many small ones would make a large file."""
    count, height, width = frames.shape[:3]
    gap = max(1, round(GAP * width / side))
    strip = np.full((height, count * (width + gap) - gap, 3), 255, np.uint8)
    for number, frame in enumerate(frames):
        strip[:, number * (width + gap) : number * (width + gap) + width] = frame
    across = side * strip.shape[1] / width
    place = (left / canvas.width, bottom / canvas.height, across / canvas.width, side / canvas.height)
    axes = canvas.figure.add_axes(place)
    axes.set_axis_off()
    axes.imshow(strip, interpolation="nearest", aspect="auto")
