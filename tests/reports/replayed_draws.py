"""A generator that repeats the draws rliable makes after `np.random.seed`, so that both see equal draws."""

from __future__ import annotations

import numpy as np


class ReplayedDraws(np.random.Generator):
    """Gives our bootstrap the run indices that `np.random.choice(num_runs, (num_runs, num_tasks))` gives rliable."""

    def __init__(self, seed: int, num_runs: int) -> None:
        super().__init__(np.random.PCG64(0))
        self._legacy, self._num_runs = np.random.RandomState(seed), num_runs

    def random(self, size: tuple[int, int, int]) -> np.ndarray:  # type: ignore[override]
        draws, runs, tasks = size
        chosen = [self._legacy.choice(self._num_runs, (runs, tasks), replace=True) for _ in range(draws)]
        return (np.array(chosen) + 0.5) / self._num_runs
