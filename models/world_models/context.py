"""The context path: which frame conditions the decoder, what is erased from it, which tokens are seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from models.nets.cross_attention import FusionDraws, drop_mask, kept_tokens
from models.world_models.config import ContextConfig


class ContextDraws(NamedTuple):
    """Random choices of the context path for one batch.

    Attributes:
        frame: (B,) index of each segment's context frame.
        erased: (B, 4) top, left, height and width of the erased rectangle (height 0: none); None: nothing is erased.
        fusion: random numbers of each fusion, by halvings of its map (3: 8x8, 2: 16x16 at 64 pixels).
    """

    frame: Tensor
    erased: Tensor | None
    fusion: Mapping[int, FusionDraws]


def of_later_frames(draws: ContextDraws | None, length: int, first: int) -> ContextDraws | None:
    """The choices for frames `first` … `length` - 1 of each segment, out of those for all its `length` frames."""
    if draws is None or not first:
        return draws

    def later(values: Tensor | None) -> Tensor | None:
        return None if values is None else values.reshape(-1, length, *values.shape[1:])[:, first:].flatten(0, 1)

    return draws._replace(fusion={scale: FusionDraws(*map(later, fusion)) for scale, fusion in draws.fusion.items()})


def draw_context(
    config: ContextConfig,
    sizes: Mapping[int, tuple[int, int]],
    batch: int,
    length: int,
    generator: torch.Generator,
    *,
    training: bool,
    observed: int | None = None,
    image_size: int = 64,
) -> ContextDraws:
    """Draw a batch's context choices.

    Args:
        config: context path.
        sizes: (tokens, channels) of each fused map, by halvings.
        batch: segments.
        length: frames to be decoded per segment.
        generator: its device is that of the results.
        training: dropout and erasing are drawn only then.
        observed: the context frame is among the first so many frames; None: all.
        image_size: height and width of frames, for the erased rectangle.
    """
    frames, device = observed or length, generator.device
    if config.frame == "random":
        frame = torch.randint(frames, (batch,), generator=generator, device=device)
    else:
        frame = torch.full((batch,), 0 if config.frame == "first" else frames - 1, device=device)
    erased = None
    if training and config.augmentation == "erasing":
        erased = draw_erased(batch, image_size, generator)
    fusion = {}
    if config.fusion == "cross_attention":
        masked = config.mask_ratio > 0 and (training or config.mask_at_eval)
        for scale, (tokens, channels) in sizes.items():
            n, kept = batch * length, None
            if masked:
                kept = kept_tokens(torch.rand(n, tokens, generator=generator, device=device), config.mask_ratio)
            seen = tokens if kept is None else kept.shape[1]
            weights = output = None
            if training and config.dropout > 0:
                weights = drop_mask((n, config.heads, tokens, seen), config.dropout, generator)
                output = drop_mask((n, tokens, channels), config.dropout, generator)
            fusion[scale] = FusionDraws(kept, weights, output)
    return ContextDraws(frame, erased, fusion)


def draw_erased(batch: int, size: int, generator: torch.Generator) -> Tensor:
    """Rectangles (B, 4) to erase: for every second image on average, 2 to 33 % of its area, aspect 0.3 to 3.3.

    The aspect is below and above 1 equally often. Source: random erasing (Zhong et al., arXiv:1708.04896), with
    the ranges that the published ContextWM uses.
    """
    u = torch.rand(6, batch, generator=generator, device=generator.device)
    area = (0.02 + u[0] * 0.31) * size**2
    aspect = torch.where(u[1] < 0.5, 0.3 + u[2] * 0.7, 1 + u[2] * 2.3)
    height = (area * aspect).sqrt().round().clamp(1, size)
    width = (area / aspect).sqrt().round().clamp(1, size)
    top, left = (u[3] * (size - height + 1)).floor(), (u[4] * (size - width + 1)).floor()
    height = torch.where(u[5] < 0.5, height, torch.zeros_like(height))
    return torch.stack([top, left, height, width], 1).long()


def erase(image: Tensor, rectangles: Tensor) -> Tensor:
    """Images (B, C, H, W), with the rectangles (B, 4) set to 0 (the colour that the image scaling subtracts)."""
    top, left, height, width = rectangles.t()[..., None]  # (B, 1) each
    rows = torch.arange(image.shape[-2], device=image.device)
    columns = torch.arange(image.shape[-1], device=image.device)
    inside_rows = (rows >= top) & (rows < top + height)  # (B, H)
    inside_columns = (columns >= left) & (columns < left + width)  # (B, W)
    return image.masked_fill((inside_rows[:, :, None] & inside_columns[:, None, :])[:, None], 0)
