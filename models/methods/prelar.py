"""PreLAR (Zhang et al., ECCV 2024): a world model pre-trained under latent actions, continued under real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ipv_bench.errors import ConfigError
from models.agents.config import RealActionAgentConfig
from models.latent_actions.config import LatentActionVideoConfig
from models.methods import released_prelar
from models.methods.world_model_method import RESIDUAL, WorldModelAdaptation, WorldModelMethod

if TYPE_CHECKING:
    import torch
    from torch import nn

    from models.agents.agent import Agent
    from models.training.checkpoint import Checkpoint
    from models.world_models.action_prediction import ActionPrediction

LATENT_SIZE = 64
"""Size of a latent action, as published (`rssm.action_dim`)."""
HELD_UPDATES = 100
"""First updates in which what was pre-trained stays, as published."""
VALUES = {**RESIDUAL, "context.fusion": "none", "rssm.action_dim": LATENT_SIZE}


class PreLARVideoConfig(LatentActionVideoConfig):
    """World model of videos with latent actions."""

    method_values = VALUES


class PreLARConfig(RealActionAgentConfig):
    """Agent on the same RSSM, under real actions; bonus on the image embedding, two reward heads.

    The network of real actions is new on every suite, so what was pre-trained waits for it on all of them, although the
    release has values for Meta-world alone.
    """

    method_values = {**VALUES, "reward.dual": True, "training.encoder_frozen_updates": HELD_UPDATES}


@dataclass(frozen=True)
class PreLARAdaptation(WorldModelAdaptation):
    """See `WorldModelAdaptation`; a warm start belongs to an agent, whose first updates it takes."""

    def defaults(self, preset: str, parts: str, *, first: bool) -> dict[str, Any]:
        """See `models.methods.base.defaults_of`: image encoder and RSSM wait until the new network of real actions
        says something, as in the release (`enc_lr_type: no_pretrain`, `pretrain: 100`)."""
        return {"training.encoder_frozen_updates": HELD_UPDATES if first else 0}

    def model(
        self, config: Any, action_dim: int, seed: int, device: torch.device, parts: str, pretrained: Checkpoint | None
    ) -> ActionPrediction:
        """See `Adaptation.model`.

        Raises:
            ConfigError: align=warmstart.
        """
        if config.latent_action.align == "warmstart":
            raise ConfigError(
                "latent_action.align=warmstart is for fine-tuning",
                expected="none, or nll, which ties real actions to latent ones in every update",
                fix="leave latent_action.align out, or set latent_action.align=nll",
            )
        return super().model(config, action_dim, seed, device, parts, pretrained)


@dataclass(frozen=True)
class PreLAR(WorldModelMethod):
    """The method; see `models.methods.base.Method`."""

    def video_model(self, config: Any) -> nn.Module:
        """See `Method.video_model`."""
        from models.latent_actions.video import LatentActionVideoModel

        return LatentActionVideoModel(config)

    def agent(self, config: Any, action_dim: int, seed: int, device: torch.device) -> Agent:
        """See `Method.agent`."""
        from models.agents.real_action_agent import RealActionAgent

        return RealActionAgent(config, action_dim, seed, device)

    @property
    def adaptation(self) -> PreLARAdaptation:
        """See `models.methods.base.adaptation_of`."""
        return PreLARAdaptation(self)


METHOD = PreLAR(
    "prelar", "PreLAR", "latent_actions", PreLARVideoConfig, PreLARConfig,
    published_pretraining=released_prelar.PRETRAINING, own_release="PreLAR's release (commit fb9c4d2)",
)  # fmt: skip
