"""Axes: from values to places in points, and round numbers to mark."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.ticker import MaxNLocator

AxisScale = Literal["linear", "symlog"]
"""symlog: linear up to 1, then logarithmic: for scores of which a few are hundreds of times the others."""


@dataclass(frozen=True)
class Axis:
    """One axis of a panel.

    Attributes:
        low, high: values at its ends; high is above low.
        first, last: places of the ends in points.
        scale: see `AxisScale`.
    """

    low: float
    high: float
    first: float
    last: float
    scale: AxisScale = "linear"

    def place(self, values: np.ndarray) -> np.ndarray:
        """Values (N,) in points."""
        low, high = _bent(np.array([self.low, self.high]), self.scale)
        return np.asarray(self.first + (_bent(values, self.scale) - low) / (high - low) * (self.last - self.first))

    def ticks(self, number: int) -> np.ndarray:
        """Round values within the axis, about `number` of them."""
        if self.scale == "symlog":
            powers = [10.0**power for power in range(math.ceil(math.log10(max(self.high, 1.0))) + 1)]
            found = np.asarray([*(-power for power in reversed(powers)), 0.0, *powers])
        else:
            locator = MaxNLocator(number, steps=[1, 2, 5, 10])
            found = np.asarray(locator.tick_values(self.low, self.high), dtype=np.float64)
        slack = 1e-9 * (self.high - self.low)
        return np.asarray(found[(found >= self.low - slack) & (found <= self.high + slack)])


def _bent(values: np.ndarray, scale: AxisScale) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if scale == "linear":
        return np.asarray(values)
    size = np.abs(values)
    return np.asarray(np.sign(values) * np.where(size <= 1, size, 1 + np.log10(np.maximum(size, 1))))


def data_range(low: float, high: float, margin: float = 0.04) -> tuple[float, float]:
    """A range that leaves a margin around the data, and is never empty."""
    if not math.isfinite(low) or not math.isfinite(high):
        return 0.0, 1.0
    span = high - low
    if span <= 1e-12 * max(abs(low), abs(high)) or span == 0:
        span = abs(high) or 1.0
        return low - 0.1 * span, high + 0.1 * span
    return low - margin * span, high + margin * span
