"""A light decoder for features that come without one: tokens to pictures, trained beside what predicts the tokens."""

from __future__ import annotations

import math

from torch import Tensor, nn

from models.features.config import PixelDecoderConfig
from models.features.frozen import frames_of
from models.nets.transformer import Transformer, learned_tokens


class PixelDecoder(nn.Module):
    """Tokens of places to pixels: blocks, then each token draws its part of the frame.

    Places of maps that do not divide the frame (AlexNet's 13 × 13) draw slightly larger parts, and the picture is
    resized.

    Args:
        config: sizes.
        places: P, a square number.
        features: D.
        size: height and width of frames.
    """

    def __init__(self, config: PixelDecoderConfig, places: int, features: int, size: int) -> None:
        super().__init__()
        self.rows, self.size = math.isqrt(places), size
        if self.rows**2 != places:
            raise ValueError(f"{places} places are no square")
        self.patch = -(-size // self.rows)
        self.embed = nn.Linear(features, config.width)
        self.position = learned_tokens(places, config.width)
        self.transformer = Transformer(config.width, config.heads, config.layers)
        self.out = nn.Linear(config.width, 3 * self.patch**2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (N, P, D) to frames (N, 3, H, W), about [0, 1] and not clipped."""
        patches = self.out(self.transformer(self.embed(tokens) + self.position)) + 0.5
        side = self.rows * self.patch
        frames = frames_of(patches, self.patch, side)
        if side == self.size:
            return frames
        return nn.functional.interpolate(frames, (self.size, self.size), mode="bilinear", antialias=True)
