"""What an agent needs to know: its world model, its behaviour, and how its updates are computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from ipv_bench.config import Config
from ipv_bench.config_faults import RefusedValueError
from models.isolation.config import IsolatedModelConfig
from models.latent_actions.config import RealActionModelConfig
from models.training.config import LoopConfig, OptimizerConfig
from models.world_models.config import StackedConfig

InitParts = Literal["all", "encoder_decoder"]


class BehaviorConfig(Config):
    """Actor, critic and imagination."""

    horizon: int = Field(15, ge=2)
    """Imagined steps."""
    discount: float = Field(0.99, gt=0, le=1)
    """Constant discount of each imagined step."""
    discount_head: bool = False
    """Predict whether a state ends its episode, and let returns stop there (DreamerV2); beside a bonus, the actor's
    reward head then learns every step of a window, ends among them (`intrinsic.window`). For suites whose tasks end
    episodes (`terminated`); off in the papers' settings, whose suites only have time limits."""
    lam: float = Field(0.95, ge=0, le=1)
    """λ of the λ-return."""
    entropy: float = Field(1e-4, ge=0)
    """Weight of the actor's entropy."""
    min_std: float = Field(0.1, gt=0)
    """Smallest scale of the truncated normal."""
    layers: int = Field(4, ge=0)
    """Hidden layers of actor and critic."""
    units: int = Field(400, ge=1)
    """Width of the hidden layers."""
    slow_every: int = Field(100, ge=1)
    """Updates between two copies of the critic into the slow critic."""
    slow_fraction: float = Field(1.0, gt=0, le=1)
    """Share of the critic in each copy; 1 copies it whole."""
    zero_output: bool = False
    """Start the critic's last layer at zero instead of Xavier."""
    actor_optimizer: OptimizerConfig = OptimizerConfig(lr=8e-5)
    """Optimiser of the actor."""
    critic_optimizer: OptimizerConfig = OptimizerConfig(lr=8e-5)
    """Optimiser of the critic."""


class IsolatedBehaviorConfig(BehaviorConfig):
    """Actor, critic and imagination; the released critic has a layer less than the actor."""

    critic_layers: int = Field(3, ge=0)
    """Hidden layers of the critic (`layers`: of the actor)."""


class AgentTrainingConfig(LoopConfig):
    """How an agent's updates are computed."""

    encoder_frozen_updates: int = Field(0, ge=0)
    """First updates with a learning rate of zero for encoder and pre-trained RSSM (100 on Meta-world). Refused for
    `dreamerv2`, of which nothing is pre-trained."""


class AgentConfig(StackedConfig):
    """A stacked world model, and the behaviour that is learned in its imagination."""

    init_parts: InitParts = "all"
    """What is taken from the pre-trained model: all of it, or encoder and decoder without the RSSM (Figure 10)."""
    init_allow: tuple[str, ...] = ()
    """Config keys in which the pre-trained model may differ from this run (`rssm.stoch`, `context.heads`, ...); others
    are refused, also where the shapes fit."""
    behavior: BehaviorConfig = BehaviorConfig()
    training: AgentTrainingConfig = AgentTrainingConfig()

    def unread(self) -> Mapping[str, str]:
        """See `MethodConfig.unread`."""
        found = dict(super().unread())
        if self.behavior.discount_head:
            del found["loss.discount_scale"]
        if not self.pretrained:
            nothing = f"nothing of {self.method} comes from a pre-trained model"
            found |= dict.fromkeys(("init_parts", "init_allow", "training.encoder_frozen_updates"), nothing)
        return found


class ActionFreeAgentConfig(AgentConfig):
    """An agent whose pre-trained model has seen no actions."""

    finetuning: Literal["stacked", "naive"] = "stacked"
    """stacked: a second RSSM, with actions, on the action-free one. naive: the action-free RSSM itself goes on, with
    real actions in the columns that saw zeros (an ablation of PreLAR; published with intrinsic.beta=0 and one head)."""

    @property
    def stacked(self) -> bool:
        """See `StackedConfig.stacked`."""
        return self.finetuning == "stacked"


class RealActionAgentConfig(RealActionModelConfig, AgentConfig):
    """A world model whose RSSM was pre-trained under latent actions, and the behaviour learned in its imagination."""


class IsolatedAgentConfig(IsolatedModelConfig):
    """A world model of isolated branches, and the behaviour learned in its imagination."""

    pretrained: ClassVar[bool] = False
    behavior: IsolatedBehaviorConfig = IsolatedBehaviorConfig()
    training: AgentTrainingConfig = AgentTrainingConfig()

    def unread(self) -> Mapping[str, str]:
        """See `MethodConfig.unread`."""
        found = dict(super().unread())
        if not self.loss.kl_scale:
            found |= dict.fromkeys(("loss.kl_balance", "loss.free_nats"), "loss.kl_scale=0 has no KL loss")
        if not self.behavior.discount_head:
            found["loss.discount_scale"] = "there is no discount head: set behavior.discount_head=true"
        return found

    @model_validator(mode="after")
    def _nothing_waits(self) -> IsolatedAgentConfig:
        held = self.training.encoder_frozen_updates
        if held:
            raise RefusedValueError(
                f"training.encoder_frozen_updates is {held}, and nothing is pre-trained here that could wait",
                expected="training.encoder_frozen_updates=0: all of it learns from the first update on",
                fix="leave training.encoder_frozen_updates out",
            )
        return self
