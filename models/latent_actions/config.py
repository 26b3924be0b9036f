"""Config of latent actions: what pre-training and fine-tuning share, and what each has of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from ipv_bench.config import Config
from ipv_bench.config_faults import RefusedValueError
from models.nets.config import ImageConfig
from models.world_models.config import IntrinsicConfig, StackedConfig, WorldModelConfig

PUBLISHED_PIXEL_VALUES = 3 * 64 * 64
"""Values of a frame that the published weight of 1 of the latent action's KL stands beside."""


class ActionEncoderConfig(Config):
    """The network that infers latent actions from two neighbouring frames; `rssm.action_dim` is their size."""

    inputs: Literal["concat", "diff", "catdiff"] = "concat"
    """What it sees of frames o and o': both (6 channels), o' - o (3), or both and their difference (9)."""
    posterior: Literal["stochastic", "deterministic"] = "stochastic"
    """A Gaussian that is held near N(0, I), or plain numbers without any such loss (the ablation "without AL")."""


class LatentActionConfig(ActionEncoderConfig):
    """Latent actions in pre-training."""

    beta_a: float | None = Field(None, ge=0)
    """Weight of KL(latent action ‖ N(0, I)) beside image losses that are summed over the frame. Unset: by the frame's
    size, so that it weighs as much as the published 1 does beside 64 x 64 pixels (`action_kl_scale`)."""
    consistency_scale: float = Field(0.0, ge=0)
    """Weight of the loss in `models.latent_actions.consistency`; 0: off. (The published form has no gradient.)"""

    @model_validator(mode="after")
    def _consistency_needs_distributions(self) -> LatentActionConfig:
        if self.consistency_scale and self.posterior == "deterministic":
            raise RefusedValueError(
                f"latent_action.consistency_scale {self.consistency_scale:g} compares distributions of latent actions, "
                "and latent_action.posterior=deterministic has none",
                expected="latent_action.posterior=stochastic, or latent_action.consistency_scale=0",
                fix="set one of the two so",
            )
        return self

    def action_kl_scale(self, image: ImageConfig) -> float:
        """`beta_a`, or by rule: pixel values / 12,288."""
        if self.beta_a is not None:
            return self.beta_a
        return 3 * image.size**2 / PUBLISHED_PIXEL_VALUES


class RealActionConfig(ActionEncoderConfig):
    """Real actions in fine-tuning. `inputs` and `posterior` are the pre-trained action encoder's, for `align`."""

    align: Literal["none", "warmstart", "nll"] = "none"
    """What ties real actions to the pre-trained latent ones. none: nothing but the world model's loss, as published.
    warmstart: the first updates fit the action network alone to the means that the pre-trained action encoder infers
    from the replay's frames. nll: -ln q(f(a) | o, o') is one more loss, always."""
    align_updates: int = Field(100, ge=1)
    """First updates that only fit the action network, with align=warmstart; give training.pretrain_updates so many
    more, or the agent plays meanwhile."""
    align_scale: float = Field(1.0, ge=0)
    """Weight of the loss of align=nll."""
    hold_rssm: bool = True
    """The RSSM, too, is held for the first updates (training.encoder_frozen_updates), as published."""

    @model_validator(mode="after")
    def _densities_are_gaussian(self) -> RealActionConfig:
        if self.align == "nll" and self.posterior == "deterministic":
            raise RefusedValueError(
                "latent_action.align=nll needs the density of latent actions, and "
                "latent_action.posterior=deterministic has none",
                expected="a model that was pre-trained with latent_action.posterior=stochastic, or another alignment",
                fix="set latent_action.align=warmstart, or start from a stochastic model",
            )
        return self


class LatentIntrinsicConfig(IntrinsicConfig):
    """Intrinsic bonus of an agent that has one RSSM."""

    features: Literal["embed", "feat"] = "embed"
    """What novelty is measured on: the image embedding, as published, or the RSSM's features."""


class LatentActionVideoConfig(WorldModelConfig):
    """World model of videos with latent actions; `rssm.action_dim` is their size."""

    latent_action: LatentActionConfig = LatentActionConfig()

    def unread(self) -> Mapping[str, str]:
        """See `MethodConfig.unread`."""
        found = dict(super().unread())
        if self.latent_action.posterior == "deterministic":
            found["latent_action.beta_a"] = "latent_action.posterior=deterministic has no KL for it to weigh"
        return found

    @model_validator(mode="after")
    def _there_are_others_to_compare_with(self) -> LatentActionVideoConfig:
        scale, data = self.latent_action.consistency_scale, getattr(self, "data", None)
        if scale and data and data.batch_size < 2:
            raise RefusedValueError(
                f"latent_action.consistency_scale {scale:g} compares sequences with one another, and data.batch_size "
                f"is {data.batch_size}",
                expected="data.batch_size of at least 2 for each process",
                fix="set data.batch_size=2 or more, or latent_action.consistency_scale=0",
            )
        return self


class RealActionModelConfig(StackedConfig):
    """World model of an agent on a pre-trained model of latent actions: one RSSM."""

    latent_action: RealActionConfig = RealActionConfig()
    intrinsic: LatentIntrinsicConfig = LatentIntrinsicConfig()

    @property
    def stacked(self) -> bool:
        """See `StackedConfig.stacked`."""
        return False

    def shortest_segment(self) -> tuple[str, int]:
        """See `MethodConfig.shortest_segment`; an alignment compares pairs of frames."""
        key, steps = super().shortest_segment()
        align = self.latent_action.align
        return (key, steps) if align == "none" or steps > 1 else (f"latent_action.align={align}, which needs", 2)

    def unread(self) -> Mapping[str, str]:
        """See `MethodConfig.unread`."""
        needed = {"latent_action.align_updates": "warmstart", "latent_action.align_scale": "nll"}
        align = self.latent_action.align
        why = f"latent_action.align is {align}: it is for "
        unused = {key: why + own for key, own in needed.items() if own != align}
        return {**super().unread(), **unused}

    def of_pretrained(self) -> tuple[str, ...]:
        """See `MethodConfig.of_pretrained`: without alignment the pre-trained action encoder is left out, as published,
        and what it was says which model the agent started from."""
        return ("latent_action.inputs", "latent_action.posterior") if self.latent_action.align == "none" else ()

    def needs_pretrained(self) -> str:
        """See `MethodConfig.needs_pretrained`."""
        align = self.latent_action.align
        return "" if align == "none" else f"latent_action.align={align}"
