"""Vector quantisation with a gradient-trained codebook, and codes that start again where nothing uses them.

Source: van den Oord et al., "Neural Discrete Representation Learning", NeurIPS 2017, Eq. 3; the random restart is that
of Dhariwal et al., "Jukebox", 2020, section 3.

Legend: `R` vectors, `K` codes of the codebook, `D` their size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from models.nets.config import QuantizerConfig
from models.nets.distributions import full_precision


class Quantized(NamedTuple):
    """What quantising gave.

    Attributes:
        value: (..., D) the codes; their gradient goes to the vectors as it is.
        codes: (...) indices into the codebook.
        loss: of codebook and commitment.
    """

    value: Tensor
    codes: Tensor
    loss: Tensor


class VectorQuantizer(nn.Module):
    """The nearest code of each vector.

    In training the codebook begins with vectors of the first batch, and codes that hardly anything uses begin again at
    vectors of the present one. What a forward pass changes is in `statistics`.
    """

    usage: Tensor
    ready: Tensor

    def __init__(self, config: QuantizerConfig) -> None:
        super().__init__()
        self.config = config
        self.codebook = nn.Parameter(torch.randn(config.codes, config.size))
        self.register_buffer("usage", torch.ones(config.codes))
        """Running mean of each code's use; 1 is an even share."""
        self.register_buffer("ready", torch.zeros((), dtype=torch.uint8))
        """Whether the codebook has been taken from data."""

    def statistics(self) -> list[Tensor]:
        """What a forward pass in training changes, without a gradient: to be restored where an update is skipped."""
        return [self.codebook.detach(), self.usage, self.ready]

    def draw(self, rows: int, generator: torch.Generator) -> Tensor:
        """(K,) numbers of the vectors, of `rows`, that codes begin at."""
        return torch.randint(rows, (self.config.codes,), generator=generator, device=generator.device)

    def forward(self, vectors: Tensor, starts: Tensor | None = None) -> Quantized:
        """Quantise vectors (..., D).

        Args:
            vectors: any leading dimensions.
            starts: from `draw`, while training.
        """
        vectors = full_precision(vectors)
        if self.training and starts is not None:
            self._restart(vectors.detach().flatten(0, -2), starts)
        codes = self.nearest(vectors)  # (...)
        found = self.values(codes)
        loss = (found - vectors.detach()).square().mean()
        loss = loss + self.config.commitment * (vectors - found.detach()).square().mean()
        if self.training and starts is not None:
            self._count(codes)
        return Quantized(vectors + (found - vectors).detach(), codes, loss)

    def nearest(self, vectors: Tensor) -> Tensor:
        """(...) indices of the codes nearest to vectors (..., D)."""
        book = full_precision(self.codebook)
        flat = full_precision(vectors).flatten(0, -2)  # (R, D)
        # |v|² is the same for all codes
        distance = book.square().sum(-1) - 2 * flat @ book.T  # (R, K)
        return distance.argmin(-1).reshape(vectors.shape[:-1])

    def values(self, codes: Tensor) -> Tensor:
        """(..., D) entries of the codebook at indices (...)."""
        return nn.functional.embedding(codes, full_precision(self.codebook))

    @torch.no_grad()
    def _restart(self, vectors: Tensor, starts: Tensor) -> None:
        fresh = vectors[starts]  # (K, D)
        if _several_processes():
            dist.broadcast(fresh, 0)  # every process holds the same codebook
        unused = (self.usage < self.config.restart_below) | (self.ready == 0)  # (K,)
        self.codebook.copy_(torch.where(unused[:, None], fresh, self.codebook))
        self.usage.copy_(torch.where(unused, torch.ones_like(self.usage), self.usage))
        self.ready.fill_(1)

    @torch.no_grad()
    def _count(self, codes: Tensor) -> None:
        share = _counts(codes, self.config.codes)
        if _several_processes():
            dist.all_reduce(share)
        share = share / share.sum() * self.config.codes
        self.usage.lerp_(share, 1 - self.config.usage_decay)


def _several_processes() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _counts(codes: Tensor, count: int) -> Tensor:
    """(count,) how often each code occurs; `bincount` would make the host wait for the device."""
    flat = codes.flatten()
    return torch.zeros(count, device=codes.device).scatter_add_(0, flat, torch.ones_like(flat, dtype=torch.float32))


def batch_perplexity(codes: Tensor, count: int) -> Tensor:
    """Perplexity, in [1, count], of the use of a codebook in indices of any shape."""
    share = _counts(codes, count).double()
    share = share / share.sum()
    return torch.exp(-torch.special.xlogy(share, share).sum())
