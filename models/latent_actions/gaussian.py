"""Diagonal Gaussians of latent actions, as pure functions, in full precision.

Legend: `L` size of a latent action, `...` any leading dimensions. Standard deviations are positive.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from models.nets.distributions import full_precision

SMALLEST_STD = 1e-4
"""The published activation has no floor: its logarithm would run away where it underflows."""


class LatentActions(NamedTuple):
    """Latent actions, one for each pair of neighbouring frames.

    Attributes:
        mean: (..., L); plain numbers where there is no distribution, dequantised codes where there is a codebook.
        std: (..., L) standard deviations; None where there is no distribution.
        codes: (..., C) indices into a codebook; None where there is none.
        num_codes: entries of the codebook.
    """

    mean: Tensor
    std: Tensor | None
    codes: Tensor | None = None
    num_codes: int = 0

    def sample(self, noise: Tensor | None) -> Tensor:
        """mean + std * noise, (..., L); without noise or without a distribution the mean."""
        if self.std is None or noise is None:
            return self.mean
        return self.mean + self.std * noise.to(self.mean.dtype)


def to_std(raw: Tensor) -> Tensor:
    """2 sigmoid(raw / 2), in (0, 2): what the networks' outputs mean (as published), 1 at raw = 0."""
    return (2 * torch.sigmoid(full_precision(raw) / 2)).clamp_min(SMALLEST_STD)


def standard_normal_kl(mean: Tensor, std: Tensor) -> Tensor:
    """KL(N(mean, std²) ‖ N(0, I)) in nats, (..., L) to (...), summed over the dimensions."""
    return (0.5 * (mean.square() + std.square() - 1) - std.log()).sum(-1)


def negative_log_density(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """-ln N(x; mean, std²) in nats, (..., L) to (...), summed over the dimensions."""
    return (0.5 * ((x - mean) / std).square() + std.log() + 0.5 * math.log(2 * math.pi)).sum(-1)
