"""Config of a world model: what both training commands share, and what an agent's model has beyond it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from ipv_bench.config import Config, Resolved
from ipv_bench.config_faults import RefusedValueError
from ipv_bench.run_record import variant_name
from models.nets.config import PLAIN_SIZE, DecoderConfig, EncoderConfig, ImageConfig, RewardConfig, RSSMConfig
from models.training.config import OptimizerConfig

DEFAULT_METHOD = "contextwm"
"""The method where nothing names one."""


class MethodConfig(Config):
    """What every method's config has.

    `method_values` (dotted key → value) are the values that make a method what its name says; they hold where neither
    preset nor override says otherwise, and a saved config has them written out.
    """

    method_values: ClassVar[Mapping[str, Any]] = {}

    method: str = DEFAULT_METHOD
    """Name of the method; `ipv-bench doctor` lists them."""
    image: ImageConfig = ImageConfig()

    @model_validator(mode="before")
    @classmethod
    def _method_values_hold(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        for key, value in cls.method_values.items():
            section, _, field = key.partition(".")
            given = values.get(section, {})
            if isinstance(given, dict) and given.get(field) is None:
                values = {**values, section: {**given, field: value}}
        return values

    @classmethod
    def brought(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Values (dotted key → value) that a choice in `values`, nested, brings with it.

        They stand as if the preset had them, under whatever a file or `--set` says of the same keys.
        """
        return {}

    def shortest_segment(self) -> tuple[str, int]:
        """Config key and value of the fewest steps that a training segment of an agent must have."""
        return "", 1

    def derived(self) -> tuple[str, ...]:
        """Config keys whose values follow from others: they are no overrides of their own."""
        return ()

    def length_key(self) -> str:
        """Config key that decides how many steps a training segment of an agent has."""
        return "replay.length"

    def lead(self) -> int:
        """Steps before each training segment that an agent sees too; its first step where the episode begins later."""
        return 0

    def beyond(self) -> int:
        """Steps by which a training segment of an agent may reach beyond the step in which the task ended its episode.

        Those are copies of that step: for a method that looks no further than to a terminal one.
        """
        return 0

    def unread(self) -> Mapping[str, str]:
        """Config keys, or sections of them, that other values of this config leave without effect → why: they are
        refused where they are set."""
        return {}

    def of_pretrained(self) -> tuple[str, ...]:
        """Config keys that say no more than what the pre-trained model is: they are as there, and refused where there
        is none."""
        return ()

    def needs_pretrained(self) -> str:
        """What in an agent's config (`key=value`) has no meaning without a pre-trained model; empty: nothing."""
        return ""


class ContextConfig(Config):
    """Context frame and its fusion into the decoder."""

    fusion: Literal["cross_attention", "concat", "none"] | None = None
    """How context features enter the decoder at 8x8 and 16x16; unset: by method."""
    frame: Literal["random", "first", "last"] = "random"
    """Which frame of a segment is the context frame, for all of its time steps."""
    augmentation: Literal["none", "erasing"] = "none"
    """Random erasing of the context frame while training; never in evaluation."""
    mask_ratio: float = Field(0.75, ge=0, lt=1)
    """Share of context tokens dropped in the attention, drawn per frame and scale."""
    mask_at_eval: bool = True
    """Drop tokens in evaluation and open-loop prediction too, as published."""
    heads: int = Field(4, ge=1)
    """Attention heads; must divide the channels at both scales."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout on attention weights and on the attention's output while training."""

    def unread(self) -> dict[str, str]:
        """Keys, as in the whole config, that nothing looks at → why."""
        if self.fusion in (None, "none"):
            others = sorted(type(self).model_fields.keys() - {"fusion"})
            return dict.fromkeys((f"context.{name}" for name in others), "context.fusion=none has no context frame")
        if self.fusion == "concat":
            of_attention = ("mask_ratio", "mask_at_eval", "heads", "dropout")
            return dict.fromkeys((f"context.{name}" for name in of_attention), "context.fusion=concat has no attention")
        return {} if self.mask_ratio else {"context.mask_at_eval": "context.mask_ratio=0 drops no tokens"}


class IntrinsicConfig(Config):
    """Intrinsic bonus."""

    beta: float = Field(1.0, ge=0)
    """Weight of the bonus in the reward that the actor's head learns; 0 switches it off."""
    window: int = Field(5, ge=1)
    """Consecutive features that are averaged. The last window - 1 steps of a segment have no bonus, and the actor's
    reward head does not learn them; with `behavior.discount_head` theirs is that of what is left of the window."""
    queue_size: int = Field(4096, ge=1)
    """Rows that are remembered, newest first."""
    queue_dim: int = Field(128, ge=1)
    """Columns of the random projection."""
    neighbours: int = Field(16, ge=1)
    """Nearest rows whose mean distance is the bonus; a row is its own nearest, at distance 0."""
    norm_momentum: float = Field(0.99, ge=0, le=1)
    """Momentum of the running magnitude that the bonus is divided by; at 1 it stays at `norm_init`."""
    norm_init: float = Field(1.0, gt=0)
    """First value of that magnitude."""
    norm_eps: float = Field(1e-8, gt=0)
    """Added to the magnitude."""


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
    discount_scale: float = Field(1.0, ge=0)
    """Weight of the discount head's loss, where there is one (`behavior.discount_head`)."""
    action_free_kl_scale: float = Field(0.0, ge=0)
    """Weight of the action-free RSSM's own KL loss in the stacked model; 0 as published."""


class WorldModelConfig(MethodConfig):
    """Sections of a world model."""

    knows_actions: ClassVar[bool] = False
    """Whether it is made for an environment, whose actions say how wide they are; else `rssm.action_dim` does."""

    encoder: EncoderConfig = EncoderConfig()
    decoder: DecoderConfig = DecoderConfig()
    rssm: RSSMConfig = RSSMConfig()
    context: ContextConfig = ContextConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()

    def unread(self) -> Mapping[str, str]:
        """See `MethodConfig.unread`."""
        found = {**super().unread(), **self.context.unread()}
        for name in ("encoder", "decoder"):
            if getattr(self, name).kind == "plain":
                why = f"{name}.kind=plain has four convolutions and no normalisation"
                found |= dict.fromkeys((f"{name}.blocks", f"{name}.norm"), why)
        if self.encoder.blocks == 0:
            found.setdefault("encoder.norm", "encoder.blocks=0 leaves no residual layer to normalise")
        if self.decoder.blocks == 0 and self.context.fusion in (None, "none"):
            found.setdefault("decoder.norm", "decoder.blocks=0 leaves no residual layer, and nothing is fused")
        if not self.loss.kl_scale:
            found |= dict.fromkeys(("loss.kl_balance", "loss.free_nats"), "loss.kl_scale=0 has no KL loss")
        found["loss.discount_scale"] = "there is no discount head: it is of agents, with behavior.discount_head=true"
        found["loss.action_free_kl_scale"] = "the action-free RSSM is the only one here: its weight is loss.kl_scale"
        return found

    @model_validator(mode="after")
    def _plain_networks_fit(self) -> WorldModelConfig:
        plain = [f"{name}.kind" for name in ("encoder", "decoder") if getattr(self, name).kind == "plain"]
        if plain and self.image.size != PLAIN_SIZE:
            raise RefusedValueError(
                f"image.size is {self.image.size}, with plain convolutions ({', '.join(plain)})",
                expected=f"image.size={PLAIN_SIZE}, the only size that the kernels of plain convolutions fit",
                fix="leave image.size and env.image_size out, or set encoder.kind=residual decoder.kind=residual",
            )
        return self

    @model_validator(mode="after")
    def _fusion_fits(self) -> WorldModelConfig:
        context, encoder, decoder = self.context, self.encoder, self.decoder
        if context.fusion in (None, "none"):
            return self
        if "plain" in (encoder.kind, decoder.kind):
            raise RefusedValueError(
                f"encoder.kind is {encoder.kind} and decoder.kind is {decoder.kind}, with context.fusion="
                f"{context.fusion}",
                expected="residual ones where context features are fused",
                fix="set encoder.kind=residual decoder.kind=residual, or context.fusion=none",
            )
        if encoder.cnn_depth != decoder.cnn_depth:
            raise RefusedValueError(
                f"encoder.cnn_depth is {encoder.cnn_depth}, decoder.cnn_depth is {decoder.cnn_depth}",
                expected="equal depths where context features are fused",
                fix=f"set both: encoder.cnn_depth={encoder.cnn_depth} decoder.cnn_depth={encoder.cnn_depth}, or "
                "context.fusion=none",
            )
        if context.fusion == "cross_attention" and 2 * decoder.cnn_depth % context.heads:
            raise RefusedValueError(
                f"context.heads={context.heads} does not divide the {2 * decoder.cnn_depth} channels at 16x16",
                expected="a divisor of 2 * decoder.cnn_depth",
                fix=f"set context.heads={math.gcd(context.heads, 2 * decoder.cnn_depth)}, or another decoder.cnn_depth "
                "and encoder.cnn_depth",
            )
        return self

    @model_validator(mode="after")
    def _actions_have_a_width(self) -> WorldModelConfig:
        if self.rssm.action_dim is None and not self.knows_actions:
            raise RefusedValueError(
                "rssm.action_dim is null, and this model is made before any environment is known",
                expected="the width that actions are padded to (published: 50)",
                fix="leave rssm.action_dim out",
            )
        return self


class StackedConfig(WorldModelConfig):
    """The action-conditional world model of an agent."""

    knows_actions: ClassVar[bool] = True
    pretrained: ClassVar[bool] = True
    """Whether parts of it may come from a pre-trained model: those are held at first, and novelty is measured."""

    concat_embed: bool = False
    """Feed the image embedding beside the action-free features into the action-conditional RSSM (DMC, CARLA)."""
    reward: RewardConfig = RewardConfig()
    intrinsic: IntrinsicConfig = IntrinsicConfig()

    @property
    def stacked(self) -> bool:
        """Whether it stands on an action-free model; else on the image embedding alone."""
        return True

    @property
    def has_bonus(self) -> bool:
        """Whether novelty is measured, and its bonus learned beside the reward."""
        return self.pretrained and self.intrinsic.beta > 0

    @property
    def has_second_reward_head(self) -> bool:
        """Whether a second head learns the plain reward."""
        return self.pretrained and bool(self.reward.dual)

    def shortest_segment(self) -> tuple[str, int]:
        """See `MethodConfig.shortest_segment`."""
        return ("intrinsic.window", self.intrinsic.window) if self.has_bonus else super().shortest_segment()

    def unread(self) -> Mapping[str, str]:
        """See `MethodConfig.unread`."""
        found = dict(super().unread())
        found["loss.discount_scale"] = "there is no discount head: set behavior.discount_head=true"
        if self.stacked:
            del found["loss.action_free_kl_scale"]
        else:
            alone = "there is one RSSM, which sees the image embedding"
            found |= dict.fromkeys(("loss.action_free_kl_scale", "concat_embed"), alone)
        if not self.pretrained:
            found |= dict.fromkeys(("intrinsic", "reward.dual"), f"{self.method} has no bonus, and one reward head")
        elif not self.intrinsic.beta:
            others = type(self.intrinsic).model_fields.keys() - {"beta"}
            found |= dict.fromkeys((f"intrinsic.{name}" for name in sorted(others)), "intrinsic.beta=0 has no bonus")
        if not self.has_second_reward_head:
            found["reward.dual_scale"] = "there is no second reward head for it to weigh"
        return found


def variant(resolved: Resolved[Any], ignore: Iterable[str]) -> str:
    """Variant name of a run: what was changed beside the method; empty for the preset as it is."""
    changed = {key: value for key, value in resolved.overrides.items() if key != "method"}
    return variant_name(changed, tuple(ignore))
