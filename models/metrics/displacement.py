"""How far things move between pictures, from the pictures alone: phase correlation, and the centre of what changes.

Both look at differences of frames, from which whatever stands still is gone. NumPy only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
_FLOOR = 1e-3
"""Frequencies weaker than this share of the strongest one do not vote: they are rounding."""


def phase_correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> Numbers:
    """The shift that makes the first picture the second.

    Source: Kuglin and Hines, "The phase correlation image alignment method", 1975; the peak is refined to parts of a
    pixel by a parabola through its neighbours in each direction.

    Args:
        first, second: grey pictures (..., H, W), zero where there is nothing; they are seen as going on at the edges.

    Returns:
        (..., 2) x and y in pixels, within half of the picture's size; 0 where one of the pictures is empty.
    """
    height, width = first.shape[-2:]
    cross = np.fft.fft2(second) * np.conj(np.fft.fft2(first))
    strength = np.abs(cross)
    strongest = strength.max((-2, -1), keepdims=True)
    votes = np.divide(cross, strength, out=np.zeros_like(cross), where=strength > _FLOOR * strongest)
    surface = np.fft.ifft2(votes).real.reshape(-1, height, width)
    rows, columns = np.divmod(surface.reshape(len(surface), -1).argmax(1), width)
    each = np.arange(len(surface))
    y = rows + _peak(*(surface[each, (rows + step) % height, columns] for step in (-1, 0, 1)))
    x = columns + _peak(*(surface[each, rows, (columns + step) % width] for step in (-1, 0, 1)))
    shift = np.stack([_signed(x, width), _signed(y, height)], -1).reshape(*first.shape[:-2], 2)
    empty = (strongest[..., 0, 0] == 0)[..., None]
    return np.where(empty, 0.0, shift)


def _peak(before: Numbers, at: Numbers, after: Numbers) -> Numbers:
    """Where the parabola through three neighbours is highest, from -0.5 to 0.5."""
    bend = before - 2 * at + after
    offset: Numbers = np.divide(0.5 * (before - after), bend, out=np.zeros_like(bend), where=bend < 0)
    return offset.clip(-0.5, 0.5)


def _signed(shift: Numbers, size: int) -> Numbers:
    return np.where(shift > size / 2, shift - size, shift)


def changes(frames: NDArray[np.generic], gap: int) -> Numbers:
    """Grey differences of frames `gap` apart: (..., T, H, W, 3) to (..., T - gap, H, W), in [-1, 1]."""
    grey = frames.astype(np.float64).mean(-1) / (255 if frames.dtype == np.uint8 else 1)
    return np.asarray(grey[..., gap:, :, :] - grey[..., :-gap, :, :])


def displacement(frames: NDArray[np.generic], gap: int = 2, lag: int = 5) -> Numbers:
    """How fast the picture's moving part moves: the shift of what changes, over `lag` frames, median over the clip.

    Args:
        frames: (..., T, H, W, 3), uint8 or in [0, 1], T > gap + lag.
        gap: frames between which a change is seen.
        lag: frames over which it shifts.

    Returns:
        (..., 2) x and y in pixels per frame; 0 where nothing changes.
    """
    moving = changes(frames, gap)
    shifts = phase_correlation(moving[..., :-lag, :, :], moving[..., lag:, :, :])  # (..., T - gap - lag, 2)
    return np.asarray(np.median(shifts, -2) / lag)


def tracked_positions(frames: NDArray[np.generic], gap: int = 2) -> Numbers:
    """Where things move: the centre of what changes, weighted by its square.

    Args:
        frames: (..., T, H, W, 3), uint8 or in [0, 1].
        gap: frames between which a change is seen; a position is that of the time half-way between them.

    Returns:
        (..., T - gap, 2) x and y in pixels, from the left upper corner; NaN where nothing changes.
    """
    weight = np.square(changes(frames, gap))
    total = weight.sum((-2, -1))
    height, width = weight.shape[-2:]
    x = (weight.sum(-2) * (np.arange(width) + 0.5)).sum(-1)
    y = (weight.sum(-1) * (np.arange(height) + 0.5)).sum(-1)
    known = total > 0
    return np.stack([np.divide(v, total, out=np.full_like(v, np.nan), where=known) for v in (x, y)], -1)


def velocity(positions: Numbers) -> Numbers:
    """The slope of the straight line through positions (..., T, 2): (..., 2) per frame; NaN ones are left out.

    Fewer than two known positions: 0.
    """
    known = ~np.isnan(positions).any(-1)  # (..., T)
    time = np.arange(positions.shape[-2], dtype=np.float64)
    count = known.sum(-1, keepdims=True)
    centred = (time - (time * known).sum(-1, keepdims=True) / np.maximum(count, 1)) * known
    spread = np.square(centred).sum(-1)[..., None]
    slope = (centred[..., None] * np.nan_to_num(positions)).sum(-2)
    found: Numbers = np.divide(slope, spread, out=np.zeros_like(slope), where=spread > 0)
    return found
