"""Validation of a model under real actions on held-out videos: what it predicts, and whether actions decide."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ipv_bench.seeding import derive_seed
from models.adapting.labelled_training import LabelledBatch
from models.methods.base import ActionModel
from models.metrics.image_quality import mean_squared_error
from models.metrics.ratios import NOT_FINITE, against_a_copy, check_another, copy_ratio, others, shuffle_ratio
from models.pretraining.config import ValidationConfig
from models.pretraining.validation import MeanLosses

IGNORED_BELOW = 1.1
"""Real actions with a shuffle ratio below this are not heeded: another segment's would do as well."""


@runtime_checkable
class FeaturePredictions(Protocol):
    """An `ActionModel` that predicts features: errors are counted in them too, since no decoder blurs them."""

    def targets(self, image: Tensor) -> Tensor:
        """Features (B, T, ...) of frames."""

    def rollout(self, image: Tensor, action: Tensor, observed: int) -> Tensor:
        """The same of predictions: the first `observed` frames seen, the rest from actions (B, T, A) alone."""


@dataclass(frozen=True)
class FeatureErrors:
    """(N, T - warmup) squared errors of predicted features, by frames ahead.

    Attributes:
        own: predicted from the segment's own actions.
        copy: those of the last frame that was seen, repeated.
        other: predicted from the actions of another segment.
    """

    own: np.ndarray
    copy: np.ndarray
    other: np.ndarray

    def metrics(self) -> dict[str, Any]:
        """Values for a line of `metrics.jsonl`."""
        return {
            "validation_feature_copy_ratio": float(copy_ratio(self.own, self.copy)),
            "validation_feature_shuffle_ratio": float(shuffle_ratio(self.own, self.other)),
            "feature_copy_ratio_by_step": copy_ratio(self.own, self.copy, 0).tolist(),
            "feature_shuffle_ratio_by_step": shuffle_ratio(self.own, self.other, 0).tolist(),
        }


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
        features: the errors in features, of a model that predicts these.
    """

    losses: Mapping[str, float]
    error: np.ndarray
    copy_error: np.ndarray
    shuffled_error: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    features: FeatureErrors | None = None

    @property
    def deciding_ratio(self) -> tuple[float, str]:
        """The shuffle ratio that says whether actions are heeded, and of what it is: of features one step ahead, where
        features are predicted (a decoder may not draw what moves), else of all predicted frames."""
        if self.features is None:
            return float(shuffle_ratio(self.error, self.shuffled_error)), "of the predicted frames"
        return float(shuffle_ratio(self.features.own, self.features.other, 0)[0]), "of features one step ahead"

    @property
    def heeded(self) -> bool:
        """Whether real actions decide what is predicted; False as well where that cannot be told."""
        return math.isfinite(ratio := self.deciding_ratio[0]) and ratio >= IGNORED_BELOW

    def sentence(self) -> str:
        """What real actions are worth to the model, in a line, with the number that decides."""
        ratio, of_what = self.deciding_ratio
        if not math.isfinite(ratio):
            verdict, limit = "cannot tell", f", {NOT_FINITE}"
        else:
            verdict, sign = ("heeded", "≥") if self.heeded else ("ignored", "<")
            limit = f" {sign} {IGNORED_BELOW}"
        copied = copy_ratio(self.error, self.copy_error) if self.features is None else copy_ratio(
            self.features.own[:, 0], self.features.copy[:, 0])  # fmt: skip
        return (
            f"real actions: {verdict} (shuffle ratio {of_what} {ratio:.3g}{limit}); copy ratio {float(copied):.3g}, "
            f"{against_a_copy(float(copied))}"
        )

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
            **({} if self.features is None else self.features.metrics()),
            "open_loop_mse": self.error.mean(0).tolist(),
            "copy_last_mse": self.copy_error.mean(0).tolist(),
            "shuffled_mse": self.shuffled_error.mean(0).tolist(),
        }


@torch.no_grad()
def validate_actions(
    model: ActionModel,
    segments: LabelledBatch,
    config: ValidationConfig,
    seed: int,
    batch_size: int = 16,
    videos: np.ndarray | None = None,
) -> ActionValidation:
    """Measure a model in evaluation mode; it is left in the mode it was in.

    The same segments, seed and batch size give the same latents, context frames and masks at any time of the training;
    own and shuffled actions meet the same ones. Only the actions that follow the seen frames are another segment's.

    Args:
        model: the model.
        segments: held-out; whose actions stand for another's is `models.metrics.ratios.others`' to say.
        config: warm-up and number of shown segments.
        seed: of the draws.
        batch_size: segments computed at once.
        videos: (N,) video of each segment; None: each its own.

    Raises:
        ConfigError: one segment alone.
    """
    check_another(len(segments.frames))
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    exchanged = segments.action[others(len(segments.frames), videos)]
    exchanged[:, : config.warmup] = segments.action[:, : config.warmup]  # what led to the seen frames
    losses, errors, feature_errors, predictions = MeanLosses(), [], [], []
    for first in range(0, len(segments.frames), batch_size):
        part = slice(first, first + batch_size)
        images = torch.from_numpy(segments.frames[part]).to(device)  # (B, T, H, W, 3)
        action, other = (torch.from_numpy(values[part]).to(device) for values in (segments.action, exchanged))

        def generator(purpose: str, place: int = first) -> torch.Generator:
            return torch.Generator(device).manual_seed(derive_seed(seed, place, purpose))

        draws = model.draw(images.shape[0], images.shape[1], generator("validation"))
        _, metrics = model(images, action, draws)
        losses.add(metrics, len(images))
        truth = images.movedim(-1, -3).float() / 255
        own = model.open_loop(images, action, config.warmup, generator("open loop"))  # (B, T, 3, H, W)
        shuffled = model.open_loop(images, other, config.warmup, generator("open loop"))
        errors.append(_errors(truth, (own, truth[:, config.warmup - 1 : config.warmup], shuffled), config.warmup))
        if isinstance(model, FeaturePredictions):
            feature_errors.append(_feature_errors(model, images, (action, other), config.warmup))
        predictions.append(own[: max(0, config.strips - first)])
    model.train(was_training)
    error, copy_error, shuffled_error = np.concatenate(errors, 1)
    return ActionValidation(
        losses.means(), error, copy_error, shuffled_error,
        segments.frames[: config.strips], _as_uint8(torch.cat(predictions)),
        FeatureErrors(*np.concatenate(feature_errors, 1)) if feature_errors else None,
    )  # fmt: skip


def _errors(truth: Tensor, predictions: tuple[Tensor, ...], warmup: int) -> np.ndarray:
    """(predictions, B, T - warmup) MSE of the frames after the warm-up."""
    future = truth[:, warmup:]
    parts = [values[:, warmup:] if values.shape[1] > 1 else values.expand_as(future) for values in predictions]
    return np.stack([mean_squared_error(part, future).double().cpu().numpy() for part in parts])


def _feature_errors(
    model: FeaturePredictions, images: Tensor, actions: tuple[Tensor, Tensor], warmup: int
) -> np.ndarray:
    """(3, B, T - warmup): under the own actions, of a copy, and under the others."""
    truth = model.targets(images)
    own, other = (model.rollout(images, action, warmup)[:, warmup:] for action in actions)
    copied = truth[:, warmup - 1 : warmup]
    errors = [
        (values.float() - truth[:, warmup:].float()).square().flatten(2).mean(-1) for values in (own, copied, other)
    ]
    return np.stack([error.double().cpu().numpy() for error in errors])


def _as_uint8(frames: Tensor) -> np.ndarray:
    return (frames.movedim(-3, -1) * 255).round().to(torch.uint8).cpu().numpy()
