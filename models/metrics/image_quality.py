"""How near predicted frames are to the true ones: MSE, PSNR, SSIM."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def mean_squared_error(prediction: Tensor, truth: Tensor) -> Tensor:
    """(..., C, H, W) images in [0, 1], to (...)."""
    return (prediction - truth).square().mean((-3, -2, -1))


def peak_signal_to_noise(mse: Tensor) -> Tensor:
    """PSNR in dB of images in [0, 1] from their MSE (...); equal images, and all above 100 dB, give 100."""
    return -10 * mse.clamp_min(1e-10).log10()


def structural_similarity(prediction: Tensor, truth: Tensor) -> Tensor:
    """SSIM of images in [0, 1].

    Source: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment", IEEE TIP 13(4), 2004, Eq. 13: Gaussian window
    of 11 x 11 with a standard deviation of 1.5, K1 = 0.01, K2 = 0.03. Here per colour channel, then averaged, over the
    positions where the window lies inside the image.

    Args:
        prediction: (..., C, H, W) with H, W ≥ 11.
        truth: the same shape.

    Returns:
        (...) in [-1, 1]; 1 for equal images.
    """
    shape = prediction.shape[-3:]
    x, y = prediction.reshape(-1, *shape), truth.reshape(-1, *shape)  # (N, C, H, W)
    channels = x.shape[1]
    window = _gaussian_window(x).expand(channels, 1, -1, -1)

    def blur(image: Tensor) -> Tensor:
        return F.conv2d(image, window, groups=channels)

    mean_x, mean_y = blur(x), blur(y)
    variance_x, variance_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    ssim = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    return ssim.mean((1, 2, 3)).reshape(prediction.shape[:-3])


def _gaussian_window(like: Tensor) -> Tensor:
    x = torch.arange(-5, 6, dtype=like.dtype, device=like.device)
    row = torch.exp(-0.5 * (x / 1.5) ** 2)
    row = row / row.sum()
    return torch.outer(row, row)[None, None]  # (1, 1, 11, 11)
