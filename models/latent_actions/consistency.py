"""Consistency of latent actions with what they do: those that lead to more different states should differ more.

The idea is PreLAR's ("CL"), whose published form compares signs and so has no gradient; this form has one. Ours.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class ConsistencyDraws(NamedTuple):
    """Which of `N` = B (T - 1) steps are compared.

    Attributes:
        sequence: (B,) for each sequence, another one, whose actions it is compared with.
        step: (N,) for each step, another one, whose differences it is ranked against.
    """

    sequence: Tensor
    step: Tensor


def draw_consistency(batch: int, length: int, generator: torch.Generator) -> ConsistencyDraws:
    """Draw the comparisons of (batch, length) frames; no sequence is compared with itself (batch ≥ 2)."""
    device, count = generator.device, batch * (length - 1)
    order = torch.randperm(batch, generator=generator, device=device)
    sequence = torch.empty_like(order)
    sequence[order] = order.roll(1)
    return ConsistencyDraws(sequence, torch.randperm(count, generator=generator, device=device))


def rank_loss(effect: Tensor, difference: Tensor, other: Tensor) -> Tensor:
    """Mean of softplus(-sign(x_i - x_j) (y_i - y_j) / τ), where τ is the standard deviation of y.

    Args:
        effect: x, (N,): how far another action would lead; a given order, without gradient.
        difference: y, (N,): how far the other action itself is; learns to have that order.
        other: (N,) index j of each i.
    """
    order = torch.sign(effect - effect[other]).detach()
    scale = difference.detach().std().clamp_min(1e-6)
    return F.softplus(-order * (difference - difference[other]) / scale).mean()
