"""Simple shapes and textures for the sample releases."""

from __future__ import annotations

import numpy as np

Colour = tuple[int, int, int]


def texture(generator: np.random.Generator, height: int, width: int, cells: int, contrast: int = 60) -> np.ndarray:
    """A smooth random pattern, uint8 (height, width, 3): a grid of random colours, interpolated."""
    grid = generator.integers(128 - contrast, 128 + contrast, (cells + 1, cells + 1, 3)).astype(np.float32)
    y, x = np.linspace(0, cells, height, endpoint=False), np.linspace(0, cells, width, endpoint=False)
    top, left = y.astype(int), x.astype(int)
    down, right = (y - top)[:, None, None], (x - left)[None, :, None]
    upper = grid[top][:, left] * (1 - right) + grid[top][:, left + 1] * right
    lower = grid[top + 1][:, left] * (1 - right) + grid[top + 1][:, left + 1] * right
    pattern: np.ndarray = (upper * (1 - down) + lower * down).astype(np.uint8)
    return pattern


def fill_limb(picture: np.ndarray, start: np.ndarray, end: np.ndarray, radius: float, colour: Colour) -> None:
    """A thick line with round ends.

    Args:
        picture: uint8 (H, W, 3), changed in place.
        start, end: x and y in pixels.
        radius: half of the thickness, in pixels.
        colour: red, green, blue.
    """
    low = np.floor(np.minimum(start, end) - radius).astype(int)
    high = np.ceil(np.maximum(start, end) + radius).astype(int) + 1
    left, top = np.maximum(low, 0)
    part = picture[top : max(high[1], 0), left : max(high[0], 0)]
    if not part.size:
        return
    y = np.arange(top, top + part.shape[0], dtype=np.float32)[:, None] - np.float32(start[1])
    x = np.arange(left, left + part.shape[1], dtype=np.float32)[None, :] - np.float32(start[0])
    along = (end - start).astype(np.float32)
    length = float(along @ along) or 1.0
    share = np.clip((x * along[0] + y * along[1]) / length, 0, 1)
    distance = (x - share * along[0]) ** 2 + (y - share * along[1]) ** 2
    part[distance <= radius**2] = colour


def fill_box(picture: np.ndarray, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
    """A filled rectangle, cut off at the picture's edges; changes `picture` in place."""
    x0, y0, x1, y1 = (max(round(value), 0) for value in (left, top, right, bottom))
    picture[y0:y1, x0:x1] = colour
