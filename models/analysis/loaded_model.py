"""Models of an analysis: any checkpoint of any method that has a video model, ready to compute."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ipv_bench.analysis_record import AnalysedRun
from ipv_bench.bounded_json import as_model
from ipv_bench.checkpoint_index import checkpoint_sha256, find_checkpoint, run_of
from ipv_bench.config import flatten_fields, merge, nested
from ipv_bench.errors import ConfigError, InputError, RunError, UsageError
from ipv_bench.joined_sets import told_sets
from ipv_bench.run_record import RUN_FILE, RunRecord, read_record
from models.adapting.config import adapt_config_class
from models.finetuning.config import saved_config
from models.methods.base import adaptation_of, find_method
from models.pretraining.config import pretrain_config_class
from models.training.checkpoint import count_of, load_checkpoint, state_errors
from models.training.hardware import choose_device
from models.training.module_tensors import load_tensors
from models.world_models.config import MethodConfig
from models.world_models.weight_facts import HARMLESS_KEYS, check_own_weights

MAX_ACTION_DIM = 4096


@dataclass(frozen=True)
class AnalysedModel:
    """A model in evaluation mode, and where it comes from.

    Attributes:
        label: its name in pictures and tables, unlike every other of the analysis.
        line: its name without the seed: models of one line are seeds of one thing.
        run: run folder, as it was named.
        record: its `run.json`.
        step: of the checkpoint.
        checkpoint_sha256: stands for the whole checkpoint.
        config: resolved config, with the changes of `open_models`.
        model: a `models.methods.base.VideoModel`; what more it can is for the analysis to ask (`hasattr`).
        device: where it is.
    """

    label: str
    line: str
    run: str
    record: RunRecord
    step: int
    checkpoint_sha256: str
    config: MethodConfig
    model: Any
    device: torch.device

    @property
    def image_size(self) -> int:
        """Height and width of its frames."""
        return self.config.image.size

    def facts(self) -> AnalysedRun:
        """What the analysis's record keeps of it."""
        record = self.record
        return AnalysedRun(
            label=self.label, line=self.line, run=self.run, kind=record.kind, method=record.method,
            display_name=record.display_name, variant=record.variant, seed=record.seed, suite=record.suite,
            task=record.task, pretraining=record.pretraining, step=self.step, checkpoint_sha256=self.checkpoint_sha256,
        )  # fmt: skip


def has_states(model: Any) -> bool:
    """Whether a model has a recurrent state, which its method `features` gives for frames and draws.

    Some have a network of that name, Iso-Dream's agents a method for what they computed themselves.
    """
    found = getattr(model, "features", None)
    return callable(found) and not isinstance(found, nn.Module) and len(inspect.signature(found).parameters) > 1


def open_models(
    runs: Sequence[str | Path], device: torch.device, changes: Mapping[str, Any] | None = None
) -> list[AnalysedModel]:
    """Load the newest checkpoint of each run, or the checkpoint folders that are named.

    Args:
        runs: run folders or checkpoint folders, of `pretrain`, `adapt`, `finetune` or `import-checkpoint`.
        device: where they shall compute; always in fp32.
        changes: dotted config key → value, of `HARMLESS_KEYS` alone, for models that have such a key: the context frame
            (`{"context.frame": "last"}`), the token mask (`{"context.mask_at_eval": False}`).

    Raises:
        RunError: no run, or one that is still training.
        CheckpointError: no checkpoint yet, or a damaged one.
        InputError: a method without a video model.
        UsageError: the same checkpoint twice.
    """
    assert set(changes or {}) <= set(HARMLESS_KEYS)
    found = [_open(Path(run), device, changes or {}) for run in runs]
    twice = [sha for sha, count in Counter(model.checkpoint_sha256 for model in found).items() if count > 1]
    if twice:
        same = [model.run for model in found if model.checkpoint_sha256 == twice[0]]
        raise UsageError(
            f"one checkpoint is named {len(same)} times: {', '.join(same)}",
            expected="each model once",
            fix=f"leave out all but {same[0]}" if len(set(same)) > 1 else f"name {same[0]} once",
        )
    sizes = {model.image_size: model for model in found}
    if len(sizes) > 1:
        words = ", ".join(f"{model.run} takes {size}x{size}" for size, model in sorted(sizes.items()))
        raise InputError(
            f"the models take frames of different sizes: {words}",
            expected="one size in all of them",
            fix="analyse them one after the other",
        )
    return _labelled(found)


def _open(place: Path, device: torch.device, changes: Mapping[str, Any]) -> AnalysedModel:
    if not place.exists():
        raise RunError(
            f"{place} does not exist",
            expected="a run folder, or one of its checkpoint folders",
            fix=f"correct the path (it was looked for from {Path.cwd()})",
        )
    folder = run_of(place)
    record = read_record(folder)
    path = find_checkpoint(place)
    if record.status == "running" and folder == place:
        raise RunError(
            f"{place} is still training (or was killed): its newest checkpoint changes while it is looked at",
            expected="a run that has ended, or one checkpoint of it",
            fix=f"wait for it, let the same command go on with it, or name a checkpoint that stays: {path}",
        )
    checkpoint = load_checkpoint(path)
    check_own_weights(checkpoint.state, record.config, path)
    if record.kind == "pretrain":
        config, model = _video_model(record, checkpoint, changes)
    elif record.kind == "adapt":
        config, model = _adapted_model(record, checkpoint, changes, device)
    else:
        config, model = _agent_model(record, checkpoint, changes, device)
    model.to(device).eval()
    return AnalysedModel(
        "", "", str(place), record, checkpoint.step, checkpoint_sha256(path), config, model, device
    )  # fmt: skip


def _video_model(record: RunRecord, checkpoint: Any, changes: Mapping[str, Any]) -> tuple[MethodConfig, Any]:
    """The model of a pre-training run."""
    config = _saved_config(record, pretrain_config_class(record.method), changes)
    with torch.random.fork_rng(devices=[]):
        model = find_method(record.method).video_model(config)
    load_tensors(model, checkpoint.model, checkpoint.path)
    return config, model


def _adapted_model(
    record: RunRecord, checkpoint: Any, changes: Mapping[str, Any], device: torch.device
) -> tuple[MethodConfig, Any]:
    """The model of a run of `adapt`: that of an agent, inside what trains it without rewards."""
    config = _saved_config(record, adapt_config_class(record.method), changes)
    facts = (record.model_extra or {}).get("adaptation", {})
    with state_errors(checkpoint.path):
        dim, parts = count_of(facts["action_dim"]), str(facts["parts"])
        if dim > MAX_ACTION_DIM:
            raise ValueError(f"actions of {dim} components")
    model: Any = adaptation_of(find_method(record.method)).model(config, dim, record.seed, device, parts, None)
    load_tensors(model, checkpoint.model, checkpoint.path)
    if not dim:  # its parts were trained without actions: it is a model of videos still
        return config, getattr(model, "without_actions", lambda: model)()
    return config, getattr(model, "world_model", model)


def _saved_config(record: RunRecord, config_class: Any, changes: Mapping[str, Any]) -> MethodConfig:
    """The config of a run with some changes.

    Raises:
        RunError: it does not fit the method.
    """
    config: MethodConfig = as_model(
        config_class, _changed(record.config, config_class, changes),
        f"the config in {RUN_FILE} does not fit {record.method}", error=RunError,
        fix="restore the file, or run the version of ipv-bench that wrote it",
    )  # fmt: skip
    return config


def _agent_model(
    record: RunRecord, checkpoint: Any, changes: Mapping[str, Any], device: torch.device
) -> tuple[MethodConfig, Any]:
    """The world model of an agent."""
    config = saved_config(record)
    values = _changed(config.model_dump(), type(config), changes)
    values["training"] = {**values["training"], "precision": "fp32", "compile": False, "cuda_graph": False}
    config = type(config).model_validate(values)
    with state_errors(checkpoint.path):
        dim = count_of(checkpoint.state["agent"]["action_dim"])
        if not 1 <= dim <= MAX_ACTION_DIM:
            raise ValueError(f"actions of {dim} components")
    agent: Any = find_method(record.method).agent(config, dim, record.seed, device)
    agent.load(checkpoint)
    if not hasattr(agent, "video_model"):
        raise InputError(
            f"an agent of {record.method} has no model that predicts videos",
            expected="a pre-training run, or an agent with a world model that decodes frames",
            fix="leave it out, or name the pre-training run that it started from",
        )
    return config, agent.video_model()


def _changed(values: Mapping[str, Any], config_class: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    known = flatten_fields(config_class)
    for key, value in changes.items():
        if key in known:
            values = merge(values, nested(key, value))
    return dict(values)


def _labelled(models: Sequence[AnalysedModel]) -> list[AnalysedModel]:
    """Names as short as they can be: only what is needed to tell lines apart."""
    parts = [_parts(model) for model in models]
    shown = [0]
    for n in range(1, len(parts[0])):
        if len({tuple(part[m] for m in shown) for part in parts}) < len(set(parts)):
            shown.append(n)
    shown = [n for n in shown if n == 0 or len({part[n] for part in parts}) > 1]
    lines = [" · ".join(part[n] for n in shown if part[n]) for part in parts]
    named = []
    for model, line in zip(models, lines, strict=True):
        label = line if lines.count(line) == 1 else f"{line} · seed {model.record.seed}"
        named.append(_renamed(model, label, line))
    labels = Counter(model.label for model in named)
    return [_renamed(m, f"{m.label} · {m.run}", f"{m.line} · {m.run}") if labels[m.label] > 1 else m for m in named]


_TRAINED = {"pretrain": "pre-trained", "adapt": "adapted"}


def _parts(model: AnalysedModel) -> tuple[str, ...]:
    """What a line is, what tells most first."""
    record = model.record
    agent = f"agent on {record.suite}/{record.task}" if record.kind == "finetune" else _TRAINED[record.kind]
    kept = record.pretraining.get("num_videos")
    return (
        record.display_name or record.method,
        agent,
        told_sets(record.data_names),
        "" if kept is None else f"{kept} videos",
        f"step {model.step}",
        record.variant,
    )


def _renamed(model: AnalysedModel, label: str, line: str) -> AnalysedModel:
    return replace(model, label=label, line=line)


def choose_analysis_device(name: str) -> torch.device:
    """The device of an analysis; see `models.training.hardware.choose_device`, whose message is of another field.

    Raises:
        ConfigError: there is no such device here.
    """
    try:
        return choose_device(name)
    except ConfigError as error:
        raise ConfigError(
            error.found.replace("training.device", "device"), expected=error.expected, fix="use --set device=cpu"
        ) from None
