"""Square boxes around people, from the 2-D positions of their joints (Human3.6M)."""

from __future__ import annotations

import numpy as np


def person_boxes(joints: np.ndarray, padding_px_total: int, picture_side: int) -> np.ndarray:
    """The paper's rule: a square around the joints' box, with padding, shifted inside the picture.

    The side is min(max(width, height) + padding, picture side) in whole pixels; the square is centred on the box.

    Args:
        joints: (N, J, 2) x and y of the joint centres, in pixels.
        padding_px_total: added to the longer side: half of it on each side.
        picture_side: width and height of the picture, in pixels.

    Returns:
        (N, 4) int64: left, top, right, bottom; right and bottom are exclusive.
    """
    low, high = joints.min(axis=1), joints.max(axis=1)  # (N, 2)
    longer = np.floor((high - low).max(axis=1) + 0.5).astype(np.int64)
    side = np.minimum(longer + padding_px_total, picture_side)[:, None]  # (N, 1)
    corner = np.floor((low + high - side) / 2 + 0.5).astype(np.int64)  # (N, 2)
    corner = np.clip(corner, 0, picture_side - side)
    return np.concatenate([corner, corner + side], axis=1)


def published_boxes(joints: np.ndarray, padding_px_total: int, picture_side: int) -> np.ndarray:
    """The same square with the corners as ContextWM's published code rounds them.

    The first joint is cut to whole pixels before the box grows around the others; the box is rounded outwards; the
    square's corners are cut towards zero, so that its width and height may differ by one pixel from its side.

    Args and returns: as `person_boxes`.
    """
    first = np.trunc(joints[:, 0])
    low = np.floor(np.minimum(first, joints.min(axis=1, initial=np.inf, where=_others(joints))))
    high = np.ceil(np.maximum(first, joints.max(axis=1, initial=-np.inf, where=_others(joints))))
    side = np.minimum((high - low).max(axis=1) + padding_px_total, picture_side)[:, None]
    centre = (low + high) / 2
    boxes: np.ndarray = np.trunc(np.concatenate([centre - side / 2, centre + side / 2], axis=1)).astype(np.int64)
    shift = np.maximum(-boxes[:, :2], 0)
    shift -= np.maximum(boxes[:, 2:] + shift - picture_side, 0)
    boxes += np.tile(shift, 2)
    return boxes


def _others(joints: np.ndarray) -> np.ndarray:
    """All joints but the first."""
    mask = np.ones((1, joints.shape[1], 1), bool)
    mask[:, 0] = False
    return mask
