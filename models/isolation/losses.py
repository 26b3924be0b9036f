"""Losses of isolated dynamics as pure functions.

Source: Iso-Dream (Pan et al., NeurIPS 2022, arXiv:2205.13817). Legend: `B` batch, `T` time, `A` action size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.nets.distributions import full_precision, gaussian_kl
from models.nets.gaussian_rssm import GaussianState


def balanced_gaussian_kl(
    posterior: GaussianState, prior: GaussianState, balance: float, free_nats: float
) -> tuple[Tensor, Tensor]:
    """KL loss with balancing and free nats, which each state has for itself.

    The released code clamps the mean over the batch instead: one state far from its prior then gives every other
    one a gradient, and many near ones take it away.

    Args:
        posterior: (B, T, ...) states.
        prior: (B, T, ...) states.
        balance: share of the loss whose gradient reaches the prior only.
        free_nats: lower clamp of each state's KL.

    Returns:
        The loss (scalar), and the KL of each state (B, T) in nats, detached.
    """
    to_prior = gaussian_kl(posterior.mean.detach(), posterior.std.detach(), prior.mean, prior.std)  # (B, T)
    to_posterior = gaussian_kl(posterior.mean, posterior.std, prior.mean.detach(), prior.std.detach())
    loss = balance * to_prior.clamp_min(free_nats).mean() + (1 - balance) * to_posterior.clamp_min(free_nats).mean()
    return loss, to_prior.detach()


def inverse_loss(predicted: Tensor, action: Tensor, inside: Tensor) -> Tensor:
    """0.5 ‖predicted - action‖² of each pair of neighbouring frames, averaged over those inside an episode.

    Args:
        predicted: (B, T - 1, A) actions from the change of the embedding.
        action: (B, T - 1, A) action that led to the second frame of each pair.
        inside: (B, T - 1), 0 where the second frame starts an episode.
    """
    distance = 0.5 * (full_precision(predicted) - action).square().sum(-1)
    return (distance * inside).sum() / inside.sum().clamp_min(1)


def frames_loss(prediction: Tensor, target: Tensor, seen: Tensor | None) -> Tensor:
    """0.5 (prediction - target)², summed over the pixels and averaged over the frames that count.

    Args:
        prediction: (B, T, ...).
        target: (B, T, ...).
        seen: (B, T), 1 where a frame counts; None: all do.
    """
    prediction = full_precision(prediction)
    if seen is None:
        return 0.5 * F.mse_loss(prediction, target, reduction="sum") / (target.shape[0] * target.shape[1])
    each = 0.5 * F.mse_loss(prediction, target, reduction="none").flatten(2).sum(-1)  # (B, T)
    return torch.where(seen > 0, each, 0).sum() / seen.sum().clamp_min(1)
