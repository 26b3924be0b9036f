"""Fractal noise that tiles without a seam, from which floors, skies and patterns are drawn."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def noise(generator: np.random.Generator, size: int, coarsest: int, finest: int) -> NDArray[np.float32]:
    """Fractal noise in [0, 1], (size, size), that repeats without a seam."""
    total, weight, cells = np.zeros((size, size), np.float32), 1.0, coarsest
    while cells <= finest:
        spread = interpolation(size, cells)  # (size, cells)
        values = generator.uniform(-weight, weight, (cells, cells)).astype(np.float32)
        total += spread @ values @ spread.T
        weight, cells = weight * 0.6, cells * 2
    total -= total.min()
    total /= total.max()
    return total


@lru_cache(32)
def interpolation(size: int, cells: int) -> NDArray[np.float32]:
    """Matrix (size, cells) that spreads periodic grid values over pixels with smooth steps."""
    position = np.arange(size) / size * cells
    left = position.astype(int)
    part = position - left
    part = part * part * (3 - 2 * part)
    matrix = np.zeros((size, cells), np.float32)
    matrix[np.arange(size), left] = 1 - part
    matrix[np.arange(size), (left + 1) % cells] += part
    return matrix
