"""Frames to the embeddings of the branches, and back: what is controlled, what moves by itself, and what stands still.

Source: Iso-Dream (Pan et al., NeurIPS 2022, arXiv:2205.13817). Legend: `N` frames, `B` batch, `T` time, `d` the depth,
`E` embedding size (32 d), `F` feature size of a branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.nets.image_scaling import ImageConfig, ImageScaling
from models.nets.plain_cnn import ENCODER_KERNELS, PlainDecoder, check_plain_size, elu_after_each, strided_convs

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


class FrameParts(NamedTuple):
    """A decoded frame and what it is made of, in scaled colours.

    Attributes:
        frame: (..., 3, H, W), the masks' mixture of the three parts.
        action: (..., 3, H, W) part of the action-conditional branch.
        free: (..., 3, H, W) part of the action-free branch.
        background: (..., 3, H, W) static part.
        masks: (..., 3, H, W) shares of the three parts, each in [0, 1], with the sum 1.
    """

    frame: Tensor
    action: Tensor
    free: Tensor
    background: Tensor
    masks: Tensor


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

    def action_embed(self, maps: Tensor) -> Tensor:
        """(B, T, E) for the action-conditional branch."""
        return _embedded(self.encoder.action, maps)

    def free_embed(self, maps: Tensor) -> Tensor:
        """(B, T, E) for the action-free branch."""
        return _embedded(self.encoder.free, maps)

    def background(self, maps: Tensor) -> Tensor:
        """The static part (B, 3, H, W) of segments, from their first frames; the last one stands in for absent ones."""
        present = min(self.background_frames, maps.shape[1])
        embed = _embedded(self.encoder.background, maps[:, :present])  # (B, present, E)
        absent = self.background_frames - present
        embed = torch.cat([embed, embed[:, -1:].expand(-1, absent, -1)], 1) if absent else embed
        return self._clipped(self.background_decoder(embed.flatten(1), {}))

    def decode(self, action: Tensor, free: Tensor, background: Tensor) -> FrameParts:
        """Frames (B, T, ...) of features (B, T, F) of the two branches, and the static part (B, 3, H, W).

        The shares are a softmax of two masks' logits and of zero for the background: the released code takes two
        sigmoids and gives the background what is left of 1, which can be less than nothing.
        """
        shape = action.shape[:2]
        # Colours one after the other in memory: half of the time of what follows would go into skipping the mask's.
        moved = self.action_decoder(action.flatten(0, 1), {}).contiguous()  # (N, 4, H, W)
        others = self.free_decoder(free.flatten(0, 1), {}).contiguous()
        logits = torch.cat([moved[:, 3:], others[:, 3:], torch.zeros_like(others[:, 3:])], 1)
        flat = logits.softmax(1).to(moved.dtype)  # (N, 3, H, W)
        masks = _by_time(flat, shape)  # (B, T, 3, H, W)
        part, other = (_by_time(self._clipped(x[:, :3]), shape) for x in (moved, others))
        still = background[:, None]
        frame = masks[:, :, :1] * part + masks[:, :, 1:2] * other + masks[:, :, 2:] * still
        return FrameParts(frame, part, other, still.expand_as(part), masks)

    def _clipped(self, frames: Tensor) -> Tensor:
        """Colours of scaled frames (..., 3, H, W), between black and white."""
        black = -self.scaling.offset * self.scaling.config.gain
        return torch.clamp(frames, black.to(frames.dtype), (black + self.scaling.config.gain).to(frames.dtype))


def _embedded(convs: nn.Module, maps: Tensor) -> Tensor:
    assert isinstance(convs, nn.ModuleList)
    return _by_time(elu_after_each(convs, maps.flatten(0, 1)).flatten(1), maps.shape)


def _by_time(values: Tensor, shape: Sequence[int]) -> Tensor:
    """(B * T, ...) to (B, T, ...), as the first two of `shape` say."""
    return values.reshape(shape[0], shape[1], *values.shape[1:])
