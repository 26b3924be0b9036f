"""The update of a model on a batch of videos with their actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ipv_bench.errors import ShardSetError
from ipv_bench.segments import TrackedSegment
from ipv_bench.tracks import ACTION
from models.adapting.config import AdaptConfig
from models.methods.base import adaptation_of, find_method
from models.pretraining.video_batches import stack_segments
from models.pretraining.video_training import VideoTraining
from models.training.checkpoint import Checkpoint
from models.training.entry_check import FLOATS, check_array, check_length, to_tensor

HELD_GROUP = "encoder"
"""Optimiser group that `training.encoder_frozen_updates` is about."""


class LabelledBatch(NamedTuple):
    """Frames uint8 (B, T, H, W, 3) and actions float32 (B, T, A); A is 0 where what is trained needs none."""

    frames: np.ndarray
    action: np.ndarray


def stack_labelled(segments: Sequence[TrackedSegment]) -> LabelledBatch:
    """Segments with their actions as one batch.

    Raises:
        ShardSetError: they differ in shape.
    """
    frames = stack_segments([segment.frames for segment in segments])
    nothing = np.zeros((frames.shape[1], 0), np.float32)
    action = np.stack([segment.tracks.get(ACTION, nothing) for segment in segments])
    return LabelledBatch(frames, action.astype(np.float32))


def action_size(shape: Sequence[int], where: str) -> int:
    """A of an action track.

    Raises:
        ShardSetError: its entries are no vectors.
    """
    if len(shape) != 1 or shape[0] < 1:
        raise ShardSetError(
            f"{where}: each action has the shape {tuple(shape)}",
            expected="a vector (A,)",
            fix="write one row of numbers for each frame into `action`, then prepare the set again (docs/tracks.md)",
        )
    return shape[0]


class LabelledTraining(VideoTraining):
    """`VideoTraining` of an `ActionModel`.

    Args:
        config: resolved config.
        seed: of the run.
        device: where it computes.
        action_dim: A.
        parts: what is trained.
        parent: checkpoint to start from; None: random weights.
        adapted: it is of an adapted model, taken over whole; else of a pre-trained one.
    """

    config: AdaptConfig  # type: ignore[assignment]

    def __init__(
        self,
        config: AdaptConfig,
        seed: int,
        device: torch.device,
        *,
        action_dim: int,
        parts: str,
        parent: Checkpoint | None,
        adapted: bool,
    ) -> None:
        self._start = (action_dim, parts, parent, adapted)
        self.goes_on = adapted and parent is not None
        """Whether it starts from an adapted model, taken over whole."""
        super().__init__(config, seed, device)  # type: ignore[arg-type]
        del self._start  # the parent's weights need not stay in memory

    def initial_model(self) -> Any:
        """See `VideoTraining.initial_model`."""
        action_dim, parts, parent, adapted = self._start
        adaptation = adaptation_of(find_method(self.config.method))
        model: Any = adaptation.model(
            self.config, action_dim, self.seed, self.device, parts, None if adapted else parent
        )  # fmt: skip
        if parent is not None and adapted:
            model.load_adapted(parent.model, parent.path)
        return model

    def optimizer_groups(self) -> list[Any]:
        """See `VideoTraining.optimizer_groups`."""
        return list(self.model.optimizer_groups())

    def step(self, batch: LabelledBatch) -> dict[str, float]:
        """One update; see `VideoTraining.step`.

        Raises:
            ConfigError: the batch has other shapes or dtypes, or fewer frames than the model learns from.
            TrainingError: ten updates in a row were skipped.
        """
        check_array("the batch of videos", batch.frames, ("B", "T", "H", "W", 3), ("uint8",))
        check_length(batch.frames.shape[1], self.fewest_frames)
        # Of any size: labelled sets hold actions in the units of whoever recorded them.
        size = (*batch.frames.shape[:2], self.model.action_dim)
        check_array("the batch of actions", batch.action, size, FLOATS)
        self.schedule()
        held = self.updates < self.config.training.encoder_frozen_updates
        for group in self.groups:
            if group.name == HELD_GROUP and held:
                group.set_lr_scale(0.0)
        images, action = self.to_device(batch.frames), to_tensor(batch.action).float().to(self.device)
        return self.update((images, action), self.draw(images.shape[0], images.shape[1], self.ranks.rank))

    def check_segment(self, segment: TrackedSegment) -> None:
        """See `VideoTraining.check_segment`."""
        self.to_device(segment.frames)

    def forward_pass(self, images: tuple[Tensor, Tensor], draws: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """See `VideoTraining.forward_pass`."""
        result: tuple[Tensor, dict[str, Tensor]] = self._forward(*images, draws)
        return result
