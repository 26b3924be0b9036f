"""Where a fine-tuning run stands: its counters, and the metrics not yet written. Both are kept in checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Counters:
    """Where a run stands; kept in its checkpoints.

    Attributes:
        env_steps: simulator control steps taken in training.
        agent_steps: agent steps taken in training, all environments together.
        episodes: training episodes started.
        lost: episodes dropped because their environment was lost.
        updates: updates done.
        trainings: trainings done since the prefill.
        prefill_end: agent steps at the end of the prefill; -1 before it.
        evaluated_at: env_steps of the newest evaluation; -1 before the first.
        wall_seconds: time spent, interrupted parts included.
    """

    env_steps: int = 0
    agent_steps: int = 0
    episodes: int = 0
    lost: int = 0
    updates: int = 0
    trainings: int = 0
    prefill_end: int = -1
    evaluated_at: int = -1
    wall_seconds: float = 0.0


@dataclass
class MetricMeans:
    """Means of the updates' metrics since the last line of `metrics.jsonl`; kept in checkpoints."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

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
