"""Ratios that a picture cannot fake: against copying the last frame, and against another clip's actions.

All take errors per clip; a ratio is one of sums, so that clips in which nothing moves count for what they are instead
of dividing by zero.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ipv_bench.errors import ConfigError

Numbers = NDArray[np.float64]
Groups = NDArray[np.integer]


NOT_FINITE = "which is not finite"


def against_a_copy(ratio: float) -> str:
    """What a copy ratio says, in words."""
    if not math.isfinite(ratio):
        return f"{NOT_FINITE}: nothing moves, or an error is not"
    return f"{'better' if ratio < 1 else 'not better'} than repeating the last frame"


def copy_ratio(error: Numbers, copy_error: Numbers, axis: int | tuple[int, ...] | None = None) -> Numbers:
    """Error of a prediction over that of repeating the last frame that was seen.

    Args:
        error: of the prediction, any shape, ≥ 0.
        copy_error: of the copy, the same shape.
        axis: axes that are summed over before dividing (clips, and perhaps steps); None: all.

    Returns:
        The ratio; below 1 the prediction is better than copying. NaN where the copy has no error: nothing moves.
    """
    return _ratio(error, copy_error, axis)


def shuffle_ratio(error: Numbers, shuffled_error: Numbers, axis: int | tuple[int, ...] | None = None) -> Numbers:
    """Error with another clip's actions over that with the clip's own.

    Args:
        error: with the clip's own actions, any shape, ≥ 0.
        shuffled_error: with another clip's, the same shape.
        axis: as in `copy_ratio`.

    Returns:
        The ratio; about 1: the model ignores actions; the larger, the more they decide. NaN where `error` is 0.
    """
    return _ratio(shuffled_error, error, axis)


def check_another(segments: int) -> None:
    """Whether there is another segment, whose actions can stand in place of one's own.

    Raises:
        ConfigError: there is none; the ratio would be 1 whatever the model does.
    """
    if segments < 2:
        raise ConfigError(
            f"validation.segments={segments} leaves no other segment, whose actions a segment could be predicted under",
            expected="2 or more",
            fix="set a larger validation.segments",
        )


def others(count: int, groups: Groups | None = None) -> Groups:
    """For each of `count` segments the number of another one, whose actions stand in place of its own.

    Of another video, unless one video has more than half of all segments: two segments of one video can be the same
    frames, under whose actions nothing is worse. Each stands in once.

    Args:
        count: at least 2.
        groups: (count,) video of each; None: each has its own.
    """
    order = np.arange(count) if groups is None else np.argsort(groups, kind="stable")
    largest = 1 if groups is None else int(np.unique(groups, return_counts=True)[1].max())
    found = np.empty(count, np.int64)
    found[order] = np.roll(order, -(largest if largest < count else 1))
    return found


def _ratio(above: Numbers, below: Numbers, axis: int | tuple[int, ...] | None) -> Numbers:
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    if above.shape != below.shape:
        raise ValueError(f"both errors must have one shape, found {above.shape} and {below.shape}")
    total, reference = above.sum(axis), below.sum(axis)
    ratio: Numbers = np.divide(total, reference, out=np.full(np.shape(total), np.nan), where=reference > 0)
    return ratio
