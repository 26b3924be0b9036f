"""Residual image encoder and decoder (widths, order and initialisation of the published ContextWM and APV models).

Legend: `N` frames, `C H W` image, `d` the depth (`cnn_depth`), `E` embedding size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.nets.config import DecoderConfig, EncoderConfig, Norm
from models.nets.cross_attention import Fusion, FusionDraws
from models.nets.elu import elu
from models.nets.heads import xavier_linear
from models.nets.narrow_norm import BatchNorm

FusionFactory = Callable[[int, int], Fusion]  # (channels, tokens) of the maps to be fused


def _norm(kind: Norm, channels: int) -> nn.Module:
    return BatchNorm(channels) if kind == "batch" else nn.Identity()


def _xavier_conv(layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Conv2d | nn.ConvTranspose2d:
    nn.init.xavier_uniform_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class ResidualLayer(nn.Module):
    """relu(skip(x) + norm(conv(relu(norm(conv(fuse(x))))))); the skip sees x from before the fusion.

    PyTorch's own initialisation, as published.
    """

    def __init__(self, inputs: int, outputs: int, norm: Norm, fusion: Fusion | None = None) -> None:
        super().__init__()
        bias = norm == "none"
        self.fusion = fusion
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
        self.norm1 = _norm(norm, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=bias)
        self.norm2 = _norm(norm, outputs)
        changes = inputs != outputs
        self.skip_conv = nn.Conv2d(inputs, outputs, 1, bias=bias) if changes else nn.Identity()
        self.skip_norm = _norm(norm, outputs) if changes else nn.Identity()

    def forward(self, x: Tensor, context: Tensor | None = None, draws: FusionDraws | None = None) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H, W); with a fusion, `context` is (B, inputs, H, W)."""
        skip = self.skip_norm(self.skip_conv(x))
        if self.fusion is not None:
            assert context is not None
            x = self.fusion(x, context, draws or FusionDraws())
        # In place: nobody needs the sums and normalised maps themselves, not even their backward passes.
        x = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(skip + self.norm2(self.conv2(x)), inplace=True)


class EncoderStage(nn.Module):
    """Residual layers, the first of which changes the width, then (in `forward`'s second result) 2x2 pooling.

    With blocks=0: one 4x4 convolution of stride 2 and ELU.
    """

    def __init__(self, inputs: int, outputs: int, config: EncoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            ResidualLayer(inputs if i == 0 else outputs, outputs, config.norm) for i in range(config.blocks)
        )
        self.strided = None if config.blocks else _xavier_conv(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, inputs, H, W) to the map before and the map after halving."""
        if self.strided is not None:
            return x, elu(self.strided(x))
        for layer in self.layers:
            x = layer(x)
        return x, F.avg_pool2d(x, 2)


class ImageEncoder(nn.Module):
    """Frames to embeddings: 3x3 convolution of stride 2, then three stages of widths d, 2d and 4d.

    Args:
        config: depth and kind of stages.
        size: height and width of the frames.
        channels: of the frames; 6 where two frames are seen at once.
    """

    def __init__(self, config: EncoderConfig, size: int, channels: int = 3) -> None:
        super().__init__()
        d = config.cnn_depth
        self.conv_in = _xavier_conv(nn.Conv2d(channels, d, 3, stride=2, padding=1))
        # Without residual layers a stage's map before halving must already have the width that the fusion expects.
        widths = [d, d, 2 * d, 4 * d] if config.blocks else [d, 2 * d, 4 * d, 4 * d]
        self.stages = nn.ModuleList(EncoderStage(a, b, config) for a, b in pairwise(widths))
        self.embed_size = 4 * d * (size // 16) ** 2

    def forward(self, image: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, E)."""
        return self._maps(image)[1].flatten(1)

    def features(self, image: Tensor) -> dict[int, Tensor]:
        """Maps before the stages' halvings: {1: (N, d, H/2, W/2), 2: (N, 2d, H/4, W/4), 3: (N, 4d, H/8, W/8)}."""
        return dict(enumerate(self._maps(image)[0], 1))

    def _maps(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        x, before = elu(self.conv_in(image)), []
        for stage in self.stages:
            kept, x = stage(x)
            before.append(kept)
        return before, x


class DecoderStage(nn.Module):
    """Nearest x2 upsampling, then residual layers, the last of which changes the width; the first may fuse context.

    With blocks=0: one 4x4 transposed convolution of stride 2, ELU, then the fusion.
    """

    def __init__(self, inputs: int, outputs: int, config: DecoderConfig, fusion: Fusion | None) -> None:
        super().__init__()
        last = config.blocks - 1
        self.layers = nn.ModuleList(
            ResidualLayer(inputs, outputs if i == last else inputs, config.norm, fusion if i == 0 else None)
            for i in range(config.blocks)
        )
        self.strided, self.fusion = None, None
        if not config.blocks:
            self.strided = _xavier_conv(nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1))
            self.fusion = fusion

    def forward(self, x: Tensor, context: Tensor | None, draws: FusionDraws | None) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, 2H, 2W)."""
        if self.strided is not None:
            x = elu(self.strided(x))
            if self.fusion is None:
                return x
            assert context is not None
            fused: Tensor = self.fusion(x, context, draws or FusionDraws())
            return fused
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        for layer in self.layers:
            x = layer(x, context, draws)
        return x


class ImageDecoder(nn.Module):
    """Features to frames: dense layer to 4d x 4 x 4, three doubling stages, and a transposed convolution.

    Args:
        config: depth and kind of stages.
        feat_size: size of the features.
        size: height and width of the frames.
        fusion: what fuses context features at 8x8 and 16x16: `fusion(channels, tokens)` makes one; None: no context.
    """

    def __init__(self, config: DecoderConfig, feat_size: int, size: int, fusion: FusionFactory | None = None) -> None:
        super().__init__()
        d, self.side = config.cnn_depth, size // 16
        self.dense = xavier_linear(feat_size, 4 * d * self.side**2)
        widths = [4 * d, 2 * d, d, d // 2] if config.blocks else [4 * d, 4 * d, 2 * d, d]
        fused = [fusion(w * d, (self.side * scale) ** 2) for w, scale in ((4, 2), (2, 4))] if fusion else [None, None]
        self.stages = nn.ModuleList(
            DecoderStage(widths[i], widths[i + 1], config, [*fused, None][i]) for i in range(len(widths) - 1)
        )
        out = nn.ConvTranspose2d(widths[-1], 3, 3, stride=2, padding=1, output_padding=1)
        self.conv_out = _xavier_conv(out)

    def forward(
        self, feat: Tensor, context: Mapping[int, Tensor], draws: Mapping[int, FusionDraws] | None = None
    ) -> Tensor:
        """(N, F) features and the context's maps by halvings (empty without context) to frames (N, 3, H, W)."""
        x = self.dense(feat).reshape(feat.shape[0], -1, self.side, self.side)  # (N, 4d, 4, 4)
        # Convolutions keep the layout of their input; backward passes in channels-last are 1.5 to 3 times faster.
        x = x.contiguous(memory_format=torch.channels_last)
        for i, stage in enumerate(self.stages):
            scale = 3 - i
            x = stage(x, context.get(scale), (draws or {}).get(scale))
        frames: Tensor = self.conv_out(x)
        return frames
