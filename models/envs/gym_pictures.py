"""Pictures as Gymnasium's environments give them, made into square images of one size."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Fit = Literal["stretch", "crop"]

SMALLEST_SIDE = 8
"""Pixels; below it an array of bytes is no picture."""


def is_picture_space(space: Any) -> bool:
    """Whether observations of a space are pictures: a box of bytes with height, width and one or three colours."""
    shape = getattr(space, "shape", None)
    return getattr(space, "dtype", None) == np.uint8 and shape is not None and _layout(tuple(shape)) is not None


def as_picture(value: Any) -> NDArray[np.uint8] | None:
    """`value` as uint8 (H, W, 3); None where it is no picture.

    Taken: (H, W, 3), (H, W, 4) without its transparency, (H, W, 1) and (H, W) as grey, (3, H, W) and (1, H, W).
    """
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8:
        return None
    layout = _layout(value.shape)
    if layout is None:
        return None
    if layout == "grey":
        value = value[..., None]
    elif layout == "colours first":
        value = np.moveaxis(value, 0, -1)
    return np.ascontiguousarray(np.broadcast_to(value[..., :3], (*value.shape[:2], 3)))


def fitted(picture: NDArray[np.uint8], size: int, fit: Fit) -> NDArray[np.uint8]:
    """A picture (H, W, 3) as (size, size, 3), each pixel the mean of the area that it stands for."""
    if fit == "crop":
        height, width = picture.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        picture = picture[top : top + side, left : left + side]
    if picture.shape[:2] == (size, size):
        return picture
    return np.array(Image.fromarray(picture).resize((size, size), Image.Resampling.BOX))


def _layout(shape: tuple[int, ...]) -> Literal["grey", "colours last", "colours first"] | None:
    if len(shape) == 2 and min(shape) >= SMALLEST_SIDE:
        return "grey"
    if len(shape) != 3:
        return None
    if shape[2] in (1, 3, 4) and min(shape[:2]) >= SMALLEST_SIDE:
        return "colours last"
    return "colours first" if shape[0] in (1, 3) and min(shape[1:]) >= SMALLEST_SIDE else None
