"""Regions of a decoder's map: where attention is asked from, and where it goes."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ipv_bench.errors import ConfigError
from models.metrics.displacement import changes

Numbers = NDArray[np.float64]
Target = tuple[int, int, int] | Literal["motion", "object"]
REGION = 3
"""Side of a region, in positions of the map, as in the paper's figure."""


def check_target(target: Target, side: int) -> None:
    """Refuse a region that does not lie on the map.

    Raises:
        ConfigError: it leaves it, or is empty.
    """
    if isinstance(target, str):
        return
    x, y, size = target
    if size < 1 or min(x, y) < 0 or max(x, y) + size > side:
        raise ConfigError(
            f"target=[{x},{y},{size}] leaves the map of {side}x{side} positions",
            expected=f"[x, y, size] with x + size and y + size from 1 to {side}",
            fix=f"--set target=[0,0,{min(REGION, side)}] is the left upper corner",
        )


def clip_regions(target: Target, frames: NDArray[np.uint8], places: Numbers, side: int) -> NDArray[np.int64]:
    """The region of each frame, (N, T, 3): left, top and size in positions of the map.

    Args:
        target: fixed, `motion` (where most changes in the clip), or `object` (around `places`; where they are not
            known, where most changes).
        frames: (N, T, H, W, 3).
        places: (N, T, 2) x and y of the object as shares of the picture; NaN where not known.
        side: of the map.
    """
    batch, length = frames.shape[:2]
    if not isinstance(target, str):
        return np.broadcast_to(np.array(target), (batch, length, 3)).copy()
    moving = np.broadcast_to(_most_change(frames, side)[:, None], (batch, length, 3)).copy()
    if target == "motion":
        return moving
    known = ~np.isnan(places).any((1, 2))
    moving[known] = around(places[known], side)
    return moving


def around(places: Numbers, side: int) -> NDArray[np.int64]:
    """Regions (..., 3) whose middle is nearest to places (..., 2), which are shares of the picture."""
    size = min(REGION, side)
    corner = np.rint(places * side - size / 2).clip(0, side - size).astype(np.int64)
    return np.concatenate([corner, np.full((*corner.shape[:-1], 1), size)], -1)


def _most_change(frames: NDArray[np.uint8], side: int) -> NDArray[np.int64]:
    """(N, 3) the region in which squared differences from frame to frame are largest, summed over the clip."""
    energy = np.square(changes(frames, 1)).sum(1)  # (N, H, W)
    height, width = energy.shape[-2:]
    pooled = energy.reshape(len(energy), side, height // side, side, width // side).sum((2, 4))
    size = min(REGION, side)
    windows = np.lib.stride_tricks.sliding_window_view(pooled, (size, size), axis=(1, 2)).sum((-2, -1))
    top, left = np.divmod(windows.reshape(len(windows), -1).argmax(1), windows.shape[-1])
    return np.stack([left, top, np.full_like(left, size)], -1)


def region_weights(regions: NDArray[np.int64], side: int) -> Numbers:
    """(..., side * side) weights that average over regions (..., 3), row by row."""
    at = np.arange(side)
    left, top, size = (regions[..., number, None] for number in range(3))
    across = (at >= left) & (at < left + size)  # (..., side)
    down = (at >= top) & (at < top + size)
    inside = down[..., :, None] & across[..., None, :]
    return np.asarray(inside.reshape(*regions.shape[:-1], side * side) / (size**2))


def centre(maps: NDArray[np.floating]) -> Numbers:
    """Centre of weights (..., side, side) that sum to one: (..., 2) x and y as shares of the picture."""
    side = maps.shape[-1]
    at = (np.arange(side) + 0.5) / side
    return np.stack([(maps.sum(-2) * at).sum(-1), (maps.sum(-1) * at).sum(-1)], -1)


def peak(maps: NDArray[np.floating]) -> Numbers:
    """Place of the largest weight of (..., side, side): (..., 2) x and y as shares of the picture."""
    side = maps.shape[-1]
    row, column = np.divmod(maps.reshape(*maps.shape[:-2], -1).argmax(-1), side)
    return np.asarray((np.stack([column, row], -1) + 0.5) / side)
