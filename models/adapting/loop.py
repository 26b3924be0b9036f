"""The loop of adapting: that of pre-training, on segments with actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from models.adapting.labelled_training import LabelledBatch, stack_labelled
from models.adapting.validation import ActionValidation, validate_actions
from models.pretraining.loop import PretrainLoop


class AdaptLoop(PretrainLoop):
    """See `PretrainLoop`; `data` holds segments with the track `action`."""

    def stack(self, segments: Sequence[Any]) -> LabelledBatch:
        """See `PretrainLoop.stack`."""
        return stack_labelled(segments)

    def first_frame(self, number: int) -> np.ndarray:
        """See `PretrainLoop.first_frame`."""
        segment: Any = self.data.train[number]  # a `TrackedSegment`
        frames: np.ndarray = segment.frames[:1]
        return frames

    def validate(self, held_out: LabelledBatch) -> ActionValidation:
        """See `PretrainLoop.validate`."""
        config = self.config
        return validate_actions(
            self.training.model, held_out, config.validation, self.training.seed, config.data.batch_size
        )
