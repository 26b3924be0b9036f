"""Where a fine-tuning run stands: its counters, and the metrics not yet written. Both are kept in checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter


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
        best_score: mean success (mean return in suites without success) of the best evaluation; None before one.
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
    best_score: float | None = None
    wall_seconds: float = 0.0

    @classmethod
    def of(cls, values: Any) -> Counters:
        """The counters that a checkpoint's state holds.

        Raises:
            ValueError: a value is no number.
        """
        return TypeAdapter(cls).validate_python(values)
