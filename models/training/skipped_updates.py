"""Updates that were skipped because a number was not finite: counted, and too many in a row end the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ipv_bench.errors import TrainingError

MAX_SKIPPED_IN_ROW = 10


@dataclass
class SkippedUpdates:
    """Counts of an agent's skipped updates; kept in its checkpoints.

    Attributes:
        skipped: all of them.
        in_row: the newest ones without an applied one between them; those of a loss scale that is still being found
            are not among them.
    """

    skipped: int = 0
    in_row: int = 0

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> SkippedUpdates:
        """The counts in an agent's state."""
        return cls(int(state["skipped"]), int(state["skipped_in_row"]))

    def state(self) -> dict[str, int]:
        """For a checkpoint."""
        return {"skipped": self.skipped, "skipped_in_row": self.in_row}

    def count(self, applied: bool, scalers: Sequence[torch.amp.GradScaler | None], update: int) -> None:
        """Take note of an update.

        Args:
            applied: whether it changed anything.
            scalers: of fp16 training.
            update: its number.

        Raises:
            TrainingError: it is the tenth in a row that was skipped.
        """
        if applied:
            self.in_row = 0
            return
        self.skipped += 1
        if any(scaler is not None and scaler.get_scale() > 1 for scaler in scalers):
            return  # fp16: a loss scale was too large and has just been halved
        self.in_row += 1
        if self.in_row >= MAX_SKIPPED_IN_ROW:
            raise TrainingError(
                f"{self.in_row} updates in a row had a loss or gradient that is not finite "
                f"(the last is update {update})",
                expected="finite numbers",
                fix="lower the learning rates, or use training.precision=fp32; the last checkpoint is from before",
            )
