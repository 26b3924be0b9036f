"""What an agent needs to know: its world model, its behaviour, and how its updates are computed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.agents.behavior import BehaviorConfig
from models.training.config import LoopConfig
from models.world_models.config import StackedConfig

InitParts = Literal["all", "encoder_decoder"]


class AgentTrainingConfig(LoopConfig):
    """How an agent's updates are computed."""

    encoder_frozen_updates: int = Field(0, ge=0)
    """First updates with a learning rate of zero for encoder and pre-trained RSSM (100 on Meta-world)."""


class AgentConfig(StackedConfig):
    """A stacked world model, and the behaviour that is learned in its imagination."""

    init_parts: InitParts = "all"
    """What is taken from the pre-trained model: all of it, or encoder and decoder without the RSSM (Figure 10)."""
    init_allow: tuple[str, ...] = ()
    """Config keys in which the pre-trained model may differ from this run (`rssm.stoch`, `context.heads`, ...); others
    are refused, also where the shapes fit."""
    behavior: BehaviorConfig = BehaviorConfig()
    training: AgentTrainingConfig = AgentTrainingConfig()


class ActionFreeAgentConfig(AgentConfig):
    """An agent whose pre-trained model has seen no actions."""

    finetuning: Literal["stacked", "naive"] = "stacked"
    """stacked: a second RSSM, with actions, on the action-free one. naive: the action-free RSSM itself goes on, with
    real actions in the columns that saw zeros (an ablation of PreLAR; published with intrinsic.beta=0 and one head)."""

    @property
    def stacked(self) -> bool:
        """See `StackedConfig.stacked`."""
        return self.finetuning == "stacked"
