"""Config of latent actions between frozen features: a model of features, its codes, and the adapter of real actions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from ipv_bench.config import Config
from ipv_bench.config_faults import SECTION, RefusedValueError
from models.features.config import OF_THE_FIT, FeaturesConfig, heads_do_not_divide
from models.nets.config import QuantizerConfig
from models.training.config import AdamWConfig, OptimizerConfig
from models.world_models.config import MethodConfig


class TransformerConfig(Config):
    """Size of a transformer."""

    width: int = Field(512, ge=8)
    """Size of a token."""
    layers: int = Field(4, ge=1)
    """Blocks."""
    heads: int = Field(8, ge=1)
    """Attention heads; they divide the width."""

    @model_validator(mode="after")
    def _heads_divide(self) -> TransformerConfig:
        if self.width % self.heads:
            raise heads_do_not_divide(f"{SECTION}width", self.width, f"{SECTION}heads", self.heads)
        return self


class ExtractorConfig(TransformerConfig):
    """What infers latent actions from the features S and S' of two frames."""

    inputs: Literal["channel_diff", "tokens"] = "channel_diff"
    """channel_diff: a token for each place, of [S; S' - S]. tokens: the places of S and of S' as tokens of their own,
    the literal reading of "concatenated", which learns much more slowly."""
    num_codes: int = Field(8, ge=1)
    """Codes of one latent action."""


class DynamicsConfig(TransformerConfig):
    """What predicts S' from S and the codes."""

    layers: int = Field(2, ge=1)
    """Blocks."""
    residual: bool = True
    """It predicts S' - S instead of S'."""


class StateLossConfig(Config):
    """How errors of predicted features are counted."""

    normalised: bool = True
    """Divided by the running error of a copy, so that the codebook's losses do not drown them; false: raw, the literal
    reading."""
    decay: float = Field(0.99, ge=0, lt=1)
    """Of the running mean."""


class AdapterConfig(Config):
    """What maps features and a real action to a latent one."""

    kind: Literal["tokens", "mlp"] = "tokens"
    """tokens: the action becomes one query for each code, which attend to the places of S. mlp: three dense layers on
    the mean of S and the action."""
    width: int | None = Field(None, ge=8)
    """Size of a token of `tokens`, or of the dense layers of `mlp`; published nowhere. Unset: 256 and 512."""
    layers: int = Field(2, ge=1)
    """Blocks of `tokens`."""
    heads: int = Field(4, ge=1)
    """Attention heads of `tokens`; they divide the width."""
    finetune_decoder: bool = False
    """Train the decoder of frozen features as well, on predicted features (for pictures, as in UWM's Figure 5)."""
    optimizer: OptimizerConfig = OptimizerConfig(lr=3e-4, eps=1e-8, weight_decay=0.0, clip=1.0)

    @model_validator(mode="after")
    def _heads_divide(self) -> AdapterConfig:
        if self.kind == "tokens" and self.size % self.heads:
            raise heads_do_not_divide("adapter.width", self.size, "adapter.heads", self.heads)
        return self

    @property
    def size(self) -> int:
        """`width`, or what it is where that is unset."""
        return self.width or {"tokens": 256, "mlp": 512}[self.kind]


FICC_VALUES: Mapping[str, Any] = {
    "features.kind": "own",
    "extractor.num_codes": 1,
    "quantizer.codes": 20,
    "quantizer.commitment": 1.0,
    "quantizer.restart_below": 0.0,
}
"""What loss=ficc brings with it, as published: one code of 20, commitment 1, no restart of unused codes."""


class FeatureModelConfig(MethodConfig):
    """A model of frozen features with latent actions."""

    features: FeaturesConfig = FeaturesConfig()
    extractor: ExtractorConfig = ExtractorConfig()
    quantizer: QuantizerConfig = QuantizerConfig()
    dynamics: DynamicsConfig = DynamicsConfig()
    loss: Literal["state", "ficc"] = "state"
    """state: squared error of predicted features, which are frozen (UWM). ficc: the features are learned along, by
    cosine consistency, reconstruction and difference reconstruction (FICC); it brings its published codebook with it
    (`FICC_VALUES`), and has one code for an action."""
    state_loss: StateLossConfig = StateLossConfig()
    optimizer: AdamWConfig = AdamWConfig()

    @classmethod
    def brought(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `MethodConfig.brought`."""
        return FICC_VALUES if values.get("loss") == "ficc" else {}

    def unread(self) -> Mapping[str, str]:
        """See `MethodConfig.unread`."""
        found = {**super().unread(), **{f"features.{key}": why for key, why in self.features.unread().items()}}
        if self.loss == "ficc":
            found |= dict.fromkeys(OF_THE_FIT, "loss=ficc learns its features along, and fits none before")
            found["state_loss"] = "loss=ficc has no state loss"
            found.pop("features.pixels", None)  # the size of its decoder
        elif not self.state_loss.normalised:
            found["state_loss.decay"] = "state_loss.normalised=false takes no running mean"
        if not self.quantizer.restart_below:
            found["quantizer.usage_decay"] = "quantizer.restart_below=0 looks at no use of codes"
        return found

    @model_validator(mode="after")
    def _ficc_learns_features(self) -> FeatureModelConfig:
        if self.loss == "ficc" and self.features.kind != "own":
            raise RefusedValueError(
                f"loss=ficc learns its features, and features.kind is {self.features.kind}",
                expected="features.kind=own",
                fix="set features.kind=own, or loss=state for frozen features",
            )
        if self.loss == "ficc" and self.extractor.num_codes != 1:
            raise RefusedValueError(
                f"loss=ficc has one code for an action, and extractor.num_codes is {self.extractor.num_codes}",
                expected="extractor.num_codes=1",
                fix="set extractor.num_codes=1, or loss=state",
            )
        return self

    @model_validator(mode="after")
    def _patches_cover_the_frame(self) -> FeatureModelConfig:
        size, patch = self.image.size, self.features.own.patch
        if self.features.kind == "own" and size % patch:
            raise RefusedValueError(
                f"features.own.patch {patch} does not divide image.size {size}",
                expected="a divisor of it",
                fix=f"set features.own.patch={math.gcd(size, patch) if math.gcd(size, patch) > 1 else 8}",
            )
        return self

    @model_validator(mode="after")
    def _frames_as_they_are(self) -> FeatureModelConfig:
        if self.image.offset != "half" or self.image.gain != 1:
            raise RefusedValueError(
                f"image.offset={self.image.offset} and image.gain={self.image.gain:g} belong to models that draw "
                "pixels; frozen features have their own scaling",
                expected="image.offset=half and image.gain=1",
                fix="leave image.offset and image.gain out",
            )
        return self


PARTS: Mapping[str, bool] = {"adapter": True, "dynamics": False}
"""What of it can be trained → whether that needs actions."""


class AdaptedFeatureModelConfig(FeatureModelConfig):
    """The same with an adapter."""

    adapter: AdapterConfig = AdapterConfig()


def transformer_sizes(config: TransformerConfig) -> dict[str, Any]:
    """Arguments of `models.nets.transformer.Transformer`."""
    return {"width": config.width, "heads": config.heads, "layers": config.layers}
