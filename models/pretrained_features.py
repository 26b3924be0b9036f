"""A pre-trained model as features of frames, for other people's code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ipv_bench.errors import InputError, TrainingError
from models.analysis.loaded_model import AnalysedModel, choose_analysis_device, has_states, open_models
from models.training.entry_check import check_length, to_tensor
from models.world_models.stacked import StackedWorldModel

_OTHER_RUN = "open a run of a world model, such as contextwm's or apv's"


class Features:
    """What a model makes of frames; without gradients, in fp32. `open_features` opens one.

    Attributes:
        model: the `torch.nn.Module` itself, in evaluation mode: for fine-tuning its encoder, `model.vision.encoder`.
        image_size: height and width of the frames it takes, pixels.
        config: the run's resolved config.
    """

    def __init__(self, opened: AnalysedModel) -> None:
        self._opened = opened
        self.model: Any = opened.model
        self.image_size, self.config = opened.image_size, opened.config

    @torch.no_grad()
    def embed(self, frames: Tensor) -> Tensor:
        """The encoder's output for each frame on its own.

        Args:
            frames: uint8 (B, T, H, W, 3).

        Returns:
            (B, T, E), float32, where the model is.

        Raises:
            TrainingError: frames of another type or size.
            InputError: the model has no encoder of single frames.
        """
        image, vision = self._checked(frames), getattr(self.model, "vision", None)
        if vision is None:
            raise InputError(
                f"{self._opened.label} has no encoder of frames",
                expected="a model with one",
                fix=_OTHER_RUN,
            )
        embedded: Tensor = vision.embed(vision.scaling(image))
        return embedded.float()

    @torch.no_grad()
    def states(self, frames: Tensor, seed: int = 0, action: Tensor | None = None) -> Tensor:
        """The recurrent state after each frame, which knows the frames before it.

        Args:
            frames: uint8 (B, T, H, W, 3); T is at least 2 for a model of latent actions.
            seed: of the latents, which are drawn: equal seeds and shapes give equal draws.
            action: (B, T, A) what led to each frame, for an agent's or an adapted model; the first is taken as zero,
                as in training. None: zeros.

        Returns:
            (B, T, F), float32, where the model is.

        Raises:
            TrainingError: frames of another type or size; actions of another size, or for a model without any.
            ConfigError: fewer frames than the model needs.
            InputError: the model has no recurrent state.
        """
        image = self._checked(frames)
        check_length(image.shape[1], getattr(self.model, "fewest_frames", 1))
        if not has_states(self.model):
            raise InputError(
                f"{self._opened.label} has no recurrent state",
                expected="a world model with one",
                fix=_OTHER_RUN,
            )
        generator = torch.Generator(self._opened.device).manual_seed(seed)
        draws = self.model.draw(image.shape[0], image.shape[1], generator)
        found: Tensor = self.model.features(image, draws, **self._told(image, action))
        return found.float()

    def _told(self, image: Tensor, action: Tensor | None) -> dict[str, Tensor]:
        if action is None:
            return {}
        wanted = (*image.shape[:2], int(getattr(self.model, "action_dim", 0)))
        action = torch.as_tensor(action, dtype=torch.float32)
        if not isinstance(self.model, StackedWorldModel) or tuple(action.shape) != wanted:
            raise TrainingError(
                f"actions have shape {tuple(action.shape)}",
                expected=f"{wanted}, an action for each frame"
                if isinstance(self.model, StackedWorldModel)
                else f"none: {self._opened.label} takes no actions",
                fix="give those of these frames, or none",
            )
        action = action.to(self._opened.device, copy=True)
        action[:, 0] = 0
        return {"action": action}

    def _checked(self, frames: Tensor) -> Tensor:
        size = self.image_size
        frames = to_tensor(frames) if isinstance(frames, np.ndarray) else torch.as_tensor(frames)
        if frames.dtype != torch.uint8 or frames.ndim != 5 or tuple(frames.shape[2:]) != (size, size, 3):
            raise TrainingError(
                f"frames are {str(frames.dtype).removeprefix('torch.')} {tuple(frames.shape)}",
                expected=f"uint8 (B, T, {size}, {size}, 3)",
                fix=f"scale them to {size}x{size} and add the axes that lack: one clip is frames[None]",
            )
        return frames.to(self._opened.device)


def open_features(run: str | Path, device: str = "auto") -> Features:
    """Open the model of a run.

    Args:
        run: folder of a run of `pretrain`, `adapt`, `finetune` or `import-checkpoint`, or of one of its checkpoints.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, …

    Raises:
        RunError: no run, or one that is still training.
        CheckpointError: no checkpoint yet, or a damaged one.
        InputError: a method without a video model.
        ConfigError: there is no such device.
    """
    (opened,) = open_models([run], choose_analysis_device(device))
    return Features(opened)
