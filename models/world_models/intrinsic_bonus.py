"""Exploration bonus: novelty of short stretches of video in a random projection of the action-free features.

Source: APV (Seo et al., arXiv:2203.13880), video-based intrinsic bonus.
Legend: `B` batch, `T` time, `F` feature size, `Q` queue size, `P` projected size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from models.nets.distributions import full_precision
from models.world_models.config import IntrinsicConfig

_ROWS_PER_BLOCK = 256  # squared distances to a full queue of 4096 rows, in float64: 8 MB a block


class StreamNorm(nn.Module):
    """Division by a running mean of magnitudes, which the present batch has entered first.

    The magnitude is float64, as published; the input is not changed (the published one divides in place).
    """

    magnitude: Tensor

    def __init__(self, momentum: float, init: float = 1.0, eps: float = 1e-8, scale: float = 1.0) -> None:
        super().__init__()
        self.momentum, self.eps, self.scale = momentum, eps, scale
        self.register_buffer("magnitude", torch.tensor(init, dtype=torch.float64))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Update the magnitude with |x|, and return x / (magnitude + eps) * scale."""
        # A row of one: torch 2.13's compiled graphs take a float64 scalar for a constant, and lose what is written
        # to it.
        row = self.magnitude[None]
        row.mul_(self.momentum).add_((1 - self.momentum) * x.abs().mean().to(torch.float64))
        return x / (row[0].to(x.dtype) + self.eps) * self.scale


class IntrinsicBonus(nn.Module):
    """Mean distance to the nearest remembered stretches.

    Queue, fill count and magnitude are buffers: a checkpoint holds them (the published code lost the count).

    Args:
        config: sizes and weights.
        feat_size: size F of the action-free features.
        generator: decides the projection.
        to_end: the last window - 1 steps have a bonus too, from the steps that are left of their window (not as
            published).
    """

    queue: Tensor
    count: Tensor

    def __init__(
        self,
        config: IntrinsicConfig,
        feat_size: int,
        generator: torch.Generator | None = None,
        *,
        to_end: bool = False,
    ) -> None:
        super().__init__()
        self.config, self.to_end = config, to_end
        projection = torch.randn(feat_size, config.queue_dim, generator=generator) / config.queue_dim
        self.projection = nn.Parameter(projection, requires_grad=False)
        self.register_buffer("queue", torch.zeros(config.queue_size, config.queue_dim))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.norm = StreamNorm(config.norm_momentum, config.norm_init, config.norm_eps)

    @torch.no_grad()
    def forward(self, feat: Tensor) -> Tensor:
        """Normalised bonus (B, T - window + 1), `to_end` (B, T), of action-free features (B, T, F).

        The queue takes them up first.
        """
        normalised: Tensor = self.norm(self.raw(feat))
        return normalised

    @torch.no_grad()
    def raw(self, feat: Tensor) -> Tensor:
        """The bonus before normalisation: (B, T, F) to (B, T - window + 1), or `to_end` to (B, T).

        Shapes do not depend on how full the queue is: the host need not know, and a graph can hold it.
        """
        feat = full_precision(feat)
        means = feat.unfold(1, self.config.window, 1).mean(-1)  # (B, T - window + 1, F)
        if self.to_end:
            rest = range(means.shape[1], feat.shape[1])
            means = torch.cat([means, *[feat[:, start:].mean(1, keepdim=True) for start in rest]], 1)  # (B, T, F)
        with torch.autocast(feat.device.type, enabled=False):  # half precision would make all distances coarse
            rows = means.flatten(0, 1) @ self.projection
        size = self.queue.shape[0]
        # A batch with more rows than the queue holds (the published code stops there) is still compared with all of
        # itself; only what fits is remembered.
        remembered = torch.cat([rows, self.queue])[: max(size, rows.shape[0])]
        known = self.count + rows.shape[0]
        self.queue.copy_(remembered[:size])
        self.count.copy_(known.clamp_max(size))
        return nearest_mean_distance(rows, remembered, self.config.neighbours, known).reshape(means.shape[:2])


def nearest_mean_distance(rows: Tensor, others: Tensor, neighbours: int, known: Tensor | None = None) -> Tensor:
    """Mean Euclidean distance of each row (N, P) to its nearest `neighbours` among `others` (M, P): (N,).

    In blocks of rows: the published broadcast needs N * M * P numbers (4.8 GB at Meta-world size).

    Args:
        rows: what is looked at.
        others: what it is compared with.
        neighbours: how many, at most.
        known: scalar integer; only so many of the first `others` count. None: all.
    """
    count, blocks = min(neighbours, others.shape[0]), []
    known = known if known is not None else torch.tensor(others.shape[0], device=rows.device)
    absent = torch.arange(others.shape[0], device=rows.device) >= known  # (M,)
    counts = torch.arange(count, device=rows.device) < known
    for block in torch.split(rows, _ROWS_PER_BLOCK):
        distance = distances(block, others).masked_fill(absent, math.inf)  # (rows, M)
        nearest = distance.topk(count, largest=False).values  # (rows, count), nearest first
        blocks.append(nearest.where(counts, 0).sum(-1) / counts.sum())
    return torch.cat(blocks)


def distances(rows: Tensor, others: Tensor) -> Tensor:
    """Euclidean distances of rows (N, P) and (M, P): (N, M).

    Those of float32 rows by products in float64: quicker than subtraction on a CPU (three times at 64 rows and 4,096
    others), and on a GPU, where the kernel for that takes longer than the rest of an update. What is float64 already is
    subtracted.
    """
    if rows.dtype is torch.float64:
        return torch.cdist(rows, others, compute_mode="donot_use_mm_for_euclid_dist")
    return product_distances(rows, others)


def product_distances(rows: Tensor, others: Tensor) -> Tensor:
    """`distances` as |a|² + |b|² - 2ab in float64 (in float32 that errs by 3e-3 at distance zero).

    What is left of squares that rounding alone can leave, a float32 unit in the last place of the largest row, is zero:
    a row is at distance zero from itself.
    """
    a, b = rows.double(), others.double()
    of_a, of_b = a.square().sum(-1), b.square().sum(-1)
    # In one buffer: the rows of a block are few, but there are thousands of others.
    squares = torch.addmm(of_b[None], a, b.t(), alpha=-2).add_(of_a[:, None])
    rounding = 16 * torch.finfo(torch.float64).eps * (of_a.max() + of_b.max())
    return torch.where(squares <= rounding, 0.0, squares).sqrt_().to(rows.dtype)
