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
BOX = (230, 30, 30)
HOTTEST = 32.0
"""Times the uniform weight at which a heat map is hottest."""


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


def heat_frames(frames: Frames, weights: NDArray[np.floating]) -> Frames:
    """Frames with a heat map laid over them, on one scale for all maps and models.

    Grey: no more than the weight that every position would have if all had the same; then red, and yellow from
    `HOTTEST` times that on. A map of nearly equal weights is grey, whatever noise it has.

    Args:
        frames: (..., H, W, 3), what is looked at.
        weights: (..., h, w) with h, w dividing H, W; each map sums to 1.

    Returns:
        (..., H, W, 3) uint8.
    """
    positions = weights.shape[-2] * weights.shape[-1]
    scaled = np.clip(np.log(np.maximum(weights * positions, 1)) / np.log(HOTTEST), 0, 1)
    factor = frames.shape[-3] // weights.shape[-2], frames.shape[-2] // weights.shape[-1]
    heat = scaled.repeat(factor[0], -2).repeat(factor[1], -1)[..., None]  # (..., H, W, 1)
    grey = np.repeat(frames.astype(np.float32).mean(-1, keepdims=True), 3, -1)
    colour = np.concatenate(
        [np.clip(3 * heat, 0, 1), np.clip(2 * heat - 0.6, 0, 1), np.clip(4 * heat - 3, 0, 1)], -1
    )  # (..., H, W, 3)
    mixed = grey * (1 - 0.75 * heat) + 255 * colour * 0.75 * heat
    found: Frames = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return found


def boxed(frames: Frames, box: tuple[float, float, float, float]) -> Frames:
    """Frames with the outline of a box (left, top, right, bottom), in pixels, the right and bottom excluded."""
    left, top, right, bottom = (round(value) for value in box)
    out = frames.copy()
    for rows, columns in (
        (slice(top, bottom), slice(left, left + 1)),
        (slice(top, bottom), slice(right - 1, right)),
        (slice(top, top + 1), slice(left, right)),
        (slice(bottom - 1, bottom), slice(left, right)),
    ):
        out[..., rows, columns, :] = BOX
    return out


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
