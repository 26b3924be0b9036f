"""DreamerV2's plain image encoder and decoder: strided convolutions alone, without padding and normalisation.

Source: Hafner et al., arXiv:2010.02193, and its released settings (kernels 4 4 4 4 and 5 5 6 6, depth 48), which fit
frames of 64x64 alone. Legend: `N` frames, `d` the depth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ipv_bench.errors import ConfigError
from models.nets.config import PLAIN_SIZE
from models.nets.heads import xavier_linear

ENCODER_KERNELS, DECODER_KERNELS = (4, 4, 4, 4), (5, 5, 6, 6)


class PlainEncoder(nn.Module):
    """Four convolutions of stride 2 and widths d, 2d, 4d, 8d, each with ELU: (N, 3, 64, 64) to (N, 32 d).

    Args:
        depth: d.
        size: height and width of the frames.
        channels: of the frames; 6 where two frames are seen at once.

    Raises:
        ConfigError: another size than 64.
    """

    def __init__(self, depth: int, size: int, channels: int = 3) -> None:
        super().__init__()
        check_plain_size(size)
        widths = [channels, *(depth * 2**i for i in range(len(ENCODER_KERNELS)))]
        self.convs = strided_convs(widths, ENCODER_KERNELS)
        self.embed_size = 2 * 2 * widths[-1]

    def forward(self, image: Tensor) -> Tensor:
        """(N, channels, 64, 64) to (N, E)."""
        return elu_after_each(self.convs, image).flatten(1)


class PlainDecoder(nn.Module):
    """A dense layer to 32 d x 1 x 1, then transposed convolutions of stride 2 and widths 4d, 2d, d and `channels`.

    Args:
        depth: d.
        feat_size: size of the features.
        size: height and width of the frames.
        channels: of what comes out; more than 3 where something beside the colours is decoded.

    Raises:
        ConfigError: another size than 64.
    """

    def __init__(self, depth: int, feat_size: int, size: int, channels: int = 3) -> None:
        super().__init__()
        check_plain_size(size)
        widths = [32 * depth, 4 * depth, 2 * depth, depth, channels]
        self.dense = xavier_linear(feat_size, widths[0])
        self.convs = nn.ModuleList(
            _xavier(nn.ConvTranspose2d(a, b, kernel, stride=2))
            for (a, b), kernel in zip(pairwise(widths), DECODER_KERNELS, strict=True)
        )

    def forward(self, feat: Tensor, context: Mapping[int, Tensor], draws: Mapping[int, Any] | None = None) -> Tensor:
        """(N, F) features to frames (N, channels, 64, 64); there is no context to be fused."""
        return F.pixel_shuffle(_four_places(self.convs[-1], self._last_maps(feat)), 2)

    def quarters(self, feat: Tensor) -> Tensor:
        """The frames of features (N, F) as quarters (N, channels, 4, 32, 32), each map by itself; see `to_quarters`."""
        four = _four_places(self.convs[-1], self._last_maps(feat)).contiguous()
        return four.view(len(four), four.shape[1] // 4, 4, *four.shape[2:])

    def _last_maps(self, feat: Tensor) -> Tensor:
        """What the last convolution sees of features (N, F): (N, d, 30, 30) in channels-last memory."""
        first = self.convs[0]
        assert isinstance(first, nn.ConvTranspose2d)
        x = F.elu(_from_one_place(first, self.dense(feat))).contiguous(memory_format=torch.channels_last)
        return elu_after_each(self.convs[1:-1], x)


def to_quarters(frames: Tensor) -> Tensor:
    """Frames (..., C, H, W) as the pixels of even and odd rows and columns: (..., C, 4, H/2, W/2), contiguous."""
    *lead, height, width = frames.shape
    parted = frames.reshape(*lead, height // 2, 2, width // 2, 2)
    return parted.movedim((-3, -1), (-4, -3)).flatten(-4, -3).contiguous()


def from_quarters(quarters: Tensor) -> Tensor:
    """The inverse of `to_quarters`: (..., C, 4, H/2, W/2) to (..., C, H, W)."""
    return F.pixel_shuffle(quarters.flatten(-4, -3), 2)


def _from_one_place(conv: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """`conv` of maps (N, C, 1, 1), given as (N, C): (N, C', K, K).

    Every output place has one input place, so it is one matrix product, which takes a tenth of the transposed
    convolution's time.
    """
    assert conv.bias is not None
    flat = F.linear(x, conv.weight.flatten(1).t())  # (N, C' K K)
    return flat.reshape(-1, *conv.weight.shape[1:]) + conv.bias[:, None, None]


def _four_places(conv: nn.Module, x: Tensor) -> Tensor:
    """`conv` (stride 2, an even kernel K) of maps (N, C, H, W), before its outputs are put in their places.

    Outputs at even and odd rows and columns meet different weights of the kernel, K/2 by K/2 of them: one convolution
    gives all four as channels. With the few output channels of a frame it takes two thirds to four fifths of the
    transposed convolution's time on a CPU.

    Returns:
        (N, 4 C', H + K/2 - 1, W + K/2 - 1), which `F.pixel_shuffle(..., 2)` makes the transposed convolution's output.
    """
    assert isinstance(conv, nn.ConvTranspose2d)
    assert conv.bias is not None
    inputs, outputs, kernel, _ = conv.weight.shape
    half = kernel // 2
    parted = conv.weight.reshape(inputs, outputs, half, 2, half, 2).permute(1, 3, 5, 0, 2, 4)  # (C', 2, 2, C, K/2, K/2)
    weight = parted.reshape(4 * outputs, inputs, half, half).flip(2, 3)  # a convolution walks through it backwards
    return F.conv2d(x, weight, conv.bias.repeat_interleave(4), padding=half - 1)


def strided_convs(widths: Sequence[int], kernels: Sequence[int]) -> nn.ModuleList:
    """Convolutions of stride 2 without padding, one from each width to the next."""
    return nn.ModuleList(
        _xavier(nn.Conv2d(a, b, kernel, stride=2)) for (a, b), kernel in zip(pairwise(widths), kernels, strict=True)
    )


def elu_after_each(convs: Iterable[nn.Module], x: Tensor) -> Tensor:
    """The convolutions one after the other, each with ELU."""
    for conv in convs:
        x = F.elu(conv(x))
    return x


def _xavier(layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Conv2d | nn.ConvTranspose2d:
    nn.init.xavier_uniform_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def check_plain_size(size: int) -> None:
    """The kernels fit one size of frames; configs refuse others before they come here.

    Raises:
        ConfigError: another size than 64.
    """
    if size != PLAIN_SIZE:
        raise ConfigError(
            f"frames of {size} pixels for plain convolutions",
            expected=f"{PLAIN_SIZE}, which DreamerV2's kernels are made for",
            fix="take the networks of models/nets/resnet.py for other sizes",
        )
