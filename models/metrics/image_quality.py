"""How near predicted frames are to the true ones: MSE, PSNR, SSIM."""

from __future__ import annotations

import torch
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
        truth: the same shape, or one that it is broadcast with.

    Returns:
        (...) in [-1, 1]; 1 for equal images.
    """
    x, y = prediction, truth
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x, variance_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    ssim = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    return ssim.mean((-3, -2, -1))


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """(..., H, W) of the same shape under a Gaussian of so many pixels (to four of them), edges repeated."""
    height, width = image.shape[-2:]
    return _gaussian_matrix(height, sigma, image) @ image @ _gaussian_matrix(width, sigma, image).t()


def _gaussian_matrix(size: int, sigma: float, like: Tensor) -> Tensor:
    """(size, size): each row the weights of a position's neighbours."""
    reach = int(4 * sigma + 0.5)
    offsets = torch.arange(-reach, reach + 1, device=like.device)
    weights = torch.exp(-0.5 * (offsets.to(like.dtype) / sigma) ** 2)
    places = (torch.arange(size, device=like.device)[:, None] + offsets).clamp(0, size - 1)
    return like.new_zeros(size, size).scatter_add_(1, places, (weights / weights.sum()).expand(size, -1).contiguous())


def _blur(image: Tensor) -> Tensor:
    """Means under the window, (..., H, W) to (..., H - 10, W - 10): columns, then rows, each as one matrix product."""
    height, width = image.shape[-2:]
    return _window_matrix(height, image).t() @ (image @ _window_matrix(width, image))


def _window_matrix(size: int, like: Tensor) -> Tensor:
    """(size, size - 10): each column holds the window at one place."""
    x = torch.arange(-5, 6, dtype=like.dtype, device=like.device)
    row = torch.exp(-0.5 * (x / 1.5) ** 2)
    places = torch.arange(size - 10, device=like.device)
    matrix = like.new_zeros(size, size - 10)
    matrix[places[:, None] + torch.arange(11, device=like.device), places[:, None]] = row / row.sum()
    return matrix
