"""Small models of UWM and frames for them, shared by its tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ipv_bench.config import build, merge
from models.latent_actions.feature_config import AdaptedFeatureModelConfig
from models.latent_actions.feature_model import FeatureVideoModel

BATCH, LENGTH, SIZE = 3, 4, 32
SIZES: dict[str, Any] = {
    "method": "uwm",
    "image": {"size": SIZE},
    "features": {
        "kind": "own",
        "own": {"patch": 8, "width": 16, "layers": 1, "decoder_layers": 1, "heads": 2, "updates": 3, "batch_size": 8},
        "pixels": {"width": 16, "layers": 1, "heads": 2},
    },
    "extractor": {"width": 16, "layers": 1, "heads": 2, "num_codes": 3},
    "quantizer": {"codes": 12, "size": 4},
    "dynamics": {"width": 16, "layers": 1, "heads": 2},
    "adapter": {"width": 16, "layers": 1, "heads": 2},
}


READ: dict[str, Any] = SIZES | {"features": {key: value for key, value in SIZES["features"].items() if key != "pixels"}}
"""Those that a model with features of its own looks at: commands refuse the others."""


def config(**changes: Any) -> AdaptedFeatureModelConfig:
    return build(AdaptedFeatureModelConfig, merge(SIZES, changes))


def video_model(seed: int = 0, **changes: Any) -> FeatureVideoModel:
    torch.manual_seed(seed)
    return FeatureVideoModel(config(**changes))


def frames(batch: int = BATCH, length: int = LENGTH, seed: int = 0, size: int = SIZE) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (batch, length, size, size, 3), dtype=torch.uint8, generator=generator)


def draws_of(model: FeatureVideoModel, seed: int = 2, batch: int = BATCH, length: int = LENGTH) -> Any:
    return model.train().draw(batch, length, torch.Generator().manual_seed(seed))
