"""The form that our methods share: a world model of videos, and an agent that imagines in a world model."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources.abc import Traversable

import torch
from torch import nn

from models.agents.agent import Agent
from models.agents.config import AgentConfig
from models.methods.base import OUR_PRESETS, Pretraining
from models.world_models.config import WorldModelConfig
from models.world_models.video import VideoWorldModel

RESIDUAL = {"encoder.kind": "residual", "decoder.kind": "residual"}
"""Method values of those whose image networks are ContextWM's."""


@dataclass(frozen=True)
class WorldModelMethod:
    """A method of the DreamerV2 family; see `models.methods.base.Method`."""

    name: str
    display_name: str
    pretraining: Pretraining
    video_config: type[WorldModelConfig] | None
    agent_config: type[AgentConfig]
    presets: Traversable = OUR_PRESETS

    def video_model(self, config: WorldModelConfig) -> nn.Module:
        """See `Method.video_model`."""
        return VideoWorldModel(config)

    def agent(self, config: AgentConfig, action_dim: int, seed: int, device: torch.device) -> Agent:
        """See `Method.agent`."""
        return Agent(config, action_dim, seed, device)
