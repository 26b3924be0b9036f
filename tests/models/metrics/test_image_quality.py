"""Identities of the image measures, and SSIM against a direct reading of its equation."""

from __future__ import annotations

import numpy as np
import scipy.ndimage
import torch

from models.metrics.image_quality import (
    gaussian_blur,
    mean_squared_error,
    peak_signal_to_noise,
    structural_similarity,
)


def _images(seed: int) -> torch.Tensor:
    return torch.rand(2, 3, 3, 16, 20, generator=torch.Generator().manual_seed(seed))


def test_equal_images() -> None:
    x = _images(0)
    assert torch.equal(mean_squared_error(x, x), torch.zeros(2, 3))
    assert torch.equal(peak_signal_to_noise(mean_squared_error(x, x)), torch.full((2, 3), 100.0))
    torch.testing.assert_close(structural_similarity(x, x), torch.ones(2, 3))


def test_a_constant_shift() -> None:
    x = _images(0) * 0.5
    mse = mean_squared_error(x + 0.1, x)
    torch.testing.assert_close(mse, torch.full((2, 3), 0.01))
    torch.testing.assert_close(peak_signal_to_noise(mse), torch.full((2, 3), 20.0))


def test_ssim_follows_its_equation() -> None:
    x, y = _images(1)[0, 0], _images(2)[0, 0]
    weights = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(weights, weights) / weights.sum() ** 2
    values = []
    for a, b in zip(x.double().numpy(), y.double().numpy(), strict=True):
        for top in range(16 - 10):
            for left in range(20 - 10):
                p, q = a[top : top + 11, left : left + 11], b[top : top + 11, left : left + 11]
                mp, mq = (window * p).sum(), (window * q).sum()
                vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
                cov = (window * (p - mp) * (q - mq)).sum()
                values.append((2 * mp * mq + 1e-4) * (2 * cov + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)))
    torch.testing.assert_close(structural_similarity(x, y).double(), torch.tensor(np.mean(values)), rtol=0, atol=1e-5)


def test_a_gaussian_blur_is_scipys_with_repeated_edges() -> None:
    image = np.random.default_rng(0).random((2, 3, 40, 48))
    found = gaussian_blur(torch.from_numpy(image), 1.25).numpy()
    expected = scipy.ndimage.gaussian_filter(image, (0, 0, 1.25, 1.25), mode="nearest", truncate=4)
    np.testing.assert_allclose(found, expected, atol=1e-12)
