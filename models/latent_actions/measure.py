"""The evidence of a model's latent actions, measured on segments: what `models.metrics.latent_actions` reports on.

Legend: `N` segments, `B` of them at once, `T` frames, `L` size of a latent action.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ipv_bench.seeding import derive_seed
from models.latent_actions.gaussian import LatentActions
from models.metrics.latent_actions import STEPS_PER_CODE, LatentActionEvidence
from models.metrics.ratios import check_another, others

POOLED = 4
"""Frames are averaged over a grid of so many cells a side where no true state is known."""


@runtime_checkable
class LatentActionModel(Protocol):
    """A video model with latent actions; frames are uint8 (B, T, H, W, 3)."""

    def infer(self, image: Tensor) -> LatentActions:
        """Latent actions (B, T - 1, L) between the frames."""

    def prior_actions(self, batch: int, length: int, generator: torch.Generator) -> Tensor:
        """Latent actions (B, T - 1, L) that no frame says anything of."""

    def targets(self, image: Tensor) -> Tensor:
        """(B, T, ...) what errors of predictions are counted in: frames in [0, 1], or their features."""

    def rollout(self, image: Tensor, actions: Tensor, observed: int, generator: torch.Generator) -> Tensor:
        """The same of predictions: the first `observed` frames seen, the rest predicted under latent actions."""

    def action_kl(self, inferred: LatentActions) -> Tensor | None:
        """KL to the prior in nats; None where there is no distribution."""


class MoreSegments(NamedTuple):
    """Further held-out segments, which nothing is predicted for: codes are counted on them, where a model has such.

    Attributes:
        read: batch by number, to uint8 (B, T, H, W, 3); none of them holds a segment that is predicted.
        steps: different steps that all held-out videos hold.
    """

    read: Callable[[int], NDArray[np.uint8]]
    steps: int


class Labels(NamedTuple):
    """What is known of segments beside their frames.

    Attributes:
        actions: (N, T, A) action that led into each frame.
        states: (N, T, S) true state of each frame; None: unknown.
        groups: (N,) video of each segment.
    """

    actions: NDArray[Any]
    states: NDArray[Any] | None
    groups: NDArray[np.integer]


@torch.no_grad()
def measure_latent_actions(
    model: LatentActionModel,
    segments: NDArray[np.uint8],
    observed: int,
    device: torch.device,
    seed: int,
    batch_size: int = 16,
    labels: Labels | None = None,
    videos: NDArray[np.integer] | None = None,
    more: MoreSegments | None = None,
) -> LatentActionEvidence:
    """Predict every segment under its own latent actions, another segment's, and some of the prior.

    All three differ in the actions from the last seen frame on, and in nothing else: what led to the seen frames, and
    every random number, is the same. The same segments, seed and batch size give the
    same evidence.

    Args:
        model: the model; in evaluation mode.
        segments: (N, T, H, W, 3), held-out; which one stands for another is `models.metrics.ratios.others`' to say.
        observed: frames that are seen, 1 ≤ observed < T.
        device: where the model is.
        seed: of the draws.
        batch_size: segments computed at once.
        labels: true actions; None on unlabelled sets.
        videos: (N,) video of each segment; None: each its own.
        more: of these so many are read that a codebook's use can be told (`STEPS_PER_CODE`); None: no others.

    Raises:
        ConfigError: one segment alone.
    """
    check_another(len(segments))
    parts = [segments[first : first + batch_size] for first in range(0, len(segments), batch_size)]
    images = [torch.from_numpy(part).to(device) for part in parts]  # (B, T, H, W, 3) each
    inferred = [model.infer(image) for image in images]
    means = torch.cat([each.mean.float() for each in inferred])  # (N, T - 1, L)
    exchanged = torch.from_numpy(others(len(segments), videos)).to(device)
    errors: dict[str, list[Tensor]] = {"own": [], "other": [], "prior": [], "copy": []}
    for number, image in enumerate(images):
        rows = torch.arange(len(image), device=device) + number * batch_size
        drawn = torch.Generator(device).manual_seed(derive_seed(seed, number, "prior latent actions"))
        given = {
            "own": means[rows],
            "other": means[exchanged[rows]],
            "prior": model.prior_actions(len(image), image.shape[1], drawn),
        }
        # What led to the seen frames stays: a model that carries a state would else start from a worse one.
        given = {
            name: torch.cat([means[rows, : observed - 1], each[:, observed - 1 :]], 1) for name, each in given.items()
        }
        truth = model.targets(image)  # (B, T, ...)
        for name, actions in given.items():
            generator = torch.Generator(device).manual_seed(derive_seed(seed, number, "latent actions"))
            predicted = model.rollout(image, actions, observed, generator)
            errors[name].append(_squared_error(predicted[:, observed:], truth[:, observed:]))
        copied = truth[:, observed - 1 : observed].expand_as(truth[:, observed:])
        errors["copy"].append(_squared_error(copied, truth[:, observed:]))
    kls = [model.action_kl(each) for each in inferred]
    sizes = [len(part) / len(segments) for part in parts]
    kl = sum(float(value) * size for value, size in zip(kls, sizes, strict=True) if value is not None)
    found = {name: _numpy(torch.cat(values)) for name, values in errors.items()}
    return LatentActionEvidence(
        own_error=found["own"],
        other_error=found["other"],
        copy_error=found["copy"],
        prior_error=found["prior"],
        latents=_numpy(means),
        action_kl=None if kls[0] is None else kl,
        codes=_codes(model, inferred, more, device),
        num_codes=inferred[0].num_codes,
        code_steps=None if more is None else more.steps,
        actions=None if labels is None else np.asarray(labels.actions, np.float64)[:, 1:],
        states=None if labels is None else _states(labels, images),
        groups=None if labels is None else labels.groups,
    )


def _codes(
    model: LatentActionModel, inferred: list[LatentActions], more: MoreSegments | None, device: torch.device
) -> NDArray[np.integer] | None:
    """(M, T - 1, C) of the segments that were predicted, and of so many others as it takes and there are."""
    found = [each.codes for each in inferred if each.codes is not None]
    if not found:
        return None
    wanted = 0 if more is None else min(STEPS_PER_CODE * inferred[0].num_codes, more.steps)
    steps, number = sum(codes[..., 0].numel() for codes in found), 0
    while more is not None and steps < wanted:
        codes = model.infer(torch.from_numpy(more.read(number)).to(device)).codes
        assert codes is not None
        found.append(codes)
        steps, number = steps + codes[..., 0].numel(), number + 1
    return torch.cat(found).cpu().numpy()


def _states(labels: Labels, images: list[Tensor]) -> NDArray[np.float64]:
    """(N, T - 1, S) of the frames that the actions were taken in: true states, or else pooled pixels."""
    if labels.states is not None:
        flat = np.asarray(labels.states, np.float64)
        return flat.reshape(*flat.shape[:2], -1)[:, :-1]
    pooled = []
    for image in images:
        frames = image[:, :-1].flatten(0, 1).movedim(-1, 1).float() / 255  # (B (T - 1), 3, H, W)
        small = torch.nn.functional.adaptive_avg_pool2d(frames, POOLED).flatten(1)
        pooled.append(small.reshape(len(image), image.shape[1] - 1, -1))
    return _numpy(torch.cat(pooled))


def _squared_error(prediction: Tensor, truth: Tensor) -> Tensor:
    """(B, K, ...) of both, to means (B, K)."""
    return (prediction.float() - truth.float()).square().flatten(2).mean(-1)


def _numpy(values: Tensor) -> NDArray[np.float64]:
    return values.double().cpu().numpy()
