"""Plain pictures of clips: rows of frames, heat maps over a frame, and boxes around regions. No axes, no words."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Frames = NDArray[np.uint8]
GAP = 2
BOX = (255, 40, 40)
_STRENGTH = 0.65


def heat_over(frame: Frames, heat: NDArray[np.floating]) -> Frames:
    """Weights over a grey copy of a frame: nothing where they are what an even spread gives, then red, yellow the most.

    Args:
        frame: uint8 (H, W, 3).
        heat: (h, w) weights that sum to one; the map is stretched over the frame. The scale ends at its own maximum,
            but not below four times the even weight: a nearly even map looks pale.
    """
    height, width = frame.shape[:2]
    even = 1 / heat.size
    share = ((heat - even) / (max(float(heat.max()), 4 * even) - even)).clip(0, 1)
    small = Image.fromarray((share * 255).round().astype(np.uint8))
    strength = np.asarray(small.resize((width, height), Image.Resampling.BILINEAR), np.float32)[..., None] / 255
    grey = frame.astype(np.float32).mean(-1, keepdims=True) * 0.8
    colour = np.concatenate([np.full_like(strength, 255), 255 * (2 * strength - 1).clip(0, 1), 0 * strength], -1)
    weight = np.minimum(2 * strength, 1) * _STRENGTH
    return np.asarray((grey * (1 - weight) + colour * weight).round(), np.uint8)


def boxed(frame: Frames, left: float, top: float, right: float, bottom: float) -> Frames:
    """A copy of a frame with a box of one pixel's width just around a region (pixels, the far edges excluded)."""
    frame = frame.copy()
    height, width = frame.shape[:2]
    x0, y0 = max(round(left), 0), max(round(top), 0)
    x1, y1 = min(round(right), width) - 1, min(round(bottom), height) - 1
    frame[y0 : y1 + 1, [x0, x1]] = BOX
    frame[[y0, y1], x0 : x1 + 1] = BOX
    return frame


def grid_png(rows: Sequence[Sequence[Frames]], zoom: int = 2) -> bytes:
    """Rows of equally large frames as a PNG, on white.

    Args:
        rows: of uint8 (H, W, 3); shorter rows end early.
        zoom: pixels per pixel.
    """
    height, width = rows[0][0].shape[:2]
    columns = max(len(row) for row in rows)
    sheet = np.full((len(rows) * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.uint8)
    for y, row in enumerate(rows):
        for x, frame in enumerate(row):
            top, left = y * (height + GAP), x * (width + GAP)
            sheet[top : top + height, left : left + width] = frame
    picture = Image.fromarray(sheet)
    buffer = io.BytesIO()
    picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()


def spread_columns(length: int, count: int, include: int | None = None) -> list[int]:
    """At most `count` frames spread evenly over 0 … `length` - 1, the first and the last among them."""
    found = set(np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(int)).tolist())
    return sorted(found | ({include} if include is not None else set()))
