"""Configs of the training commands; each section's class stands beside its component."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

from pydantic import Field, create_model, field_validator, model_validator

from ipv_bench.config import Config, Resolved
from ipv_bench.config_faults import RefusedValueError
from ipv_bench.errors import ConfigError
from models.methods.base import find_method
from models.methods.resolve import resolve_for_method
from models.training.config import LoopConfig
from models.world_models.config import MethodConfig


class DataConfig(Config):
    """Segments that the model is trained on."""

    sets: list[str] = Field(["data/shards/ssv2"], min_length=1)
    """Shard set folders or URLs; `--data` replaces them. Several are mixed ("assembled")."""
    weights: list[float] | None = None
    """Share of each set in the mixture; unset: equal shares."""
    length: int = Field(25, ge=2)
    """Consecutive frames of a segment (T)."""
    batch_size: int = Field(16, ge=1)
    """Segments of one update over all ranks (B)."""
    every_seconds: float | None = Field(None, gt=0)
    """Frames of a segment are this far apart, by the time stamps of the set, to the nearest frame; unset:
    `every_frames` apart."""
    every_frames: int = Field(1, ge=1)
    """Frames of a segment are so many of the set's frames apart, where `every_seconds` is unset. Real actions of all
    steps between two frames are then one action, joined."""
    crop: int | None = Field(None, ge=16)
    """Side of a square that is cut at a random place of each segment, in pixels; unset: whole frames."""
    num_videos: int | None = Field(None, ge=1)
    """Train on a fixed subset of this many videos per set (nested: 1500 is inside 15000); unset: all."""
    split: str | None = "train"
    """Split to train on, in sets that have splits; unset: all of them."""
    labels: list[str] | None = None
    """Train on videos of these labels only; unset: all."""
    holdout: float = Field(0.05, ge=0, lt=1)
    """Share of the videos, by hash of the id, kept for validation in sets without a `validation` split."""
    fewest_held_out: int = Field(0, ge=0)
    """At least so many videos of such a set are kept, but no more than a quarter of them; without effect where
    `holdout` is 0."""
    workers: int = Field(2, ge=0)
    """Threads that decode segments in the background (of remote sets four times as many); 0 decodes in the training
    loop. Never changes the data."""
    prefetch: int = Field(4, ge=1)
    """Batches that are decoded ahead."""
    cache: str | None = None
    """Folder that keeps whole shards of remote sets; unset: ranged reads each time."""

    def unread(self) -> dict[str, str]:
        """Keys, as in the whole config, that nothing looks at → why."""
        found = {}
        if self.every_seconds is not None:
            found["data.every_frames"] = f"data.every_seconds={self.every_seconds:g} says how far frames are apart"
        if not self.holdout:
            found["data.fewest_held_out"] = "data.holdout=0 keeps none for validation"
        if len(self.sets) == 1:
            found["data.weights"] = "there is one set, which has all of the mixture"
        return found

    @model_validator(mode="after")
    def _one_weight_per_set(self) -> DataConfig:
        if self.weights is not None:
            if len(self.weights) != len(self.sets):
                raise RefusedValueError(
                    f"data.weights has {len(self.weights)} weights, and data.sets {len(self.sets)} sets",
                    expected="a weight for each set",
                    fix="give data.weights as many numbers as there are sets, or leave it out for equal shares",
                )
            if min(self.weights) < 0 or sum(self.weights) <= 0:
                raise RefusedValueError(
                    f"data.weights is {self.weights}",
                    expected="weights of at least 0, and not all 0",
                    fix="give data.weights such numbers, or leave it out for equal shares",
                )
        return self

    @model_validator(mode="after")
    def _each_set_once(self) -> DataConfig:
        first: dict[str, str] = {}
        for name in self.sets:
            place = name.rstrip("/") if "://" in name else str(Path(name).resolve())
            if place in first:
                same = "" if name == first[place] else f", also as {first[place]}"
                raise RefusedValueError(
                    f"data.sets names {name} twice{same}: its videos would be drawn twice as often, unsaid",
                    expected="each shard set once",
                    fix="name it once; data.weights gives sets of a mixture other shares",
                )
            first[place] = name
        return self

    @field_validator("sets", mode="before")
    @classmethod
    def _one_name_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class TrainingConfig(LoopConfig):
    """The loop around the updates."""

    updates: int = Field(600_000, ge=1)
    """Optimiser steps."""
    checkpoint_every: int = Field(2000, ge=1)
    """Updates between two checkpoints."""
    keep_every: int = Field(0, ge=0)
    """Checkpoints whose update number this divides are kept for ever; 0: none."""
    sync_batch_norm: bool = False
    """Batch statistics over all ranks; CUDA only."""


class ValidationConfig(Config):
    """Open-loop prediction on held-out videos while training."""

    every: int = Field(10_000, ge=0)
    """Updates between two validations; the first update and the last are always validated. 0: never."""
    segments: int = Field(64, ge=1)
    """Segments, the same ones each time."""
    warmup: int = Field(5, ge=1)
    """Frames that the model sees before it predicts the rest open loop."""
    strips: int = Field(4, ge=0)
    """Segments shown as PNG strips and GIFs (truth, prediction, error)."""


class PretrainConfig(MethodConfig):
    """What `ipv-bench pretrain` needs beside the sections of the method: see `pretrain_config_class`."""

    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    validation: ValidationConfig = ValidationConfig()

    def unread(self) -> Mapping[str, str]:
        """See `MethodConfig.unread`."""
        return {**super().unread(), **self.data.unread()}

    @model_validator(mode="after")
    def _consistent(self) -> PretrainConfig:
        if self.validation.every and self.validation.warmup >= self.data.length:
            raise nothing_to_predict(self.validation.warmup, self.data.length)
        return self


def nothing_to_predict(warmup: int, length: int) -> RefusedValueError:
    """Why a validation that sees all frames of a segment is refused."""
    return RefusedValueError(
        f"validation.warmup {warmup} leaves nothing to predict in data.length {length}",
        expected=f"validation.warmup below {length}",
        fix=f"set validation.warmup={length - 1} or less, or a larger data.length, or validation.every=0 for none",
    )


@cache
def pretrain_config_class(method: str) -> type[PretrainConfig]:
    """The whole config of a method's pre-training.

    Raises:
        UnknownNameError: no such method.
        ConfigError: it learns without pre-training.
        PluginError: it belongs to another package and does not work.
    """
    own = find_method(method).video_config
    if own is None:
        raise ConfigError(
            f"{method} learns without pre-training",
            expected="a method that is pre-trained on videos",
            fix=f"fine-tune at once: ipv-bench finetune --set method={method} --task SUITE/TASK",
        )
    bases: Any = (PretrainConfig, own)
    return cast(
        type[PretrainConfig],
        create_model("PretrainConfig", __base__=bases, __module__=__name__, method=(str, method)),
    )


VIDEOS = "videos"
"""Part of the presets: a method whose settings differ has the file `<preset>/videos@<method>.yaml`."""


def resolve_pretraining(
    preset: str,
    *,
    config_file: str | Path | None = None,
    overrides: Mapping[str, Any] | Iterable[str] = (),
) -> Resolved[PretrainConfig]:
    """Resolve the config of a pre-training run; see `models.methods.resolve.resolve_for_method`."""
    return resolve_for_method(
        lambda method: pretrain_config_class(method.name), "pretrain", preset, parts=(VIDEOS,),
        config_file=config_file, overrides=overrides,
    )  # fmt: skip


RESOURCE_KEYS = (
    "data.workers", "data.prefetch", "data.cache", "data.sets",
    "training.device", "training.threads", "training.cuda_graph", "training.deterministic", "training.log_every",
    "training.checkpoint_every", "training.checkpoint_minutes", "training.keep_last", "training.keep_every",
    "training.tensorboard", "training.wandb", "validation",
)  # fmt: skip
"""Keys that do not change what is learned; they give a run no variant name. (Data sets stand in its path.)"""

RESUMABLE_KEYS = (
    "data.workers", "data.prefetch", "data.cache", "data.sets",
    "training.device", "training.threads", "training.cuda_graph", "training.deterministic", "training.checkpoint_every",
    "training.checkpoint_minutes",
    "training.keep_last", "training.keep_every", "training.tensorboard", "training.wandb",
    "features.name",
)  # fmt: skip
"""Keys that may change when a run is continued; moved shard sets are recognised by their hashes, and so are
moved features."""
