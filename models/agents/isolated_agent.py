"""The agent on isolated branches (Iso-Dream)."""

from __future__ import annotations

from typing import Any

import torch

from models.agents.agent import Agent
from models.agents.isolated_behavior import IsolatedActorCritic
from models.isolation.branches import IsolatedState
from models.isolation.world_model import IsolatedWorldModel
from models.nets.distributions import TruncatedNormal


class IsolatedAgent(Agent):
    """An agent whose world model is an `IsolatedWorldModel`."""

    config: Any
    model: Any
    behavior: Any

    def make_model(self, config: Any, action_dim: int, discount: float | None) -> Any:
        """See `Agent.make_model`."""
        return IsolatedWorldModel(config, action_dim, discount)

    def make_behavior(self, config: Any, action_dim: int) -> IsolatedActorCritic:
        """See `Agent.make_behavior`."""
        return IsolatedActorCritic(config.behavior, config.isolation, config.rssm.feat_size, action_dim)

    def shortest_window(self) -> int:
        """See `Agent.shortest_window`: the inverse dynamics need two frames."""
        return 2

    def choose(self, state: IsolatedState, generator: torch.Generator) -> TruncatedNormal:
        """See `Agent.choose`."""
        policy: TruncatedNormal = self.behavior.act(self.model.rssm, state, generator)
        return policy
