"""Minimum, maximum, mean and standard deviation of values that come in pieces."""

from __future__ import annotations

from typing import Any

import numpy as np


class RunningStatistics:
    """Of each entry over all rows that were added; sums in float64, relative to the first row."""

    def __init__(self) -> None:
        self.count = 0
        self._low = self._high = self._origin = self._sum = self._squares = np.zeros(0)

    def add(self, rows: np.ndarray) -> None:
        """Add (N, …), N ≥ 1."""
        rows = rows.astype(np.float64)
        if not self.count:
            self._origin = rows[0]
            self._low, self._high = rows.min(0), rows.max(0)
            self._sum, self._squares = np.zeros_like(rows[0]), np.zeros_like(rows[0])
        self._low, self._high = np.minimum(self._low, rows.min(0)), np.maximum(self._high, rows.max(0))
        centred = rows - self._origin  # squares of large, nearly equal numbers would cancel
        self._sum = self._sum + centred.sum(0)
        self._squares = self._squares + (centred**2).sum(0)
        self.count += len(rows)

    def as_json(self) -> dict[str, Any]:
        """As `meta/stats.json` holds them: lists of the entry's shape, and [count]."""
        mean = self._sum / self.count
        std = np.sqrt(np.maximum(self._squares / self.count - mean**2, 0))
        values = {"min": self._low, "max": self._high, "mean": mean + self._origin, "std": std}
        return {name: np.atleast_1d(value).tolist() for name, value in values.items()} | {"count": [self.count]}
