"""How much of one thing is found in another: shares by projection, as terms whose sums are divided."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def motion_terms(found: Numbers, source: Numbers) -> tuple[Numbers, Numbers]:
    """Terms of the share of a motion that is found: 1 the same motion, 0 none of it, -1 the opposite.

    Args:
        found, source: velocities (N, 2).

    Returns:
        Numerator and denominator (N,): the share of a set is the ratio of their sums, so that clips count by how much
        they move.
    """
    return (found * source).sum(-1), np.square(source).sum(-1)


def appearance_terms(found: Numbers, source: Numbers, usual: Numbers) -> tuple[Numbers, Numbers]:
    """Terms of the share of an appearance that is found: 1 looks like `source`, 0 has nothing of it.

    What all scenes have in common proves nothing, so pictures are measured from the usual one: grey, or the mean scene,
    shows 0 of every scene.

    Args:
        found, source: pictures (N, H, W, 3) of what stands still.
        usual: (H, W, 3), mean of many such pictures.

    Returns:
        Numerator and denominator (N,), as in `motion_terms`.
    """
    axes = tuple(range(1, found.ndim))
    return ((found - usual) * (source - usual)).sum(axes), np.square(source - usual).sum(axes)


def standing_picture(frames: NDArray[np.generic]) -> Numbers:
    """What stands still in clips (..., T, H, W, 3): the median over time, (..., H, W, 3) in [0, 1]."""
    scale = 255 if frames.dtype == np.uint8 else 1
    values: NDArray[np.floating] = frames.astype(np.float32)
    return np.asarray(np.median(values, -4) / scale, np.float64)
