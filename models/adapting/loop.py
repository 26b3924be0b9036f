"""The loop of adapting: that of pre-training, on segments with actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from ipv_bench.progress import say
from ipv_bench.segments import TrackedSegments
from models.adapting.labelled_training import LabelledBatch, LabelledTraining, stack_labelled
from models.adapting.validation import validate_actions
from models.latent_actions.measure import Labels
from models.pretraining.loop import PretrainLoop
from models.pretraining.validation import Validation
from models.pretraining.video_batches import read_labels


class AdaptLoop(PretrainLoop):
    """See `PretrainLoop`; `data` holds segments with the track `action`."""

    training: LabelledTraining

    def stack(self, segments: Sequence[Any]) -> LabelledBatch:
        """See `PretrainLoop.stack`."""
        return stack_labelled(segments)

    def frames_of(self, segment: Any) -> np.ndarray:
        """See `PretrainLoop.frames_of`."""
        frames: np.ndarray = segment.frames  # of a `TrackedSegment`
        return frames

    def compares_segments(self) -> bool:
        """See `PretrainLoop.compares_segments`."""
        return True

    def _prepare_model(self) -> bool:
        # An adapted model goes on whole: with the mean image that it learned beside, whatever videos come now.
        return not self.training.goes_on and super()._prepare_model()

    def pairs_of(self, held_out: LabelledBatch) -> tuple[np.ndarray, np.ndarray | None]:
        """See `PretrainLoop.pairs_of`."""
        frames, _ = super().pairs_of(held_out.frames)
        at = self.config.validation.warmup
        return frames, held_out.action[:, at] if held_out.action.shape[-1] else None

    def adapted(self) -> dict[str, Any]:
        """See `PretrainLoop.adapted`."""
        config = self.training.config
        return {
            "parts": str(getattr(self.training.model, "parts", "")),
            "num_sequences": config.num_sequences, "num_segments": config.num_segments,
        }  # fmt: skip

    def _labels(self) -> Labels | None:
        """True actions of the held-out segments, where their sets have any: what is trained does not look at them."""
        if self._known is None:
            segments = cast(TrackedSegments, self.data.validation).segments
            self._known = read_labels(segments, self.config.validation.segments)
        return self._known

    def validate(self, held_out: LabelledBatch) -> Validation:
        """See `PretrainLoop.validate`; without actions the model of videos is looked at."""
        config = self.config
        if not held_out.action.shape[-1]:
            return self.validate_videos(self.training.model.without_actions(), held_out.frames, self._labels())
        training = self.training
        found = validate_actions(
            training.model, held_out, config.validation, training.seed, config.data.batch_size, self.videos()
        )
        unused = training.updates and not found.heeded
        say(f"update {training.updates}: {'warning: ' if unused else ''}{found.sentence()}")
        return found
