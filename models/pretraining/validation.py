"""Validation of a video world model on held-out videos: losses, and prediction without seeing the frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ipv_bench.seeding import derive_seed
from models.latent_actions.measure import Labels, LatentActionModel, MoreSegments, measure_latent_actions
from models.methods.base import VideoModel
from models.metrics.image_quality import mean_squared_error, peak_signal_to_noise, structural_similarity
from models.metrics.latent_actions import LatentActionReport, latent_action_report
from models.pretraining.config import ValidationConfig


class Validation(Protocol):
    """What a loop needs of a validation: values for its log, and segments beside their predictions."""

    @property
    def truth(self) -> np.ndarray:
        """(N, T, H, W, 3) uint8, the segments that are shown."""

    @property
    def prediction(self) -> np.ndarray:
        """(N, T, H, W, 3) uint8, their predictions."""

    def metrics(self) -> dict[str, Any]:
        """Values for a line of `metrics.jsonl`."""


LOSSES = (
    "image_loss",
    "kl",
    "state_loss",
    "adapter_loss",
    "state_copy_ratio",
    "latent_state_copy_ratio",
    "equal_codes",
)
"""Metrics of a forward pass that a validation keeps, where a model has them: as in training, of held-out segments."""


class MeanLosses:
    """Means over all segments, from those of batches."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, metrics: Mapping[str, Tensor], count: int) -> None:
        """Metrics of a batch of `count` segments."""
        self._count += count
        for name in LOSSES:
            if name in metrics:
                self._sums[name] = self._sums.get(name, 0.0) + float(metrics[name]) * count

    def means(self) -> dict[str, float]:
        """Name → mean."""
        return {name: value / self._count for name, value in self._sums.items()}


@dataclass(frozen=True)
class ValidationResult:
    """Measures over all validation segments; images in [0, 1].

    Attributes:
        losses: those of `LOSSES` that the model has.
        open_loop_mse: (T - warmup,) MSE of predicted frames, by the number of frames ahead.
        copy_last_mse: the same for a copy of the last frame that was seen.
        psnr: mean over the predicted frames, dB.
        ssim: mean over the predicted frames.
        copy_last_psnr: PSNR of the copies.
        copy_last_ssim: SSIM of the copies.
        truth: (N, T, H, W, 3) uint8, the segments that are shown.
        prediction: their predictions; before `warmup`, frames decoded from the posterior.
        latent_actions: of a model that has them.
    """

    losses: Mapping[str, float]
    open_loop_mse: np.ndarray
    copy_last_mse: np.ndarray
    psnr: float
    ssim: float
    copy_last_psnr: float
    copy_last_ssim: float
    truth: np.ndarray
    prediction: np.ndarray
    latent_actions: LatentActionReport | None = None

    def metrics(self) -> dict[str, Any]:
        """Values for a line of `metrics.jsonl`."""
        scalars = ("psnr", "ssim", "copy_last_psnr", "copy_last_ssim")
        found: dict[str, Any] = {f"validation_{name}": value for name, value in self.losses.items()}
        found |= {f"validation_{name}": getattr(self, name) for name in scalars}
        found["validation_open_loop_mse"] = float(self.open_loop_mse.mean())
        found["validation_copy_last_mse"] = float(self.copy_last_mse.mean())
        found |= {"open_loop_mse": self.open_loop_mse.tolist(), "copy_last_mse": self.copy_last_mse.tolist()}
        return found if self.latent_actions is None else found | self.latent_actions.metrics()


@torch.no_grad()
def validate(
    model: VideoModel,
    segments: np.ndarray,
    config: ValidationConfig,
    seed: int,
    batch_size: int = 16,
    labels: Labels | None = None,
    videos: np.ndarray | None = None,
    more: MoreSegments | None = None,
) -> ValidationResult:
    """Measure a model in evaluation mode; it is left in the mode it was in.

    The same segments, seed and batch size give the same latents, context frames and masks at any time of the training.

    Args:
        model: the world model.
        segments: (N, T, H, W, 3) uint8, held-out.
        config: warm-up and number of shown segments.
        seed: of the draws.
        batch_size: segments computed at once.
        labels: true actions of the segments, for the report on latent actions; None: unknown.
        videos: (N,) video of each segment, for the same; None: each its own.
        more: further held-out segments, for the same; None: none.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    losses, frames, predictions = MeanLosses(), [], []
    for first in range(0, len(segments), batch_size):
        images = torch.from_numpy(segments[first : first + batch_size]).to(device)  # (B, T, H, W, 3)
        generator = torch.Generator(device).manual_seed(derive_seed(seed, first, "validation"))
        _, metrics = model.loss(images, generator)
        losses.add(metrics, len(images))
        predictions.append(model.open_loop(images, config.warmup, generator))  # (B, T, 3, H, W)
        frames.append(images.movedim(-1, -3).float() / 255)
    report = None
    if isinstance(model, LatentActionModel):
        evidence = measure_latent_actions(
            model, segments, config.warmup, device, seed, batch_size, labels, videos, more
        )  # fmt: skip
        report = latent_action_report(evidence)
    model.train(was_training)
    truth, prediction = torch.cat(frames), torch.cat(predictions)
    future, predicted = truth[:, config.warmup :], prediction[:, config.warmup :]
    copied = truth[:, config.warmup - 1 : config.warmup].expand_as(future)
    mse, psnr, ssim = _measures(predicted, future)
    copy_mse, copy_psnr, copy_ssim = _measures(copied, future)
    shown = _as_uint8(prediction[: config.strips])
    return ValidationResult(
        losses.means(), mse, copy_mse, psnr, ssim, copy_psnr, copy_ssim, segments[: config.strips], shown,
        report,
    )  # fmt: skip


def _measures(prediction: Tensor, truth: Tensor) -> tuple[np.ndarray, float, float]:
    """MSE by time step, mean PSNR and mean SSIM of frames (N, T, 3, H, W)."""
    mse = mean_squared_error(prediction, truth)  # (N, T)
    psnr = peak_signal_to_noise(mse).mean().item()
    ssim = structural_similarity(prediction, truth).mean().item()
    return mse.double().mean(0).cpu().numpy(), psnr, ssim


def _as_uint8(frames: Tensor) -> np.ndarray:
    return (frames.movedim(-3, -1) * 255).round().to(torch.uint8).cpu().numpy()
