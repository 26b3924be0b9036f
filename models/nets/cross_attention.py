"""Fusion of context features into the decoder: masked cross-attention as published, or plain concatenation.

Legend: `B` segments, `N` frames (B times T), `C` channels, `L` positions, `M` kept context tokens, `h` heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.nets.dropped import dropped
from models.nets.narrow_norm import BatchNorm

# Attention weights of so many numbers are handled at once on the CPU: they stay in the cache, and freed
# blocks are used again. Measured at 400 frames, 256 x 64 positions, 4 heads: 0.31 s against 0.73 s in one piece.
_CPU_CHUNK = 1 << 20


class FusionDraws(NamedTuple):
    """Random numbers of one fusion; None switches a part off.

    Attributes:
        kept: (N, M) context tokens that each frame attends to.
        drop_weights: (N, h, L, M) bool, True where dropout removes an attention weight.
        drop_output: (N, L, C) bool, True where dropout removes a number of the output.
    """

    kept: Tensor | None = None
    drop_weights: Tensor | None = None
    drop_output: Tensor | None = None


def keep_count(tokens: int, mask_ratio: float) -> int:
    """How many of `tokens` stay: at least one."""
    return max(1, int(tokens * (1 - mask_ratio)))


def kept_tokens(uniform: Tensor, mask_ratio: float) -> Tensor:
    """Token indices (N, M) that stay: those of the smallest `uniform` numbers (N, L) of each row."""
    return uniform.topk(keep_count(uniform.shape[-1], mask_ratio), largest=False).indices


def drop_mask(shape: tuple[int, ...], probability: float, generator: torch.Generator) -> Tensor:
    """Bool mask that is True with `probability`, rounded to 1/65536.

    On the CPU 16 bits decide each element, and numpy's SFC64, seeded by one draw of `generator`, makes them:
    8 times faster than a torch uniform number each, which took a third of a small training step.
    """
    threshold = round(probability * 65536)
    if generator.device.type != "cpu":
        return torch.rand(shape, generator=generator, device=generator.device) < threshold / 65536
    count = int(np.prod(shape))
    seed = int(torch.randint(2**62, (), generator=generator))
    bits = np.random.SFC64(seed).random_raw(-(-count // 4)).view(np.uint16)[:count]
    return torch.from_numpy(bits < threshold).view(shape)


class CrossAttention(nn.Module):
    """Multi-head attention of decoder positions over the tokens of the context frame.

    Learned position embeddings are added to queries, and to the context tokens (so they are in the values too).

    Args:
        channels: of both maps, a multiple of `heads`.
        tokens: positions of each map.
        heads: attention heads.
        dropout: probability of both dropouts, whose masks come in `FusionDraws`.
    """

    def __init__(self, channels: int, tokens: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, round(dropout * 65536) / 65536
        self.query_position = nn.Parameter(torch.zeros(tokens, channels))
        self.context_position = nn.Parameter(torch.zeros(tokens, channels))
        self.in_proj = nn.Linear(channels, 3 * channels)
        self.out_proj = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.in_proj.weight)
        nn.init.zeros_(self.in_proj.bias)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, context: Tensor, draws: FusionDraws) -> Tensor:
        """(N, C, H, W) queries and (B, C, H, W) context, to (N, C, H, W)."""
        n, channels, height, width = x.shape
        queries = x.flatten(2).transpose(1, 2) + self.query_position  # (N, L, C)
        tokens = context.flatten(2).transpose(1, 2) + self.context_position  # (B, L, C)
        weight, bias = self.in_proj.weight, self.in_proj.bias
        scale = (channels // self.heads) ** -0.5
        # The scale in the weights, which are few, and not on the queries.
        q = F.linear(queries, weight[:channels] * scale, bias[:channels] * scale)
        kv = F.linear(tokens, weight[channels:], bias[channels:])  # (B, L, 2C): once per segment, not per frame
        k, v = self._of_frames(kv, n, draws.kept).chunk(2, -1)  # (N, M, C) each
        if draws.drop_weights is not None:
            v = v * (1 / (1 - self.dropout))  # the scale of the kept weights; far fewer numbers here than there
        seen = self._attend(self._split(q), self._split(k), self._split(v), draws.drop_weights)  # (N, h, L, C/h)
        # As above, the scale of what is kept in the few weights.
        kept = 1.0 if draws.drop_output is None else 1 / (1 - self.dropout)
        out = F.linear(
            seen.transpose(1, 2).flatten(2), self.out_proj.weight * kept, self.out_proj.bias * kept
        )  # (N, L, C)
        if draws.drop_output is not None:
            out = dropped(out, draws.drop_output)
        return out.transpose(1, 2).reshape(n, channels, height, width)

    @torch.no_grad()
    def weights(self, x: Tensor, context: Tensor, positions: Sequence[int] | None = None) -> Tensor:
        """Attention weights over all context tokens, none dropped: (N, C, H, W) of both maps to (N, h, L, L).

        With `positions`, P of the L decoder positions: (N, h, P, L).
        """
        channels = x.shape[1]
        queries = x.flatten(2).transpose(1, 2) + self.query_position  # (N, L, C)
        if positions is not None:
            queries = queries[:, list(positions)]
        tokens = context.flatten(2).transpose(1, 2) + self.context_position  # (N, L, C)
        weight, bias = self.in_proj.weight, self.in_proj.bias
        q = F.linear(queries, weight[:channels], bias[:channels]) * (channels // self.heads) ** -0.5
        k = F.linear(tokens, weight[channels : 2 * channels], bias[channels : 2 * channels])
        return torch.softmax(self._split(q) @ self._split(k).transpose(-1, -2), -1)

    def _of_frames(self, kv: Tensor, n: int, kept: Tensor | None) -> Tensor:
        """Keys and values of each frame's kept tokens: (B, L, 2C) to (N, M, 2C)."""
        batch, tokens = kv.shape[:2]
        if kept is None:
            return kv.repeat_interleave(n // batch, 0)
        first = torch.arange(batch, device=kv.device).repeat_interleave(n // batch)[:, None] * tokens  # (N, 1)
        return kv.flatten(0, 1).index_select(0, (kept + first).flatten()).reshape(*kept.shape, -1)

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)  # (N, h, L or M, C/h)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, drop: Tensor | None) -> Tensor:
        if drop is None:
            return F.scaled_dot_product_attention(q, k, v, scale=1.0)
        if q.device.type != "cpu":
            return _attend_with_dropout(q, k, v, drop)
        frames = max(1, _CPU_CHUNK // drop[0].numel())
        pieces = (torch.split(part, frames) for part in (q, k, v, drop))
        return torch.cat([_attend_with_dropout(*piece) for piece in zip(*pieces, strict=True)])


def _attend_with_dropout(q: Tensor, k: Tensor, v: Tensor, drop: Tensor) -> Tensor:
    weights = torch.softmax(q @ k.transpose(-1, -2), -1)  # (N, h, L, M)
    return dropped(weights, drop) @ v


class Fusion(nn.Module):
    """relu(x + norm(fused)), where fused attends to the context, or is a 1x1 convolution of both maps joined.

    Without `rectify` the sum is left as it is: x is then the output of an ELU, whose negative half a ReLU would throw
    away. (Residual layers have ReLU maps, of which it takes little.)
    """

    def __init__(
        self, channels: int, tokens: int, kind: str, heads: int, dropout: float, norm: str, *, rectify: bool = True
    ) -> None:
        super().__init__()
        self.rectify = rectify
        self.attention = CrossAttention(channels, tokens, heads, dropout) if kind == "cross_attention" else None
        self.join = nn.Conv2d(2 * channels, channels, 1, bias=False) if kind == "concat" else None
        self.norm = BatchNorm(channels) if norm == "batch" else nn.Identity()

    def forward(self, x: Tensor, context: Tensor, draws: FusionDraws) -> Tensor:
        """(N, C, H, W) decoder map and (B, C, H, W) context, to (N, C, H, W)."""
        if self.attention is not None:
            fused = self.attention(x, context, draws)
        else:
            assert self.join is not None
            context = context.repeat_interleave(x.shape[0] // context.shape[0], 0)  # (N, C, H, W)
            fused = self.join(torch.cat([x, context], 1))
        total = x + self.norm(fused)
        return F.relu(total, inplace=True) if self.rectify else total
