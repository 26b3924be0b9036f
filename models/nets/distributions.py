"""Distributions as pure functions: categorical and Gaussian latents, their KL, and the truncated normal of the actor.

Legend: `S` categorical variables, `K` classes, `A` action size, `...` any leading dimensions.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

_TINY = torch.finfo(torch.float32).tiny


def full_precision(x: Tensor) -> Tensor:
    """Half-precision tensors as float32; others as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def gumbel_noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Gumbel(0, 1) noise of `shape`: the arg max of logit + noise is a draw of the categorical distribution."""
    exponential = torch.empty(shape, device=generator.device).exponential_(generator=generator)
    return -exponential.clamp_min_(_TINY).log_()


def draw_one_hot(logit: Tensor, noise: Tensor | None) -> Tensor:
    """One-hot draw of each variable, with a straight-through gradient.

    Args:
        logit: (..., S, K).
        noise: (..., S, K) Gumbel noise; None takes the most likely class.

    Returns:
        (..., S, K) one-hot values whose gradient is that of softmax(logit).
    """
    scores = logit if noise is None else logit + noise
    chosen = scores.argmax(-1, keepdim=True)
    # Not F.one_hot, which looks for indices out of range, in integers, and is converted afterwards.
    one_hot = torch.zeros_like(logit).scatter_(-1, chosen, 1.0)
    return straight_through(one_hot, logit) if torch.is_grad_enabled() else one_hot


def straight_through(one_hot: Tensor, logit: Tensor) -> Tensor:
    """one_hot + p - sg(p) with p = softmax(logit); all (..., S, K).

    Source: DreamerV2 (Hafner et al., arXiv:2010.02193), Algorithm 1.
    """
    probability = logit.softmax(-1)
    return one_hot + (probability - probability.detach())


def categorical_entropy(logit: Tensor) -> Tensor:
    """Entropy in nats, (..., S, K) to (...), summed over the variables."""
    log_p = logit.log_softmax(-1)
    return -(log_p.exp() * log_p).sum((-2, -1))


def categorical_kl(logit: Tensor, other: Tensor) -> Tensor:
    """KL(softmax(logit) ‖ softmax(other)) in nats, (..., S, K) to (...), summed over the variables."""
    log_p, log_q = logit.log_softmax(-1), other.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum((-2, -1))


def balanced_kl(posterior: Tensor, prior: Tensor, balance: float, free_nats: float) -> tuple[Tensor, Tensor]:
    """KL loss with balancing and free nats.

    Source: DreamerV2 (arXiv:2010.02193), KL balancing; as in the published ContextWM code the free nats clamp the
    mean over the batch, not each element, so that below the threshold the gradient is exactly zero.

    Args:
        posterior: (..., S, K) logits.
        prior: (..., S, K) logits.
        balance: share of the loss whose gradient reaches the prior only.
        free_nats: lower clamp of each mean, in nats.

    Returns:
        The loss (scalar), and the KL of each element (...), detached.
    """
    to_prior = categorical_kl(posterior.detach(), prior)  # (...)
    to_posterior = categorical_kl(posterior, prior.detach())  # (...)
    loss = balance * to_prior.mean().clamp_min(free_nats) + (1 - balance) * to_posterior.mean().clamp_min(free_nats)
    return loss, to_prior.detach()


def gaussian_kl(mean: Tensor, std: Tensor, other_mean: Tensor, other_std: Tensor) -> Tensor:
    """KL(N(mean, std²) ‖ N(other_mean, other_std²)) in nats, (..., L) to (...), summed over the dimensions."""
    ratio, shift = std / other_std, (mean - other_mean) / other_std
    return (0.5 * (ratio.square() + shift.square() - 1) - ratio.log()).sum(-1)


class TruncatedNormal(NamedTuple):
    """Normal distribution cut to [-1, 1], independent per dimension.

    Attributes:
        loc: (..., A) location in (-1, 1); also the mode.
        scale: (..., A) standard deviation before cutting, > 0.
    """

    loc: Tensor
    scale: Tensor

    def sample(self, uniform: Tensor) -> Tensor:
        """(..., A) draws by the inverse of the cumulative distribution at `uniform` (..., A) in [0, 1].

        Clipped to ±(1 - 1e-6) with the gradient passed straight through.
        """
        # In error functions, 2·cdf - 1, throughout: half the operations, of which a small update has hundreds.
        width = self.scale * math.sqrt(2)
        low, high = torch.erf((-1 - self.loc) / width), torch.erf((1 - self.loc) / width)
        position = torch.lerp(low, high, uniform).clamp(-1 + 2e-7, 1 - 2e-7)
        drawn = torch.addcmul(self.loc, width, torch.erfinv(position))
        clipped = drawn.detach().clamp(-1 + 1e-6, 1 - 1e-6)
        return drawn + (clipped - drawn.detach())

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density of `x` (..., A) inside [-1, 1], summed over A: (...)."""
        mass = self._limits()[2]
        z = (x - self.loc) / self.scale
        return (-0.5 * z**2 - 0.5 * math.log(2 * math.pi) - self.scale.log() - mass.log()).sum(-1)

    def entropy(self) -> Tensor:
        """Entropy in nats, summed over A: (...)."""
        low, high, mass = self._limits()
        edge = (high * _density(high) - low * _density(low)) / mass
        return (0.5 * math.log(2 * math.pi * math.e) + self.scale.log() + mass.log() - 0.5 * edge).sum(-1)

    def mean(self) -> Tensor:
        """(..., A) mean of the cut distribution."""
        low, high, mass = self._limits()
        return self.loc - self.scale * (_density(high) - _density(low)) / mass

    def _limits(self) -> tuple[Tensor, Tensor, Tensor]:
        low, high = (-1 - self.loc) / self.scale, (1 - self.loc) / self.scale
        return low, high, (_cdf(high) - _cdf(low)).clamp_min(1e-8)


def _cdf(z: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(z / math.sqrt(2)))


def _density(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
