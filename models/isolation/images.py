"""Frames to the embeddings of the branches, and back: what is controlled, what moves by itself, and what stands still.

Source: Iso-Dream (Pan et al., NeurIPS 2022, arXiv:2205.13817). Legend: `N` frames, `B` batch, `T` time, `d` the depth,
`E` embedding size (32 d), `F` feature size of a branch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.isolation.mixture import FrameParts, mixed
from models.nets.config import ImageConfig
from models.nets.distributions import full_precision
from models.nets.image_scaling import ImageScaling
from models.nets.plain_cnn import (
    ENCODER_KERNELS,
    PlainDecoder,
    check_plain_size,
    elu_after_each,
    from_quarters,
    strided_convs,
    to_quarters,
)

SHARED = 2
"""Convolutions that the three embeddings share."""


class IsolatedEncoder(nn.Module):
    """DreamerV2's four convolutions; the last two of them stand three times: `action`, `free`, `background`.

    Args:
        depth: d.
        size: height and width of the frames.

    Raises:
        ConfigError: another size than 64.
    """

    def __init__(self, depth: int, size: int) -> None:
        super().__init__()
        check_plain_size(size)
        widths = [3, *(depth * 2**i for i in range(len(ENCODER_KERNELS)))]
        self.shared = strided_convs(widths[: SHARED + 1], ENCODER_KERNELS[:SHARED])
        self.action, self.free, self.background = (
            strided_convs(widths[SHARED:], ENCODER_KERNELS[SHARED:]) for _ in range(3)
        )
        self.embed_size = 2 * 2 * widths[-1]

    def forward(self, image: Tensor) -> Tensor:
        """Scaled frames (N, 3, 64, 64) to the maps (N, 2 d, 14, 14) that the embeddings are made of."""
        return elu_after_each(self.shared, image)


class IsolatedImages(nn.Module):
    """Image scaling, encoder and decoders.

    Args:
        image: size and scaling.
        encoder_depth: d of the encoder.
        decoder_depth: d of the decoders.
        feat_size: F.
        background_frames: frames whose embeddings the background is decoded from.
    """

    def __init__(
        self, image: ImageConfig, encoder_depth: int, decoder_depth: int, feat_size: int, background_frames: int
    ) -> None:
        super().__init__()
        self.scaling = ImageScaling(image)
        self.encoder = IsolatedEncoder(encoder_depth, image.size)
        self.background_frames = background_frames
        self.action_decoder = PlainDecoder(decoder_depth, feat_size, image.size, channels=4)
        self.free_decoder = PlainDecoder(decoder_depth, feat_size, image.size, channels=4)
        self.background_decoder = PlainDecoder(decoder_depth, background_frames * self.encoder.embed_size, image.size)

    def maps(self, image: Tensor) -> Tensor:
        """What the embeddings of scaled frames (B, T, 3, H, W) are made of: (B, T, 2 d, 14, 14)."""
        maps: Tensor = self.encoder(image.flatten(0, 1))
        return _by_time(maps, image.shape)

    def both_embeds(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """`action_embed` and `free_embed` at once: maps that both see go through one convolution."""
        first, last = zip(self.encoder.action, self.encoder.free, strict=True)
        x = F.elu(_side_by_side(first, maps.flatten(0, 1), groups=1))
        x = F.elu(_side_by_side(last, x, groups=2))  # (N, 2 · 8 d, 2, 2)
        own, free = x.flatten(1).chunk(2, 1)
        return _by_time(own, maps.shape), _by_time(free, maps.shape)

    def action_embed(self, maps: Tensor) -> Tensor:
        """(B, T, E) for the action-conditional branch."""
        return _embedded(self.encoder.action, maps)

    def free_embed(self, maps: Tensor) -> Tensor:
        """(B, T, E) for the action-free branch."""
        return _embedded(self.encoder.free, maps)

    def background(self, maps: Tensor) -> Tensor:
        """The static part of segments as quarters (B, 3, 4, H/2, W/2), from their first frames.

        The last one stands in for absent ones.
        """
        present = min(self.background_frames, maps.shape[1])
        embed = _embedded(self.encoder.background, maps[:, :present])  # (B, present, E)
        absent = self.background_frames - present
        embed = torch.cat([embed, embed[:, -1:].expand(-1, absent, -1)], 1) if absent else embed
        still = self.background_decoder.quarters(embed.flatten(1))
        black, white = (value.to(still.dtype) for value in self._colours())
        return torch.clamp(still, black, white)

    def quarters(self, action: Tensor, free: Tensor, background: Tensor) -> FrameParts:
        """Frames of features (B, T, F) of the two branches, and of the static part (B, 3, 4, H/2, W/2), as quarters.

        As quarters (B, T, 3, 4, H/2, W/2) the decoders make them, and as such a loss can compare them.

        The shares are a softmax of two masks' logits and of zero for the background: the released code takes two
        sigmoids and gives the background what is left of 1, which can be less than nothing.
        """
        moved, others = (
            self.action_decoder.quarters(action.flatten(0, 1)),
            self.free_decoder.quarters(free.flatten(0, 1)),
        )
        flat = mixed(full_precision(moved), full_precision(others), full_precision(background), *self._colours())
        frame, part, other, masks = (_by_time(value, action.shape) for value in flat)
        return FrameParts(frame, part, other, background[:, None].expand_as(part), masks)

    def decode(self, action: Tensor, free: Tensor, background: Tensor) -> FrameParts:
        """As `quarters`: the frames (B, T, 3, H, W) and what they are made of."""
        parts = self.quarters(action, free, background)
        return FrameParts(*(from_quarters(part) for part in parts))

    def _colours(self) -> tuple[Tensor, Tensor]:
        """Black and white as scaled, as quarters (1 or 3, 1 or 4, 1 or H/2, 1 or W/2)."""
        black = -self.scaling.offset * self.scaling.config.gain
        black = black[:, None] if black.shape[-1] == 1 else to_quarters(black)
        return black, black + self.scaling.config.gain


def _embedded(convs: nn.Module, maps: Tensor) -> Tensor:
    assert isinstance(convs, nn.ModuleList)
    return _by_time(elu_after_each(convs, maps.flatten(0, 1)).flatten(1), maps.shape)


def _side_by_side(convs: Iterable[nn.Module], x: Tensor, groups: int) -> Tensor:
    """Convolutions of stride 2 as one: of the same maps (groups = 1), or each of its own share of them."""
    weight, bias = (torch.cat([getattr(conv, name) for conv in convs]) for name in ("weight", "bias"))
    return F.conv2d(x, weight, bias, stride=2, groups=groups)


def _by_time(values: Tensor, shape: Sequence[int]) -> Tensor:
    """(B * T, ...) to (B, T, ...), as the first two of `shape` say."""
    return values.reshape(shape[0], shape[1], *values.shape[1:])
