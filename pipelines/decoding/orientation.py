"""The eight ways in which a picture can have been stored: turned by quarters, mirrored, or both.

Videos say it with a display matrix, picture files with EXIF's tag Orientation (1 … 8). Both become an `Orientation`,
which is applied to the small picture after scaling.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np


class Orientation(NamedTuple):
    """What makes the displayed picture of the stored one: first transpose, then flip.

    Attributes:
        transposed: rows become columns.
        rows_flipped: upside down (after transposing).
        columns_flipped: left and right exchanged (after transposing).
    """

    transposed: bool = False
    rows_flipped: bool = False
    columns_flipped: bool = False

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """The displayed picture.

        Args:
            picture: (H, W, C).

        Returns:
            (H, W, C), or (W, H, C) when `transposed`; rows in order, as the JPEG encoder needs them.
        """
        if self == UPRIGHT:
            return picture
        if self.transposed:
            picture = picture.transpose(1, 0, 2)  # (W, H, C)
        rows, columns = (-1 if self.rows_flipped else 1), (-1 if self.columns_flipped else 1)
        return np.ascontiguousarray(picture[::rows, ::columns])

    def stored_box(self, box: tuple[int, int, int, int], height: int, width: int) -> tuple[int, int, int, int]:
        """Where a box of the displayed picture lies in the stored one.

        Args:
            box: (left, top, right, bottom) in the displayed picture.
            height, width: of the displayed picture.
        """
        left, top, right, bottom = box
        if self.columns_flipped:
            left, right = width - right, width - left
        if self.rows_flipped:
            top, bottom = height - bottom, height - top
        return (top, left, bottom, right) if self.transposed else (left, top, right, bottom)

    def inverse(self) -> Orientation:
        """What makes the stored picture of the displayed one."""
        if not self.transposed:
            return self
        return Orientation(True, rows_flipped=self.columns_flipped, columns_flipped=self.rows_flipped)

    def turn(self) -> Orientation:
        """The quarter turn of which this one is a mirrored form: where the stored rows point to."""
        if self.transposed:
            return OF_EXIF[8] if self.rows_flipped else OF_EXIF[6]
        return OF_EXIF[3] if self.columns_flipped else UPRIGHT

    def then(self, other: Orientation) -> Orientation:
        """This one followed by `other`, as one."""
        rows, columns = self.rows_flipped, self.columns_flipped
        if other.transposed:
            rows, columns = columns, rows
        return Orientation(
            self.transposed != other.transposed, rows != other.rows_flipped, columns != other.columns_flipped
        )


UPRIGHT = Orientation()

OF_EXIF = {
    1: UPRIGHT,
    2: Orientation(columns_flipped=True),
    3: Orientation(rows_flipped=True, columns_flipped=True),
    4: Orientation(rows_flipped=True),
    5: Orientation(transposed=True),
    6: Orientation(transposed=True, columns_flipped=True),
    7: Orientation(transposed=True, rows_flipped=True, columns_flipped=True),
    8: Orientation(transposed=True, rows_flipped=True),
}
"""EXIF's Orientation → what shows the picture upright."""

_MATRIX = struct.Struct("=9i")


def of_display_matrix(data: bytes) -> Orientation:
    """The orientation that a display matrix tells; of a turn that is no quarter, the nearest one.

    Args:
        data: nine 32-bit integers in native order, (a, b, u, c, d, v, x, y, w): the stored pixel (x, y) is shown at
            (a x + c y, b x + d y). Of other lengths, or all zero (some recorders), the picture is upright.
    """
    if len(data) != _MATRIX.size:
        return UPRIGHT
    a, b, _, c, d, *_ = _MATRIX.unpack(data)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(rows_flipped=d < 0, columns_flipped=a < 0)
    return Orientation(transposed=True, rows_flipped=b < 0, columns_flipped=c < 0)
