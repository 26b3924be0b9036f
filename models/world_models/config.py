"""Config of a world model: what both training commands share, and what an agent's model has beyond it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, model_validator

from ipv_bench.config import Config, Resolved
from ipv_bench.run_record import variant_name
from models.nets.heads import RewardConfig
from models.nets.image_scaling import ImageConfig
from models.nets.resnet import DecoderConfig, EncoderConfig
from models.nets.rssm import RSSMConfig
from models.training.optimizer import OptimizerConfig
from models.world_models.context import ContextConfig
from models.world_models.intrinsic_bonus import IntrinsicConfig

Method = Literal["contextwm", "apv", "dreamerv2"]


FUSION_OF_METHOD: dict[str, str] = {"contextwm": "cross_attention", "apv": "none", "dreamerv2": "none"}


class LossConfig(Config):
    """Weights of the world model's losses."""

    kl_scale: float = Field(1.0, ge=0)
    """Weight of the KL loss."""
    kl_balance: float = Field(0.8, ge=0, le=1)
    """Share of the KL loss that trains the prior; the rest trains the posterior."""
    free_nats: float = Field(0.0, ge=0)
    """The batch mean of the KL is clamped below at this value (nats): no gradient under it."""
    image_scale: float = Field(1.0, ge=0)
    """Weight of the image loss."""
    action_free_kl_scale: float = Field(0.0, ge=0)
    """Weight of the action-free RSSM's own KL loss in the stacked model; 0 as published."""


class WorldModelConfig(Config):
    """What both training commands share: the method and its world model."""

    method: Method = "contextwm"
    """contextwm: context path; apv: the same without one (vanilla); dreamerv2: as apv, without pre-training."""
    image: ImageConfig = ImageConfig()
    encoder: EncoderConfig = EncoderConfig()
    decoder: DecoderConfig = DecoderConfig()
    rssm: RSSMConfig = RSSMConfig()
    context: ContextConfig = ContextConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()

    @model_validator(mode="before")
    @classmethod
    def _fusion_follows_method(cls, values: Any) -> Any:
        """Store `context.fusion` resolved: a config file of a run reads the same whatever the defaults become."""
        if not isinstance(values, dict):
            return values
        method = values.get("method", "contextwm")
        context = values.get("context", {})
        if isinstance(context, dict) and context.get("fusion") is None and method in FUSION_OF_METHOD:
            values = {**values, "context": {**context, "fusion": FUSION_OF_METHOD[method]}}
        return values


class StackedConfig(WorldModelConfig):
    """The action-conditional world model of an agent."""

    concat_embed: bool = False
    """Feed the image embedding beside the action-free features into the action-conditional RSSM (DMC, CARLA)."""
    reward: RewardConfig = RewardConfig()
    intrinsic: IntrinsicConfig = IntrinsicConfig()


def variant(resolved: Resolved[Any], ignore: Iterable[str]) -> str:
    """Variant name of a run: what was changed beside the method; empty for the preset as it is."""
    changed = dict(resolved.overrides)
    method = changed.pop("method", resolved.config.method)
    if changed.get("context.fusion") == FUSION_OF_METHOD[method]:
        del changed["context.fusion"]
    return variant_name(changed, tuple(ignore))
