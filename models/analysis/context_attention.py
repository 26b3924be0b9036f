"""What the decoder of a model with cross-attention looks at in its context frame (ContextWM, Appendix C.5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from models.nets.cross_attention import CrossAttention


def attention_map(model: nn.Module) -> CrossAttention | None:
    """The attention of a model at its largest map (16×16 at 64 pixels); None where it has none."""
    found = [module for module in model.modules() if isinstance(module, CrossAttention)]
    return max(found, key=lambda module: module.query_position.shape[0], default=None)


def has_attention(model: Any) -> bool:
    """Whether a model's decoder attends to a context frame."""
    return isinstance(model, nn.Module) and attention_map(model) is not None


@contextmanager
def recorded_attention(model: nn.Module, region: Sequence[int] | None = None) -> Iterator[list[Tensor]]:
    """Record the attention of everything that `model` decodes in the block.

    Whatever tokens the model drops while it decodes, the weights are those over all tokens: "without random masking".

    Args:
        model: with a context path of cross-attention.
        region: decoder positions to average over; None: each by itself.

    Yields:
        One tensor (N, L, L) per pass, mean over the heads, on the CPU: [n, q] are the weights of decoder position `q`
        (row-major on the map, L = 256 at 64 pixels) over the positions of the context frame; each sums to 1. With a
        region: (N, L).
    """
    module = attention_map(model)
    assert module is not None
    records: list[Tensor] = []

    def record(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        x, context = inputs[0], inputs[1]
        records.append(_mean_weights(module, x, context, region))

    handle = module.register_forward_pre_hook(record)
    try:
        yield records
    finally:
        handle.remove()


_FRAMES = 16
"""Frames whose weights are computed at once: 4 heads of 256 × 256 numbers each are 1 MB."""


@torch.no_grad()
def _mean_weights(module: CrossAttention, x: Tensor, context: Tensor, region: Sequence[int] | None) -> Tensor:
    per_clip = x.shape[0] // context.shape[0]
    frames = context.repeat_interleave(per_clip, 0)  # (N, C, H, W)
    pieces = zip(torch.split(x, _FRAMES), torch.split(frames, _FRAMES), strict=True)
    means = (module.weights(query, seen, region).mean(1) for query, seen in pieces)  # (n, L or region, L) each
    return torch.cat([(mean if region is None else mean.mean(1)).cpu() for mean in means])


def region_positions(side: int, target: tuple[int, int, int]) -> list[int]:
    """Decoder positions of a square on a map of `side` × `side`: (column, row, size), cut where it leaves the map."""
    left, top, size = target
    rows, columns = range(max(top, 0), min(top + size, side)), range(max(left, 0), min(left + size, side))
    return [row * side + column for row in rows for column in columns]
