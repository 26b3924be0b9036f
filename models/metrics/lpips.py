"""LPIPS: how different two pictures look, by the features of a network trained on photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.metrics.lpips_files import Backbone
from models.metrics.lpips_weights import read_weights

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_ALEX = ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))
"""Channels, kernel, stride and padding of AlexNet's convolutions."""
_VGG = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
"""Channels of VGG16's convolutions, all 3×3."""
_POOLED_BEFORE = {"alex": (1, 2), "vgg": (2, 4, 7, 10)}
"""Numbers of the convolutions that a pooling stands before."""
_TAPPED = {"alex": (0, 1, 2, 3, 4), "vgg": (1, 3, 6, 9, 12)}
"""Numbers of the convolutions after whose ReLU features are taken."""
SMALLEST = {"alex": 31, "vgg": 16}
"""Smallest height and width that the poolings leave something of."""


class LPIPS(nn.Module):
    """Learned perceptual image patch similarity.

    Source: Zhang, Isola, Efros, Shechtman, Wang, "The Unreasonable Effectiveness of Deep Features as a Perceptual
    Metric", CVPR 2018, Eq. 1, version 0.1 of the weights: unit-normalised features of five layers, squared differences
    weighted per channel, averaged over positions, summed over layers. Smaller is more alike.

    Args:
        backbone: "alex" (what papers mean where they do not say) or "vgg".
        weights: by the names of this module; see `lpips_weights.read_weights`.
    """

    def __init__(self, backbone: Backbone, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.backbone: Backbone = backbone
        layers = _layers(backbone)
        inputs, convolutions = 3, []
        for channels, kernel, stride, padding in layers:
            convolutions.append(nn.Conv2d(inputs, channels, kernel, stride, padding))
            inputs = channels
        self.convolutions = nn.ModuleList(convolutions)
        self.heads = nn.ParameterList(torch.zeros(layers[number][0]) for number in _TAPPED[backbone])
        self.register_buffer("shift", torch.tensor(_SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE)[:, None, None], persistent=False)
        self.load_state_dict(dict(weights))
        self.requires_grad_(False).eval()

    @staticmethod
    def shapes(backbone: Backbone) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights, by the names of this module."""
        found: dict[str, tuple[int, ...]] = {}
        inputs = 3
        for number, (channels, kernel, _, _) in enumerate(_layers(backbone)):
            found[f"convolutions.{number}.weight"] = (channels, inputs, kernel, kernel)
            found[f"convolutions.{number}.bias"] = (channels,)
            inputs = channels
        heads = {f"heads.{n}": (_layers(backbone)[layer][0],) for n, layer in enumerate(_TAPPED[backbone])}
        return {**found, **heads}

    @classmethod
    def load(cls, path: str | Path, backbone: Backbone) -> LPIPS:
        """LPIPS with the published weights in a file.

        Raises:
            InputError: the file is not the published one.
        """
        return cls(backbone, read_weights(path, backbone))

    shift: Tensor
    scale: Tensor

    def features(self, images: Tensor) -> list[Tensor]:
        """Features of the five layers, (N, C, H', W') each, of images (N, 3, H, W) in [0, 1].

        Raises:
            ValueError: the images are too small for the poolings.
        """
        if min(images.shape[-2:]) < SMALLEST[self.backbone]:
            raise ValueError(f"images of {tuple(images.shape[-2:])}; at least {SMALLEST[self.backbone]} pixels a side")
        x = ((2 * images - 1) - self.shift) / self.scale
        window = 3 if self.backbone == "alex" else 2
        found = []
        for number, convolution in enumerate(self.convolutions):
            if number in _POOLED_BEFORE[self.backbone]:
                x = F.max_pool2d(x, window, 2)
            x = F.relu(convolution(x))
            if number in _TAPPED[self.backbone]:
                found.append(x)
        return found

    def distance(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
        """(N,) distances from the features of both images; one of the batches may have size 1."""
        total = torch.zeros((), device=self.heads[0].device)
        for head, a, b in zip(self.heads, first, second, strict=True):
            squared = (_unit(a) - _unit(b)).square()  # (N, C, H', W')
            total = total + torch.einsum("nchw,c->n", squared, head) / (squared.shape[-2] * squared.shape[-1])
        return total

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(N,) distances of images (N, 3, H, W) in [0, 1]."""
        return self.distance(self.features(first), self.features(second))


def _layers(backbone: Backbone) -> Sequence[tuple[int, int, int, int]]:
    return _ALEX if backbone == "alex" else [(channels, 3, 1, 1) for channels in _VGG]


def pooled_features(features: Sequence[Tensor]) -> Tensor:
    """(N, C) mean over positions of the last layer's features: what the Fréchet distance is computed on."""
    return features[-1].mean((-2, -1))


def _unit(x: Tensor) -> Tensor:
    return x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
