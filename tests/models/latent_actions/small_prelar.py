"""Small models of PreLAR and frames for them, shared by its tests."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ipv_bench.config import build
from models.latent_actions.video import LatentActionDraws, LatentActionVideoModel
from models.nets.distributions import gumbel_noise
from models.nets.rssm import Latents
from models.pretraining.config import pretrain_config_class

BATCH, LENGTH, SIZE, LATENT = 3, 5, 32, 6
SIZES: dict[str, Any] = {
    "image": {"size": SIZE},
    "encoder": {"cnn_depth": 4},
    "decoder": {"cnn_depth": 4},
    "rssm": {"deter": 12, "hidden": 10, "stoch": 4, "discrete": 4, "action_dim": LATENT},
}


def video_model(**latent_action: Any) -> LatentActionVideoModel:
    config = build(pretrain_config_class("prelar"), {**SIZES, "latent_action": latent_action})
    model = LatentActionVideoModel(config).double()  # type: ignore[arg-type]
    for name, value in model.state_dict().items():
        if "running_mean" in name:
            value.normal_(0, 0.1)  # so that batch norm in evaluation mode is not the identity
    return model


def frames(batch: int = BATCH, length: int = LENGTH, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (batch, length, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator)


def forced(generator: torch.Generator) -> Tensor:
    return F.one_hot(gumbel_noise((LENGTH, BATCH, 4, 4), generator).argmax(-1), 4).double()


def draws_of(model: LatentActionVideoModel, seed: int = 2) -> LatentActionDraws:
    generator = torch.Generator().manual_seed(seed)
    model.train()
    drawn = model.draw(BATCH, LENGTH, generator)
    assert drawn.action is not None
    return drawn._replace(latents=Latents(forced=forced(generator)), action=drawn.action.double())
