"""A generator that repeats the draws rliable makes after `np.random.seed`, so that both see equal draws."""

from __future__ import annotations

import numpy as np


class ReplayedDraws(np.random.Generator):
    """Gives our bootstrap the run indices that `np.random.choice(num_runs, (num_runs, num_tasks))` gives rliable."""

    def __init__(self, seed: int, num_runs: int) -> None:
        super().__init__(np.random.PCG64(0))
        self._legacy, self._num_runs = np.random.RandomState(seed), num_runs

    def random(self, size: tuple[int, int, int]) -> np.ndarray:  # type: ignore[override]
        return (self._chosen(*size) + 0.5) / self._num_runs

    def integers(self, low: int, high: int, size: tuple[int, int, int], dtype: type) -> np.ndarray:  # type: ignore[override]
        assert (low, high) == (0, self._num_runs)
        runs, tasks, draws = size
        return np.ascontiguousarray(self._chosen(draws, runs, tasks).transpose(1, 2, 0).astype(dtype))

    def _chosen(self, draws: int, runs: int, tasks: int) -> np.ndarray:
        """(draws, runs, tasks) run indices."""
        return np.array([self._legacy.choice(self._num_runs, (runs, tasks), replace=True) for _ in range(draws)])
