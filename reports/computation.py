"""How every number of a report is computed: settings, and draws of its own for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ipv_bench.seeding import numpy_generator
from reports.config import ReportConfig, figure_width
from reports.statistics.intervals import (
    CURVE_RESAMPLES,
    STATISTICS,
    TABLE_RESAMPLES,
    Interval,
    interval,
    intervals,
)
from reports.statistics.profiles import performance_profile

COLUMNS_AT_ONCE = 32
"""Columns that share one making of their draws: bounds the memory."""


@dataclass(frozen=True)
class Computation:
    """How every number of a report is computed.

    Attributes:
        config: the report's config.
        seed: seed of all resampling.
        curve_resamples: draws for each point of a curve.
        table_resamples: draws for tables and final scores.
    """

    config: ReportConfig
    seed: int = 0
    curve_resamples: int = CURVE_RESAMPLES
    table_resamples: int = TABLE_RESAMPLES

    @property
    def width(self) -> float:
        """Width of figures in points."""
        return figure_width(self.config.width)

    def generator(self, purpose: str) -> np.random.Generator:
        """Draws of one number, independent of which other numbers the report holds."""
        return numpy_generator(self.seed, 0, f"report:{purpose}")

    def interval(self, scores: np.ndarray, statistic: str, purpose: str) -> Interval:
        """Interval of `scores` (R, M) or (R, M, S); only aggregates over several tasks may resample tasks."""
        return interval(
            scores,
            statistic,
            self.curve_resamples if scores.ndim == 3 else self.table_resamples,
            self.generator(purpose),
            confidence=self.config.confidence,
            resample_tasks=self.config.resample_tasks and scores.shape[1] > 1,
        )

    def intervals(self, scores: np.ndarray, purpose: str) -> dict[str, Interval]:
        """Intervals of all statistics of final scores (R, M), from one making of the draws."""
        return intervals(
            scores,
            STATISTICS,
            self.table_resamples,
            self.generator(purpose),
            confidence=self.config.confidence,
            resample_tasks=self.config.resample_tasks and scores.shape[1] > 1,
        )

    def columns(
        self, columns: Sequence[np.ndarray], statistic: str, purpose: str, *, allow_infinite: bool = False
    ) -> list[Interval]:
        """Intervals of many single tasks, each (R,) or (R, K) for K scores of its runs, points (K,).

        Tasks with equally many runs share their draws: each interval is that of draws of its own, and the draws, which
        take most of the time for so few runs, are made once for `COLUMNS_AT_ONCE` of them.

        Args:
            columns: without NaN.
            statistic: see `interval`.
            purpose: of the columns, for the seeds.
            allow_infinite: accept +∞, for the IQM.
        """
        found: list[Interval | None] = [None] * len(columns)
        wide = [column.reshape(len(column), -1) for column in columns]
        for shape in sorted({one.shape for one in wide}):
            places = [index for index, one in enumerate(wide) if one.shape == shape]
            for start in range(0, len(places), COLUMNS_AT_ONCE):
                chosen = places[start : start + COLUMNS_AT_ONCE]
                stacked = np.concatenate([wide[index] for index in chosen], axis=1)[:, None, :]  # (R, 1, S)
                generator = self.generator(f"{purpose}:{shape[0]} runs")
                together = interval(
                    stacked,
                    statistic,
                    self.table_resamples,
                    generator,
                    confidence=self.config.confidence,
                    allow_infinite=allow_infinite,
                )
                for number, index in enumerate(chosen):
                    part = slice(number * shape[1], (number + 1) * shape[1])
                    ends = {name: getattr(together, name)[part] for name in ("point", "low", "high")}
                    found[index] = replace(together, **ends)
        return [one for one in found if one is not None]

    def profile(self, scores: np.ndarray, thresholds: np.ndarray, purpose: str) -> Interval:
        """Performance profile of final scores (R, M) at thresholds (K,)."""
        generator = self.generator(purpose)
        return performance_profile(
            scores, thresholds, self.curve_resamples, generator, confidence=self.config.confidence
        )
