"""Transformer layers with norms in front (pre-norm), as in vision transformers.

Legend: `N` items, `L` tokens, `M` tokens that are attended to, `D` width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALL_STD = 0.02
"""Standard deviation of first weights of tokens, positions and last layers, as usual in vision transformers."""


class Attention(nn.Module):
    """Multi-head attention of tokens over others, or over themselves.

    Args:
        width: D, a multiple of `heads`.
        heads: attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """Queries (N, L, D) over memory (N, M, D), to (N, L, D)."""
        key, value = self.key_value(memory).chunk(2, -1)
        seen = F.scaled_dot_product_attention(self._split(self.query(x)), self._split(key), self._split(value))
        joined: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return joined

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], self.heads, -1).transpose(1, 2)  # (N, heads, L, D / heads)


class Block(nn.Module):
    """Self-attention and a network of two layers, each behind a norm and beside a residual path.

    Args:
        width: D.
        heads: attention heads.
        crossing: attend to a memory as well, between the two.
    """

    def __init__(self, width: int, heads: int, *, crossing: bool = False) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.cross_norm = nn.LayerNorm(width) if crossing else None
        self.cross = Attention(width, heads) if crossing else None
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """Tokens (N, L, D), with a memory (N, M, D) where the block attends to one."""
        normed = self.attention_norm(x)
        x = x + self.attention(normed, normed)
        if self.cross is not None and self.cross_norm is not None:
            assert memory is not None
            x = x + self.cross(self.cross_norm(x), memory)
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out


class Transformer(nn.Module):
    """Blocks one after another, and a norm at the end.

    Args:
        width: D.
        heads: attention heads.
        layers: number of blocks.
        crossing: the blocks attend to a memory as well.
    """

    def __init__(self, width: int, heads: int, layers: int, *, crossing: bool = False) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, crossing=crossing) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """Tokens (N, L, D) to (N, L, D)."""
        for block in self.blocks:
            x = block(x, memory)
        normed: Tensor = self.norm(x)
        return normed


def learned_tokens(count: int, width: int) -> nn.Parameter:
    """(count, width) tokens or positions that are learned, small at first."""
    return nn.Parameter(torch.randn(count, width) * SMALL_STD)


def small_linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer whose first outputs are small, and not zero: a zero would pass no gradient on."""
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=SMALL_STD)
    nn.init.zeros_(layer.bias)
    return layer
