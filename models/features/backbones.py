"""Frozen features by the backbones of LPIPS: AlexNet and VGG16, whose published weights are found at run time."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ipv_bench.bounded_file import read_bytes
from ipv_bench.errors import ConfigError
from models.features.config import FeaturesConfig
from models.features.frozen import FrozenFeatures
from models.metrics.lpips import LPIPS, SMALLEST
from models.metrics.lpips_files import Backbone, require_weights
from models.metrics.lpips_weights import read_weights


class BackboneFeatures(FrozenFeatures):
    """One of the five feature maps of an LPIPS backbone: a token for each place, its channels normalised.

    Args:
        network: the backbone.
        layer: which map, as an index.
        size: height and width of frames.
        digest: sha256 of its weights' file; None where checkpoints hold them.

    Raises:
        ConfigError: the frames are too small for its poolings.
    """

    def __init__(self, network: LPIPS, layer: int, size: int, digest: bytes | None) -> None:
        super().__init__()
        smallest = SMALLEST[network.backbone]
        if size < smallest:
            raise ConfigError(
                f"image.size {size} is too small for {network.backbone}",
                expected=f"{smallest} or more",
                fix="set a larger image.size, with shard sets of that size, or another features.kind",
            )
        self.network, self.layer, self._digest = network, layer, digest
        with torch.no_grad():
            probe = network.features(torch.zeros(1, 3, size, size))[layer]
        self.width, self.places = probe.shape[1], probe[0, 0].numel()

    def encode(self, frames: Tensor) -> Tensor:
        """See `FrozenFeatures.encode`."""
        tokens = self.network.features(frames)[self.layer].flatten(2).transpose(1, 2)  # (N, P, D)
        return F.layer_norm(tokens, tokens.shape[-1:])

    def digest(self) -> Tensor | None:
        """See `FrozenFeatures.digest`."""
        return None if self._digest is None else torch.from_numpy(np.frombuffer(self._digest, np.uint8).copy())


def load_backbone(config: FeaturesConfig, size: int) -> BackboneFeatures:
    """The backbone that `features.kind` names, with its published weights or with random ones.

    Raises:
        InputError: there are no weights, or another file than the published one.
        ConfigError: the frames are too small.
    """
    backbone: Backbone = "vgg" if config.kind == "vgg" else "alex"
    if config.weights == "random":
        return BackboneFeatures(LPIPS(backbone, random_weights(backbone)), config.layer, size, None)
    path = require_weights(backbone, config.name)
    weights = read_weights(path, backbone)
    digest = hashlib.sha256(read_bytes(path)).digest()
    return BackboneFeatures(LPIPS(backbone, weights), config.layer, size, digest)


def random_weights(backbone: Backbone) -> dict[str, Tensor]:
    """New weights of a backbone by torch's global generator, scaled so that features keep their size (He et al.)."""
    found = {}
    for name, shape in LPIPS.shapes(backbone).items():
        inputs = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        found[name] = torch.randn(shape) * (2 / inputs) ** 0.5 if len(shape) > 1 else torch.zeros(shape)
    return found
