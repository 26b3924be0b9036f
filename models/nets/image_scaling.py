"""uint8 frames to the numbers that the networks see, and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.nets.config import ImageConfig


class ImageScaling(nn.Module):
    """(x / 255 - offset) * gain, with the offset kept as a buffer so that checkpoints carry it."""

    offset: Tensor

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        self.config = config
        side = config.size if config.offset == "mean_image" else 1
        channels = 3 if config.offset == "mean_image" else 1
        self.register_buffer("offset", torch.full((channels, side, side), 0.5))

    def forward(self, image: Tensor) -> Tensor:
        """uint8 (..., H, W, C) in 0..255, to float (..., C, H, W) in channels-last memory."""
        # The offset in the pixels' own order: with channels first it is fetched number by number, three times slower.
        x = image.to(self.offset.dtype) / 255
        x = x.sub_(self.offset.movedim(0, -1).contiguous()).mul_(self.config.gain)
        return x.movedim(-1, -3)

    def to_unit(self, image: Tensor) -> Tensor:
        """The inverse, without rounding: (..., C, H, W) scaled to (..., C, H, W) in [0, 1], clipped."""
        return (image / self.config.gain + self.offset).clamp(0, 1)

    @torch.no_grad()
    def set_mean_image(self, images: Tensor) -> None:
        """Take the mean of uint8 frames (N, H, W, C) as the offset; nothing happens with `offset=half`."""
        if self.config.offset == "mean_image":
            mean = images.to(torch.float64).mean(0).div(255)  # (H, W, C)
            self.offset.copy_(mean.movedim(-1, 0))
