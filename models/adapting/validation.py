"""Validation of a model under real actions on held-out videos: what it predicts, and whether actions decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ipv_bench.seeding import derive_seed
from models.adapting.labelled_training import LabelledBatch
from models.methods.base import ActionModel
from models.metrics.image_quality import mean_squared_error
from models.metrics.ratios import copy_ratio, shuffle_ratio
from models.pretraining.config import ValidationConfig
from models.pretraining.validation import MeanLosses


@dataclass(frozen=True)
class ActionValidation:
    """Measures over all validation segments; images in [0, 1], errors are (N, T - warmup) by frames ahead.

    Attributes:
        losses: see `models.pretraining.validation.LOSSES`.
        error: MSE of the frames predicted from the segment's own actions.
        copy_error: MSE of repeating the last frame that was seen.
        shuffled_error: MSE of the frames predicted from the actions of another segment.
        truth: (N, T, H, W, 3) uint8, the segments that are shown.
        prediction: their predictions; before `warmup`, frames decoded from the posterior.
    """

    losses: Mapping[str, float]
    error: np.ndarray
    copy_error: np.ndarray
    shuffled_error: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray

    def metrics(self) -> dict[str, Any]:
        """Values for a line of `metrics.jsonl`; ratios are None where their denominators are 0."""
        ratios = {
            "validation_copy_ratio": copy_ratio(self.error, self.copy_error),
            "validation_shuffle_ratio": shuffle_ratio(self.error, self.shuffled_error),
        }
        return {
            **{f"validation_{name}": value for name, value in self.losses.items()},
            "validation_open_loop_mse": float(self.error.mean()),
            "validation_copy_last_mse": float(self.copy_error.mean()),
            **{name: float(value) for name, value in ratios.items()},
            "open_loop_mse": self.error.mean(0).tolist(),
            "copy_last_mse": self.copy_error.mean(0).tolist(),
            "shuffled_mse": self.shuffled_error.mean(0).tolist(),
        }


@torch.no_grad()
def validate_actions(
    model: ActionModel, segments: LabelledBatch, config: ValidationConfig, seed: int, batch_size: int = 16
) -> ActionValidation:
    """Measure a model in evaluation mode; it is left in the mode it was in.

    The same segments, seed and batch size give the same latents, context frames and masks at any time of the training;
    own and shuffled actions meet the same ones.

    Args:
        model: the model.
        segments: held-out; the actions of segment n + 1 stand for another's in segment n.
        config: warm-up and number of shown segments.
        seed: of the draws.
        batch_size: segments computed at once.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    others = np.roll(segments.action, -1, axis=0)
    losses, errors, predictions = MeanLosses(), [], []
    for first in range(0, len(segments.frames), batch_size):
        part = slice(first, first + batch_size)
        images = torch.from_numpy(segments.frames[part]).to(device)  # (B, T, H, W, 3)
        action, other = (torch.from_numpy(values[part]).to(device) for values in (segments.action, others))

        def generator(purpose: str, place: int = first) -> torch.Generator:
            return torch.Generator(device).manual_seed(derive_seed(seed, place, purpose))

        draws = model.draw(images.shape[0], images.shape[1], generator("validation"))
        _, metrics = model(images, action, draws)
        losses.add(metrics, len(images))
        truth = images.movedim(-1, -3).float() / 255
        own = model.open_loop(images, action, config.warmup, generator("open loop"))  # (B, T, 3, H, W)
        shuffled = model.open_loop(images, other, config.warmup, generator("open loop"))
        errors.append(_errors(truth, (own, truth[:, config.warmup - 1 : config.warmup], shuffled), config.warmup))
        predictions.append(own[: max(0, config.strips - first)])
    model.train(was_training)
    error, copy_error, shuffled_error = np.concatenate(errors, 1)
    return ActionValidation(
        losses.means(), error, copy_error, shuffled_error,
        segments.frames[: config.strips], _as_uint8(torch.cat(predictions)),
    )  # fmt: skip


def _errors(truth: Tensor, predictions: tuple[Tensor, ...], warmup: int) -> np.ndarray:
    """(predictions, B, T - warmup) MSE of the frames after the warm-up."""
    future = truth[:, warmup:]
    parts = [values[:, warmup:] if values.shape[1] > 1 else values.expand_as(future) for values in predictions]
    return np.stack([mean_squared_error(part, future).double().cpu().numpy() for part in parts])


def _as_uint8(frames: Tensor) -> np.ndarray:
    return (frames.movedim(-3, -1) * 255).round().to(torch.uint8).cpu().numpy()
