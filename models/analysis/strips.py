"""Plain pictures of clips, without axes: rows of frames over time as PNG, and the same side by side as moving GIFs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Frames = NDArray[np.uint8]

GAP, BAR, CHARACTER = 2, 4, 6
"""Pixels: between pictures, height of the bar above a column, width of a letter of pillow's own font."""
SEEN, PREDICTED = (40, 110, 60), (170, 60, 40)
"""Colours of the bars above frames that the model saw and frames that it predicted."""


class Row(NamedTuple):
    """A row of a strip.

    Attributes:
        label: what it is, written on its left; lines are broken at " · ".
        frames: (T, H, W, 3).
    """

    label: str
    frames: Frames


def strip_png(clips: Sequence[Sequence[Row]], seen: int | None = None, zoom: int = 1) -> bytes:
    """Clips one below another, each with its rows; one column per time step.

    Args:
        clips: rows of each; all frames of one size and number.
        seen: frames up to this one have a green bar above them, later ones a red one; None: no bars.
        zoom: pixels per pixel.
    """
    length, height, width = clips[0][0].frames.shape[:3]
    height, width = height * zoom, width * zoom
    margin = _margin([row.label for rows in clips for row in rows])
    top = BAR + GAP if seen is not None else 0
    blocks = [top + len(rows) * (height + GAP) + 8 for rows in clips]
    sheet = Image.new("RGB", (margin + length * (width + GAP), sum(blocks)), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    above = 0
    for rows, block in zip(clips, blocks, strict=True):
        for t in range(length):
            left = margin + t * (width + GAP)
            if seen is not None:
                draw.rectangle((left, above, left + width - 1, above + BAR - 1), fill=SEEN if t < seen else PREDICTED)
            for number, row in enumerate(rows):
                sheet.paste(_enlarged(row.frames[t], zoom), (left, above + top + number * (height + GAP)))
        for number, row in enumerate(rows):
            text = "\n".join(_lines(row.label))
            middle = above + top + number * (height + GAP) + height // 2
            draw.multiline_text((2, middle - 6 * (text.count("\n") + 1)), text, fill=(0, 0, 0), spacing=2)
        above += block
    return _encoded(sheet, "PNG")


def moving_gif(rows: Sequence[Row], seen: int | None = None, fps: float = 8, zoom: int = 2) -> bytes:
    """Rows of one clip side by side, moving; a bar is green while frames are seen and red while they are predicted."""
    length, height = rows[0].frames.shape[:2]
    labels = [_lines(row.label) for row in rows]
    lines = max(map(len, labels))
    head = 12 * lines + 2
    width = max(rows[0].frames.shape[2] * zoom, max(CHARACTER * len(line) for label in labels for line in label)) + GAP
    images = []
    for t in range(length):
        picture = Image.new("RGB", (len(rows) * width, head + BAR + GAP + height * zoom), (255, 255, 255))
        draw = ImageDraw.Draw(picture)
        for number, row in enumerate(rows):
            draw.multiline_text((number * width, 0), "\n".join(labels[number]), fill=(0, 0, 0), spacing=2)
            picture.paste(_enlarged(row.frames[t], zoom), (number * width, head + BAR + GAP))
        if seen is not None:
            draw.rectangle((0, head, picture.width, head + BAR - 1), fill=SEEN if t < seen else PREDICTED)
        images.append(picture.quantize(64, dither=Image.Dither.NONE))
    return _encoded(images[0], "GIF", save_all=True, append_images=images[1:], duration=1000 / fps, loop=0)


def _margin(labels: Sequence[str]) -> int:
    return 8 + CHARACTER * max((len(line) for label in labels for line in _lines(label)), default=0)


def _lines(label: str) -> list[str]:
    """A label in lines of at most 24 letters that pillow's own font has."""
    parts = [part.encode("ascii", "replace").decode() for part in label.split(" · ")]
    return [part[first : first + 24] for part in parts for first in range(0, max(len(part), 1), 24)]


def _enlarged(frame: Frames, zoom: int) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(frame))
    return image if zoom == 1 else image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
