"""Config of `ipv-bench adapt`: the sections of the model come from the run that it starts from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Literal, cast

from pydantic import Field, create_model, model_validator

from ipv_bench.config import Resolved, build, check_key, flatten, flatten_fields, lay, merge, nested, parse_overrides
from ipv_bench.config_faults import RefusedValueError
from models.agents.config import AgentTrainingConfig
from models.methods.base import adaptation_of, defaults_of, find_method
from models.pretraining.config import DataConfig, TrainingConfig, ValidationConfig, nothing_to_predict
from models.world_models.config import MethodConfig
from models.world_models.parent_weights import OF_THE_START

Weights = Literal["pretrained", "random"]


class AdaptTrainingConfig(TrainingConfig, AgentTrainingConfig):
    """The loop around the updates."""

    updates: int = Field(1000, ge=1)
    """Optimiser steps."""
    checkpoint_every: int = Field(500, ge=1)
    """Updates between two checkpoints."""
    encoder_frozen_updates: int = Field(0, ge=0)
    """First updates with a learning rate of zero for what came pre-trained, where the method names that."""


class AdaptDataConfig(DataConfig):
    """Labelled segments that the model is trained on. How many videos are held out is not the run's to say that it
    starts from: 0.2 % of all videos is much of a large set and nothing of a labelled one."""

    fewest_held_out: int = Field(3, ge=0)
    """At least so many videos of a set without a `validation` split are kept for validation, but no more than a quarter
    of them; without effect where `holdout` is 0."""


class AdaptValidationConfig(ValidationConfig):
    """Prediction from real actions on held-out labelled videos."""

    every: int = Field(500, ge=0)
    """Updates between two validations; the first update and the last are always validated. 0: never."""


class AdaptConfig(MethodConfig):
    """What `ipv-bench adapt` needs beside the sections of the method's agent: see `adapt_config_class`."""

    parts: str = ""
    """What is trained, by the method's own names; empty: its first one. Our RSSM methods: `world_model`, or `dynamics`
    (the action-conditional RSSM, everything else frozen)."""
    num_sequences: int | None = Field(None, ge=1)
    """Train on a fixed subset of this many labelled videos per set (nested: 64 are among 256); unset: all."""
    num_segments: int | None = Field(None, ge=1)
    """Train on so many fixed segments, drawn once: segment i is segment i mod `num_segments` (nested as well; with
    data.length=2 they are pairs of frames, as the 2,000 of UWM's domains). Unset: each is drawn anew."""
    preset: str = ""
    """Where `none` stands for the run: the fine-tuning preset (`tiny`, `paper/dmc`, …) whose model is made; of a method
    without an agent the pre-training preset."""
    weights: Weights = "pretrained"
    """`random`: the architecture of the run with new weights, the row "no pre-training" of a comparison."""
    data: AdaptDataConfig = AdaptDataConfig()
    training: AdaptTrainingConfig = AdaptTrainingConfig()
    validation: AdaptValidationConfig = AdaptValidationConfig()

    def unread(self) -> Mapping[str, str]:
        """See `MethodConfig.unread`."""
        return {**super().unread(), **self.data.unread()}

    @model_validator(mode="after")
    def _consistent(self) -> AdaptConfig:
        if self.validation.every and self.validation.warmup >= self.data.length:
            raise nothing_to_predict(self.validation.warmup, self.data.length)
        if self.data.num_videos is not None:
            raise RefusedValueError(
                f"data.num_videos is {self.data.num_videos}, and that is for pre-training",
                expected="data.num_videos=null; labelled videos are counted by num_sequences",
                fix=f"set num_sequences={self.data.num_videos} in its place",
            )
        return self


@cache
def adapt_config_class(method: str) -> type[AdaptConfig]:
    """The whole config of adapting a method's models.

    Raises:
        UnknownNameError: no such method.
        UsageError: it cannot be adapted.
    """
    bases: Any = (AdaptConfig, adaptation_of(find_method(method)).config)
    made = create_model(
        "AdaptConfig", __base__=bases, __module__=__name__, method=(str, method),
        training=(AdaptTrainingConfig, AdaptTrainingConfig()),
    )  # fmt: skip
    return cast(type[AdaptConfig], made)


OF_THE_TRAINING = ("adapter.finetune_decoder",)
"""What a run trained beside its `parts`: no more the next one's business than these."""
FROM_DATA = ("length", "batch_size", "workers", "prefetch", "cache", "every_seconds", "every_frames", "crop")
FROM_TRAINING = (
    "precision", "compile", "cuda_graph", "deterministic", "device", "threads", "log_every", "keep_last", "tensorboard",
    "wandb",
)  # fmt: skip
"""Fields of these sections that are taken over from the run as well: how, not what, it was trained."""


def resolve_adapting(
    method: str, found: Mapping[str, Any], preset: str, overrides: Mapping[str, Any] | Iterable[str], *,
    starts_from: str = "random",
) -> Resolved[AdaptConfig]:  # fmt: skip
    """Lay overrides over what the run to start from says, and what the method's source says of adapting.

    Args:
        method: of the run.
        found: its config, nested, as in `run.json`.
        preset: its preset, for the record.
        overrides: `key=value` texts, or dotted key → value.
        starts_from: "pretrained" or "adapted" weights, or "random" ones.

    Raises:
        ConfigError: unknown key, wrong value, or another method.
    """
    config_class, changes = adapt_config_class(method), parse_overrides(overrides)
    adaptation = adaptation_of(find_method(method))
    parts = str(changes.get("parts") or next(iter(adaptation.parts)))
    first = starts_from == "pretrained" and changes.get("weights") != "random"
    base = _taken_over(method, found) | ({"weights": "random"} if starts_from == "random" else {})
    base = lay(base, defaults_of(adaptation, preset, parts, first=first))
    for key in changes:
        check_key(config_class, key)
    chosen = config_class.brought(lay(base, changes))
    if chosen != config_class.brought(base):  # another choice than the run's, which has what its own brought
        base = lay(base, chosen)
    values = lay(base, changes)
    before = flatten(build(config_class, merge(base, {"method": method})).model_dump(mode="json"))
    config = build(config_class, merge({"method": method}, values))
    after = flatten(config.model_dump(mode="json"))
    return Resolved(config, preset, {key: value for key, value in after.items() if before.get(key) != value})


def _taken_over(method: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a run's config that its adaptation starts from: of the model all that both have."""
    known = flatten_fields(adapt_config_class(method))
    own = adaptation_of(find_method(method)).config.model_fields
    taken: dict[str, Any] = {}
    for key, value in flatten(found).items():
        section, _, name = key.partition(".")
        if section in OF_THE_START or key in OF_THE_TRAINING:  # not the next one's business
            continue
        wanted = {
            "data": name in FROM_DATA,
            "training": name in FROM_TRAINING,
            "validation": name != "every",
        }.get(section, section in own)
        if wanted and key in known:
            taken = merge(taken, nested(key, value))
    return taken
