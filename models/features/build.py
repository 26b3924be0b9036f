"""Frozen features by their config."""

from __future__ import annotations

from models.features.config import FeaturesConfig
from models.features.frozen import FrozenFeatures
from models.features.own import OwnMAE


def build_features(config: FeaturesConfig, size: int) -> FrozenFeatures:
    """The features, frozen; random weights come from torch's global generator.

    Args:
        config: which.
        size: height and width of frames.

    Raises:
        MissingDependencyError, InputError, ConfigError: see `models.features.pretrained` and `backbones`.
    """
    if config.kind == "own":
        return OwnMAE(config.own, size).freeze()
    if config.kind in ("mae", "vision"):
        from models.features.pretrained import load_pretrained

        return load_pretrained(config, size).freeze()
    from models.features.backbones import load_backbone

    return load_backbone(config, size).freeze()
