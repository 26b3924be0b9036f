"""Frame numbers that survive cropping and scaling: a panel of black and white fields in the middle of a picture.

The sample releases carry them, so that a test can see which frame of the source it got.
"""

from __future__ import annotations

import numpy as np

ROWS, COLUMNS = 3, 4
MAX_NUMBER = 2 ** (ROWS * COLUMNS) - 1
_WIDTH, _HEIGHT = 0.25, 0.1875  # of the region: fields of 4 × 4 pixels in 64 × 64
_BLACK, _WHITE = 16, 240


def draw_number(picture: np.ndarray, number: int, region: tuple[int, int, int, int] | None = None) -> None:
    """Draw the panel.

    Args:
        picture: uint8 (H, W, 3), changed in place.
        number: 0 … 4095.
        region: (left, top, right, bottom) that will be cut out and scaled; None for the whole picture.
    """
    if not 0 <= number <= MAX_NUMBER:
        raise ValueError(f"number must be 0 … {MAX_NUMBER}, found {number}")
    left, top, right, bottom = region or (0, 0, picture.shape[1], picture.shape[0])
    width, height = right - left, bottom - top
    xs = np.rint(left + width * (0.5 + _WIDTH * (np.arange(COLUMNS + 1) / COLUMNS - 0.5))).astype(int)
    ys = np.rint(top + height * (0.5 + _HEIGHT * (np.arange(ROWS + 1) / ROWS - 0.5))).astype(int)
    for bit in range(ROWS * COLUMNS):
        row, column = divmod(bit, COLUMNS)
        field = picture[ys[row] : ys[row + 1], xs[column] : xs[column + 1]]
        field[:] = _WHITE if number >> bit & 1 else _BLACK


def read_number(picture: np.ndarray) -> int:
    """The number that a picture shows; its region must fill the picture.

    Args:
        picture: uint8 (H, W, 3).
    """
    height, width = picture.shape[:2]
    number = 0
    for bit in range(ROWS * COLUMNS):
        row, column = divmod(bit, COLUMNS)
        x = width * (0.5 + _WIDTH * ((column + 0.5) / COLUMNS - 0.5))
        y = height * (0.5 + _HEIGHT * ((row + 0.5) / ROWS - 0.5))
        reach = max(1, round(width / 64))
        field = picture[int(y) - reach : int(y) + reach, int(x) - reach : int(x) + reach]
        number |= int(field.mean() > 128) << bit
    return number
