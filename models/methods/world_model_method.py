"""The form that our methods share: a world model of videos, and an agent that imagines in a world model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any, ClassVar

from models.agents.config import AgentConfig
from models.methods.base import OUR_PRESETS, Pretraining
from models.methods.published_pretraining import PublishedPretraining
from models.world_models.config import WorldModelConfig

if TYPE_CHECKING:
    import torch
    from torch import nn

    from models.agents.agent import Agent
    from models.training.checkpoint import Checkpoint
    from models.world_models.action_prediction import ActionPrediction

RESIDUAL = {"encoder.kind": "residual", "decoder.kind": "residual"}
"""Method values of those whose image networks are ContextWM's."""


@dataclass(frozen=True)
class WorldModelAdaptation:
    """The world model of a method's agent under real actions, without rewards; see `models.methods.base.Adaptation`."""

    method: WorldModelMethod
    parts: ClassVar[Mapping[str, bool]] = {"world_model": True, "dynamics": True}

    @property
    def config(self) -> type[AgentConfig]:
        """See `Adaptation.config`."""
        return self.method.agent_config

    def held(self, parts: str) -> str:
        """See `models.methods.base.held_by`."""
        return "the image networks" if parts == "dynamics" else ""

    def unused(self, config: Any, parts: str) -> dict[str, str]:
        """See `models.methods.base.unused_by`."""
        found = dict.fromkeys(("behavior", "intrinsic"), "adapt trains no behaviour")
        found |= dict.fromkeys(("reward", "loss.discount_scale"), "adapt has no rewards and no ends")
        if parts == "dynamics":
            found["loss.action_free_kl_scale"] = "parts=dynamics holds the action-free RSSM"
        latent = getattr(config, "latent_action", None)  # of PreLAR
        if parts == "dynamics" and not (latent is not None and latent.hold_rssm):
            found["training.encoder_frozen_updates"] = "parts=dynamics trains the RSSM alone, and it does not wait"
        if latent is not None:
            found["latent_action.align_updates"] = "a warm start is for agents"
            if latent.align == "none":
                tied = ("latent_action.align_scale", "latent_action.inputs", "latent_action.posterior")
                found |= dict.fromkeys(tied, "nothing looks at latent actions: set latent_action.align=nll")
        return found

    def model(
        self,
        config: AgentConfig,
        action_dim: int,
        seed: int,
        device: torch.device,
        parts: str,
        pretrained: Checkpoint | None,
    ) -> ActionPrediction:
        """See `Adaptation.model`: what an agent would take from the pre-trained model is taken (`init_parts`), and the
        offset that its images had."""
        from models.world_models.action_prediction import IMAGE_OFFSET, ActionPrediction

        intrinsic = config.intrinsic.model_copy(update={"beta": 0.0})  # novelty is for behaviour
        agent = self.method.agent(config.model_copy(update={"intrinsic": intrinsic}), action_dim, seed, device)
        if pretrained is not None:
            agent.load_pretrained(pretrained)
        model = ActionPrediction(agent.video_model(), parts)
        if pretrained is not None:
            model.keep_offset(pretrained.model[IMAGE_OFFSET])
        return model


@dataclass(frozen=True)
class WorldModelMethod:
    """A method of the DreamerV2 family; see `models.methods.base.Method`.

    Attributes:
        published_pretraining: what its published models were pre-trained with, for `pretrain --dry-run`; None: unknown.
        own_release: the release whose values `finetune --dry-run` shows; empty: that of ContextWM's paper.
    """

    name: str
    display_name: str
    pretraining: Pretraining
    video_config: type[WorldModelConfig] | None
    agent_config: type[AgentConfig]
    presets: Traversable = OUR_PRESETS
    published_pretraining: PublishedPretraining | None = None
    own_release: str = ""

    def video_model(self, config: WorldModelConfig) -> nn.Module:
        """See `Method.video_model`."""
        from models.world_models.video import VideoWorldModel

        return VideoWorldModel(config)

    def agent(self, config: AgentConfig, action_dim: int, seed: int, device: torch.device) -> Agent:
        """See `Method.agent`."""
        from models.agents.agent import Agent

        return Agent(config, action_dim, seed, device)

    @property
    def adaptation(self) -> WorldModelAdaptation:
        """See `models.methods.base.adaptation_of`."""
        return WorldModelAdaptation(self)
