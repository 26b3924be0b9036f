"""Config of `ipv-bench finetune`; each section's class stands beside its component."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

from pydantic import Field, create_model, model_validator

from ipv_bench.bounded_json import as_model
from ipv_bench.config import Config, Resolved, flatten, flatten_fields, parse_overrides, read_config_file
from ipv_bench.config_faults import RefusedValueError
from ipv_bench.errors import ConfigError, RunError
from ipv_bench.run_record import RUN_FILE, RunRecord
from models.envs.base import EnvConfig
from models.envs.registry import fields_of_other_suites, find_suite, refuse_fields_of_other_suites
from models.finetuning.replay import ReplayConfig
from models.methods.base import find_method
from models.methods.resolve import resolve_for_method
from models.training.config import LoopConfig
from models.world_models.config import MethodConfig


class EnvsConfig(Config):
    """How many environments play at once, and where they run."""

    count: int = Field(1, ge=1)
    """Training environments stepped in lockstep. Part of the algorithm: it changes which episodes are seen when."""
    workers: int = Field(1, ge=0)
    """Processes that host the environments; 0 runs them in this process. Never changes a result."""
    step_timeout_seconds: float = Field(120.0, gt=0)
    """An environment that takes longer for one step is killed and started again; its episode is dropped."""


class EvaluationConfig(Config):
    """Scores while training, by the protocol of the task suite."""

    every: int = Field(10_000, ge=0)
    """Environment steps between evaluations; the first follows the prefill, the last ends the run. 0: the last only."""
    episodes: int = Field(10, ge=1)
    """Episodes of each evaluation."""
    parallel: int = Field(1, ge=1)
    """Episodes played at the same time, in lockstep. Part of the config: sums of another batch size round otherwise."""
    explore: bool = False
    """Sample actions, as the policy does while it is trained (DrQ-v2: its noise); false plays the most likely ones, as
    published. A stochastic policy is trained by what its samples bring, and its mode may lead to states that neither
    model nor critic has seen; DreamerV3's evaluations sample as well."""
    video_episodes: int = Field(1, ge=0)
    """Episodes of each evaluation that are kept as a video in the run's `videos/`."""
    random_episodes: int = Field(20, ge=0)
    """Episodes of the uniform random policy, played once per run (without rendering) for the figures' random line."""


class FinetuneTrainingConfig(LoopConfig):
    """The loop around environment steps and updates; see `finetune_config_class` for what a method adds."""

    env_steps: int = Field(255_000, ge=1)
    """Simulator control steps (agent steps × action repeat), prefill included; the run ends with the episode that
    reaches them."""
    prefill: int = Field(5000, ge=1)
    """Agent steps of the uniform random policy before the first update; at least one episode is stored."""
    pretrain_updates: int = Field(100, ge=0)
    """Updates between the prefill and the first step of the agent."""
    train_every: int = Field(5, ge=1)
    """Agent steps between two trainings."""
    updates_per_train: int = Field(1, ge=1)
    """Updates of each training."""
    checkpoint_minutes: float = Field(5.0, gt=0, le=10)
    """A checkpoint is taken at the end of an episode when the last one is older than this."""
    checkpoint_episodes: int = Field(0, ge=0)
    """A checkpoint is also taken after every so many episodes; 0: by time alone."""
    keep_last: int = Field(1, ge=1)
    """Newest checkpoints that are kept."""
    stop_grace_seconds: float = Field(20.0, ge=0)
    """How long a stopped run (SIGTERM, Ctrl-C) may go on to finish its episode, so that nothing is lost."""


class FinetuneConfig(MethodConfig):
    """What `ipv-bench finetune` needs beside the sections of the method: see `finetune_config_class`."""

    replay: ReplayConfig = ReplayConfig()
    env: EnvConfig = EnvConfig()
    envs: EnvsConfig = EnvsConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    training: FinetuneTrainingConfig = FinetuneTrainingConfig()

    def unread(self) -> Mapping[str, str]:
        """See `MethodConfig.unread`."""
        return {**super().unread(), **{f"env.{name}": why for name, why in self.env.unread().items()}}

    @model_validator(mode="after")
    def _consistent(self) -> FinetuneConfig:
        if self.env.image_size != self.image.size:
            raise RefusedValueError(
                f"env.image_size is {self.env.image_size}, but the model takes image.size {self.image.size}",
                expected="the same for both",
                fix="set image.size and env.image_size to one number, or leave both out",
            )
        key, shortest = self.shortest_segment()
        if self.replay.length < shortest:
            raise RefusedValueError(
                f"replay.length {self.replay.length} is shorter than {key} {shortest}",
                expected=f"replay.length of at least {shortest}",
                fix=f"set replay.length={shortest} or more, or change {key.partition('=')[0]}",
            )
        steps = self.replay.length - 1
        if self.replay.capacity < steps:
            raise RefusedValueError(
                f"replay.capacity {self.replay.capacity} is less than the {steps} steps of one window "
                f"({self.length_key()})",
                expected=f"replay.capacity of at least {steps}",
                fix=f"leave replay.capacity out, or set it to {steps} or more, or a smaller {self.length_key()}",
            )
        return self


@cache
def finetune_config_class(method: str, suite: str = "") -> type[FinetuneConfig]:
    """The whole config of a method's agents on a suite's tasks.

    Args:
        method: its name.
        suite: name of the suite, which owns the fields of `env` beside those that all suites have; empty: none.

    Raises:
        UnknownNameError: no such method or suite.
        ConfigError: the method has no agent.
        PluginError: one of another package does not work.
    """
    env, own = _env_class(suite), find_method(method).agent_config
    if own is None:
        raise ConfigError(
            f"{method} has no agent",
            expected="a method that acts",
            fix=f"`ipv-bench pretrain --set method={method}`, and `ipv-bench adapt` for models under real actions",
        )
    bases: Any = (FinetuneConfig, own)
    training = _training_class(own)
    image: Any = own.model_fields["image"]
    made = create_model(
        "FinetuneConfig", __base__=bases, __module__=__name__, method=(str, method), env=(env, env()),
        training=(training, training()), image=(image.annotation, image),
    )  # fmt: skip
    return cast(type[FinetuneConfig], made)


def _training_class(agent_config: type[MethodConfig]) -> type[FinetuneTrainingConfig]:
    """The loop's training section, with the fields that the method's agent has beside them."""
    own = agent_config.model_fields.get("training")
    if own is None or issubclass(FinetuneTrainingConfig, cast(type, own.annotation)):
        return FinetuneTrainingConfig
    bases: Any = (FinetuneTrainingConfig, own.annotation)
    return cast(type[FinetuneTrainingConfig], create_model("TrainingConfig", __base__=bases, __module__=__name__))


def _env_class(suite: str) -> type[EnvConfig]:
    return find_suite(suite).config if suite else EnvConfig


def resolve_finetuning(
    preset: str,
    suite: str = "",
    *,
    parts: Iterable[str] = (),
    config_file: str | Path | None = None,
    overrides: Mapping[str, Any] | Iterable[str] = (),
) -> Resolved[FinetuneConfig]:
    """Resolve the config of a fine-tuning run.

    Args:
        preset: name of the preset.
        suite: of the task; empty: only what all suites have in `env`.
        parts: files of a preset by suite, the first that exists is taken.
        config_file: YAML over the preset.
        overrides: `key=value` texts, or dotted key → value, over both.

    Raises:
        UnknownNameError: unknown preset, method or suite.
        ConfigError: unknown key, a key of another suite, or a wrong value.
    """
    changes = parse_overrides(overrides)
    given = flatten(read_config_file(config_file)) if config_file else {}
    refuse_fields_of_other_suites(suite, [key for key in (*given, *changes) if key.startswith("env.")])
    return resolve_for_method(
        lambda method: finetune_config_class(method.name, suite), "finetune", preset,
        parts=parts, config_file=config_file, overrides=changes,
    )  # fmt: skip


def saved_config(record: RunRecord) -> FinetuneConfig:
    """The config of a run, also of one from before each suite had its own fields of `env`.

    Without those fields that a record must not decide; see `EnvConfig.of_record`.

    Raises:
        RunError: the record's config does not fit.
    """
    config_class = finetune_config_class(record.method, record.suite)
    unwanted = fields_of_other_suites(record.suite)
    env: Any = record.config.get("env", {})
    if isinstance(env, dict):
        own = _env_class(record.suite).of_record(env)
        env = {key: value for key, value in own.items() if key not in unwanted}
    return as_model(
        config_class,
        {**record.config, **_kinds_of_older_records(record, config_class), "env": env},
        f"the config in {RUN_FILE} does not fit {record.method}",
        error=RunError,
        fix="restore the file, or run the version of ipv-bench that wrote it",
    )


def _kinds_of_older_records(record: RunRecord, config_class: type[FinetuneConfig]) -> dict[str, Any]:
    """Encoder and decoder of a record from when there was one kind, which it did not name."""
    found = {}
    for name in ("encoder", "decoder"):
        section = record.config.get(name, {})
        if f"{name}.kind" in flatten_fields(config_class) and isinstance(section, dict) and "kind" not in section:
            found[name] = {**section, "kind": "residual"}
    return found


RESOURCE_KEYS = (
    "envs.workers", "envs.step_timeout_seconds", "training.checkpoint_minutes", "training.checkpoint_episodes",
    "training.keep_last", "training.stop_grace_seconds", "training.tensorboard", "training.wandb", "training.device",
    "training.threads", "training.cuda_graph", "training.deterministic",
)  # fmt: skip
"""Keys that may change when a run is continued, and that never change what is learned."""


def resource_keys(config: FinetuneConfig) -> tuple[str, ...]:
    """`RESOURCE_KEYS`, and those of the suite's own."""
    return (*RESOURCE_KEYS, *(f"env.{name}" for name in config.env.resource_fields))


def resumable_keys(config: FinetuneConfig, suite: str) -> tuple[str, ...]:
    """Keys that may differ when a run of a suite is continued: `resource_keys`, and fields of other suites, which
    older records have."""
    return (*resource_keys(config), *(f"env.{name}" for name in fields_of_other_suites(suite)))


def unnamed_keys(config: FinetuneConfig) -> tuple[str, ...]:
    """Keys that give a run no variant name."""
    return (*resource_keys(config), "training.log_every", "evaluation")
