"""Means of metrics between two lines of `metrics.jsonl`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter


@dataclass
class MetricMeans:
    """Means of the updates' metrics since the last line of `metrics.jsonl`; kept in checkpoints."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Any) -> MetricMeans:
        """The sums that a checkpoint's state holds.

        Raises:
            ValueError: a value is no number, or a mean has no count.
        """
        means = TypeAdapter(cls).validate_python(values)
        if means.sums.keys() != means.counts.keys() or not all(count > 0 for count in means.counts.values()):
            raise ValueError("sums and counts of the metrics do not belong together")
        return means

    def add(self, metrics: Mapping[str, Any]) -> None:
        """Add one update's metrics."""
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)
            self.counts[name] = self.counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """The means; starts anew."""
        means = {name: self.sums[name] / self.counts[name] for name in sorted(self.sums)}
        self.sums.clear()
        self.counts.clear()
        return means
