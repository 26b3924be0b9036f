"""Config of frozen features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from ipv_bench.config import Config
from ipv_bench.config_faults import RefusedValueError

Kind = Literal["own", "mae", "vision", "alex", "vgg"]


READ_BY: Mapping[Kind, frozenset[str]] = {
    "own": frozenset({"own"}),
    "mae": frozenset({"name", "weights"}),
    "vision": frozenset({"name", "weights", "pixels"}),
    "alex": frozenset({"name", "weights", "layer", "pixels"}),
    "vgg": frozenset({"name", "weights", "layer", "pixels"}),
}
"""Fields of the section that each kind of features looks at, `kind` apart."""


OF_THE_FIT = tuple(f"features.own.{key}" for key in ("updates", "batch_size", "lr", "warmup", "mask_ratio"))
"""Config keys of how features of a run's own are fitted, before its first update."""


def heads_do_not_divide(width_key: str, width: int, heads_key: str, heads: int) -> RefusedValueError:
    """Why a transformer of such a size is refused."""
    return RefusedValueError(
        f"{width_key} {width} is no multiple of {heads_key} {heads}",
        expected="heads that divide the width",
        fix=f"set {width_key}={-(-width // heads) * heads}, or another {heads_key}",
    )


class OwnMAEConfig(Config):
    """A small masked autoencoder that a run trains on its own videos before anything else (`features.kind=own`)."""

    patch: int = Field(8, ge=2)
    """Side of a patch in pixels; it divides the frame's."""
    width: int = Field(64, ge=8)
    """Size of a token."""
    layers: int = Field(2, ge=1)
    """Blocks of the encoder."""
    decoder_layers: int = Field(2, ge=1)
    """Blocks of the decoder."""
    heads: int = Field(4, ge=1)
    """Attention heads; they divide the width."""
    updates: int = Field(400, ge=1)
    """Optimiser steps."""
    batch_size: int = Field(64, ge=1)
    """Frames of one step."""
    lr: float = Field(3e-3, gt=0)
    """Largest learning rate of AdamW; it falls to 0 along a cosine."""
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of the updates in which the learning rate rises, in a line from 0."""
    mask_ratio: float = Field(0.75, ge=0, lt=1)
    """Largest share of patches that are hidden; each step hides a share between 0 and this."""

    @model_validator(mode="after")
    def _heads_divide(self) -> OwnMAEConfig:
        if self.width % self.heads:
            raise heads_do_not_divide("features.own.width", self.width, "features.own.heads", self.heads)
        return self


class PixelDecoderConfig(Config):
    """A decoder that is trained on the videos, for features that come without one: to look at what is predicted."""

    width: int = Field(256, ge=8)
    """Size of a token."""
    layers: int = Field(2, ge=1)
    """Blocks."""
    heads: int = Field(4, ge=1)
    """Attention heads; they divide the width."""

    @model_validator(mode="after")
    def _heads_divide(self) -> PixelDecoderConfig:
        if self.width % self.heads:
            raise heads_do_not_divide("features.pixels.width", self.width, "features.pixels.heads", self.heads)
        return self


class FeaturesConfig(Config):
    """Frozen features of frames."""

    kind: Kind = "own"
    """own: a small masked autoencoder, trained on the run's own videos first. mae: a ViT-MAE of `transformers`, with
    its decoder. vision: any vision model of `transformers` (DINOv2, ViT, ResNet, …). alex, vgg: the backbones of
    LPIPS."""
    name: str | None = None
    """mae, vision: a local folder with `config.json` and `model.safetensors`, or the name of a model in the Hugging
    Face cache. alex, vgg: folder of the LPIPS weights; unset: where they are usually found."""
    weights: Literal["published", "random"] = "published"
    """random: new weights of the same network (it needs `config.json` alone), which the run's checkpoints keep."""
    layer: int = Field(-1, ge=-5, le=4)
    """alex, vgg: which of the five feature maps."""
    own: OwnMAEConfig = OwnMAEConfig()
    pixels: PixelDecoderConfig = PixelDecoderConfig()

    @model_validator(mode="after")
    def _named(self) -> FeaturesConfig:
        if self.kind in ("mae", "vision") and not self.name:
            raise RefusedValueError(
                f"features.kind={self.kind}, and features.name is not set",
                expected="the model: a local folder, or the name of one in the Hugging Face cache",
                fix="set features.name=FOLDER_OR_NAME, or features.kind=own for features that the run learns itself",
            )
        return self

    def unread(self) -> dict[str, str]:
        """Fields that features of this kind do not look at → why."""
        why = f"features.kind={self.kind} does not look at it"
        return dict.fromkeys(sorted({"name", "weights", "layer", "own", "pixels"} - READ_BY[self.kind]), why)

    @property
    def in_checkpoints(self) -> bool:
        """Whether a run's checkpoints hold the weights: nobody else has them."""
        return self.kind == "own" or self.weights == "random"
