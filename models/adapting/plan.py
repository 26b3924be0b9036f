"""What an adapting run will be: where it starts from, its resolved config, its record and folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipv_bench.bounded_json import as_model
from ipv_bench.checkpoint_index import checkpoint_sha256, find_checkpoint, latest_checkpoint, run_of
from ipv_bench.config import Resolved, parse_overrides
from ipv_bench.errors import CheckpointError, ConfigError, InputError, RunError, UnknownNameError, UsageError
from ipv_bench.file_names import folder_name
from ipv_bench.joined_sets import sets_folder
from ipv_bench.progress import say_aside
from ipv_bench.run_record import RUN_FILE, RunRecord, package_versions, read_record, run_folder
from models.adapting.config import AdaptConfig, resolve_adapting
from models.finetuning.config import resolve_finetuning
from models.methods.base import adaptation_of, find_method, held_by, unused_by
from models.pretraining.config import RESOURCE_KEYS, resolve_pretraining
from models.pretraining.plan import PACKAGES
from models.training.begun_run import has_begun
from models.training.checkpoint import count_of
from models.world_models.config import MethodConfig, variant
from models.world_models.parent_weights import refuse_unused, tell_unfinished
from models.world_models.unread_settings import refuse_unread

NO_RUN, DEFAULT_PRESET = "none", "tiny"
KINDS = ("pretrain", "adapt")
OF_THE_PARENT = {
    "kind", "method", "variant", "seed", "preset", "config", "pretraining", "shard_sets", "parent", "start",
    "adaptation",
}  # fmt: skip
"""Fields of the parent's record that an adapted run's record keeps."""


@dataclass(frozen=True)
class Start:
    """Where a run starts from.

    Attributes:
        record: of the parent; None for `none`.
        checkpoint: folder whose weights are taken over; None: random weights.
        config: nested, as in `run.json`.
        method, preset: of the parent.
        parent: what the begun run says of it, where it is not there any more as it was; None: it is read.
    """

    record: RunRecord | None
    checkpoint: Path | None
    config: Mapping[str, Any]
    method: str
    preset: str
    parent: Mapping[str, Any] | None = None

    @property
    def adapted(self) -> bool:
        """Whether the parent is an adapted model, taken over whole."""
        return self.record is not None and self.record.kind == "adapt"

    @property
    def weights(self) -> str:
        """ "pretrained", "adapted" or "random"."""
        if self.checkpoint is None:
            return "random"
        return "adapted" if self.adapted else "pretrained"

    @property
    def action_dim(self) -> int | None:
        """A of an adapted parent whose training had actions; None where its weights are not taken over."""
        if self.checkpoint is None:
            return None
        facts = self._adaptation
        try:
            return count_of(facts.get("action_dim", 0)) or None
        except (ValueError, AttributeError):
            raise RunError(
                f"{RUN_FILE} of the run to start from says {facts!r} of its actions"[:300],
                expected="action_dim, a whole number",
                fix=f"restore that run's own {RUN_FILE}, or start from another run",
            ) from None

    def absent(self, config: AdaptConfig) -> tuple[str, ...]:
        """Config keys, or sections of them, of parts that an adapted parent does not have: its training did without."""
        facts = self._adaptation
        trained = facts.get("parts") if isinstance(facts, Mapping) else None
        adaptation = adaptation_of(find_method(self.method))
        if not isinstance(trained, str) or trained not in adaptation.parts:
            return ()
        return tuple(unused_by(adaptation, config, trained))

    @property
    def _adaptation(self) -> Any:
        return (self.record.model_extra or {}).get("adaptation", {}) if self.adapted and self.record else {}


@dataclass(frozen=True)
class AdaptPlan:
    """A run before it starts.

    Attributes:
        start: where it starts from.
        resolved: config, preset and overrides.
        parts: what is trained.
        seed: of the run.
        run: folder asked for; None: by data sets, method, variant and seed.
        root: where runs are kept.
    """

    start: Start
    resolved: Resolved[AdaptConfig]
    parts: str
    seed: int
    run: Path | None
    root: Path = Path("runs")

    @property
    def config(self) -> AdaptConfig:
        """The typed config."""
        return self.resolved.config

    def record(self, shard_sets: list[dict[str, Any]], action_dim: int) -> RunRecord:
        """What `run.json` will hold, given the shard sets' records and the size of an action."""
        config, start = self.config, self.start
        before = start.record.pretraining if start.record is not None and start.checkpoint is not None else {}
        return RunRecord.model_validate({
            "kind": "adapt",
            "method": config.method,
            "display_name": find_method(config.method).display_name,
            "variant": self._variant(),
            "seed": self.seed,
            "preset": start.preset,
            "overrides": self.resolved.overrides,
            "config": config.model_dump(mode="json"),
            "pretraining": before or {"kind": "none"},
            "shard_sets": shard_sets,
            "parent": self._parent(),
            "start": self._said_of_the_start(),
            "packages": package_versions(PACKAGES),
            "adaptation": {
                "data": [entry["name"] for entry in shard_sets],
                "parts": self.parts,
                "num_sequences": config.num_sequences,
                "num_segments": config.num_segments,
                "updates": config.training.updates,
                "action_dim": action_dim,
            },
        })  # fmt: skip

    def folder(self, record: RunRecord) -> Path:
        """The run folder."""
        return self.run or run_folder(self.root, record)

    def describe(self) -> str:
        """The plan as text, for `--dry-run`."""
        shown = {
            "method": self.config.method,
            "parts": self.parts,
            "start": str(self.start.checkpoint) if self.start.checkpoint else "random weights",
            "variant": self._variant(),
            "run": str(self.run) if self.run else f"{self.root}/adapt/<data sets>/<method>@<variant>/seed{self.seed}",
            "seed": self.seed,
            "overrides": self.resolved.overrides,
            "config": self.config.model_dump(mode="json"),
        }
        return json.dumps(shown, indent=2)

    def _variant(self) -> str:
        """Overrides that change what is learned, and the data that the parent was pre-trained on."""
        start, origin = self.start, ""
        if start.record is not None and start.checkpoint is not None:
            names = [folder_name(name, f"{RUN_FILE}: pretraining.data", RunError) for name in start.record.data_names]
            origin = "init=" + sets_folder(names) if names else ""
        return ",".join(part for part in (variant(self.resolved, RESOURCE_KEYS), origin) if part)

    def _parent(self) -> dict[str, Any]:
        checkpoint = self.start.checkpoint
        if checkpoint is None:
            return {}
        if self.start.parent is not None:
            return dict(self.start.parent)
        return {
            "run": str(run_of(checkpoint)),
            "checkpoint": str(checkpoint),
            "checkpoint_sha256": checkpoint_sha256(checkpoint),
        }

    def _said_of_the_start(self) -> dict[str, Any]:
        """Of the parent's record what a run needs to go on by itself: its parent may be deleted meanwhile, or go on."""
        record = self.start.record if self.start.checkpoint is not None else None
        return {} if record is None else record.model_dump(mode="json", include=OF_THE_PARENT)


def plan_adapting(
    parent: str | Path,
    *,
    data: Iterable[str | Path] = (),
    overrides: Mapping[str, Any] | Iterable[str] = (),
    run: str | Path | None = None,
    seed: int = 0,
    root: str | Path = "runs",
) -> AdaptPlan:
    """Resolve everything that a run needs; nothing is written.

    Args:
        parent: a pre-training run, an adapted one, a checkpoint of either, or "none" for random weights.
        data: labelled shard sets.
        overrides: `key=value` texts, or dotted key → value.
        run: run folder; None: the default place.
        seed: of the run.
        root: where runs are kept.

    Raises:
        UsageError: no data set is named, or the method cannot be adapted, or there is no pre-trained model and the
            config needs one, or `parts` would leave random weights as they are.
        InputError: `parent` is another kind of run.
        UnknownNameError: the method trains no such parts.
        ConfigError: unknown key or wrong value, or one that would not be used.
        RunError, CheckpointError: `parent` is no run, or has no checkpoint.
    """
    changes = parse_overrides(overrides)
    sets = [str(place) for place in data]
    if sets:
        changes["data.sets"] = sets
    if not changes.get("data.sets"):
        raise UsageError(
            "no labelled shard set is named",
            expected="--data SHARDS, with actions",
            fix="make one: `ipv-bench record SUITE/TASK`, then `ipv-bench prepare episodes`",
        )
    start = known_start(parent, None if run is None else Path(run)) or _start(parent, changes)
    changes.pop("method", None)
    adaptation = adaptation_of(find_method(start.method))
    known = adaptation.parts
    default = next(iter(known))
    if changes.get("parts") == default:
        del changes["parts"]  # spelled out or not, it is one run
    resolved = resolve_adapting(
        start.method, start.config, start.preset, changes, starts_from=start.weights
    )  # fmt: skip
    parts = resolved.config.parts or default
    if parts not in known:
        raise UnknownNameError(f"part of {start.method} to train", parts, known)
    if resolved.config.weights == "random":
        start = Start(start.record, None, start.config, start.method, start.preset)
    refuse_unused(resolved.overrides, start.checkpoint, whole=start.adapted)
    if run is None or not has_begun(Path(run)):
        config = resolved.config
        refuse_unread(resolved.overrides, {**config.unread(), **unused_by(adaptation, config, parts)})
    _refuse_random_start(start, resolved.config, parts)
    _tell_waiting(resolved.config)
    tell_unfinished(start.checkpoint)
    return AdaptPlan(start, resolved, parts, seed, Path(run) if run else None, Path(root))


def _refuse_random_start(start: Start, config: AdaptConfig, parts: str) -> None:
    if start.checkpoint is not None:
        return
    adaptation = adaptation_of(find_method(start.method))
    held = held_by(adaptation, parts)
    if held:
        others = [name for name in adaptation.parts if not held_by(adaptation, name)]
        raise UsageError(
            f"parts={parts} leaves {held} as they came, and the run starts from random weights",
            expected="a pre-trained model, or parts that train all of it",
            fix=f"name a run that was trained, or set parts={' or '.join(others)} first",
        )
    needed = config.needs_pretrained()
    if needed:
        raise UsageError(
            f"{needed} learns from a pre-trained model, and the run starts from random weights",
            expected="a pre-training run or checkpoint folder",
            fix=f"start from such a run, or leave {needed.partition('=')[0]} out",
        )


def _tell_waiting(config: AdaptConfig) -> None:
    waits, updates = config.training.encoder_frozen_updates, config.training.updates
    if 0 < updates <= waits:
        say_aside(
            f"warning: all {updates} updates lie before training.encoder_frozen_updates={waits}: what waits until then "
            "(of PreLAR the image encoder and the RSSM) learns nothing in this run. Set "
            "training.encoder_frozen_updates=0, or more updates"
        )


def _of_a_preset(method: str, preset: str) -> MethodConfig:
    """The config of the model that a preset makes: the agent's, or of a method without one that of its pre-training."""
    found = find_method(method)
    adaptation_of(found)
    name, _, part = preset.partition("/")
    if found.agent_config is None:
        if part:
            raise ConfigError(
                f"preset is {preset}, and {method} has no agent whose preset has a task",
                expected="a preset of its pre-training",
                fix=f"set preset={name}",
            )
        return resolve_pretraining(name, overrides={"method": method}).config
    return resolve_finetuning(name, parts=(part,) if part else (), overrides={"method": method}).config


def known_start(parent: str | Path, folder: Path | None) -> Start | None:
    """The start that a begun run knows itself, where the named parent is gone, or has other checkpoints by now.

    Args:
        parent: as the user names it.
        folder: of the run; None: the default place, which only the parent's record tells.

    Returns:
        None: there is no such run, or it has no checkpoint yet, or the parent is as it was, or another one is named.
    """
    if folder is None or not has_begun(folder) or latest_checkpoint(folder) is None:
        return None
    previous = read_record(folder)
    known, said = previous.parent, (previous.model_extra or {}).get("start")
    if previous.kind != "adapt" or not known.get("checkpoint") or not isinstance(said, Mapping):
        return None
    named = os.path.abspath(parent)
    if named not in {os.path.abspath(str(known.get(key))) for key in ("run", "checkpoint")}:
        return None
    try:
        if checkpoint_sha256(find_checkpoint(parent)) == known.get("checkpoint_sha256"):
            return None
    except CheckpointError:
        pass
    say_aside(
        f"{known['checkpoint']}, which {folder} started from, is not there any more, or not the newest one: the run "
        "goes on from its own checkpoint"
    )
    where = f"{folder / RUN_FILE}: start"
    record = as_model(RunRecord, said, where, error=RunError, fix="restore the run's own run.json")
    return Start(record, Path(str(known["checkpoint"])), record.config, record.method, record.preset, known)


def _start(parent: str | Path, changes: Mapping[str, Any]) -> Start:
    if str(parent) == NO_RUN:
        method, preset = changes.get("method"), str(changes.get("preset") or DEFAULT_PRESET)
        if method is None:
            raise UsageError(
                "`adapt none` does not say which model",
                expected="--set method=NAME",
                fix="name a method, or a run in place of `none`",
            )
        if changes.get("weights") == "pretrained":
            raise UsageError(
                "weights=pretrained is set, and `adapt none` starts from random ones",
                expected="a run to take weights from, or weights=random",
                fix="name the run in place of `none`, or leave --set weights out",
            )
        config = _of_a_preset(str(method), preset).model_dump(mode="json")
        return Start(None, None, config, str(method), preset)
    record = read_record(run_of(parent))
    if record.kind not in KINDS:
        raise InputError(
            f"{parent} is a run of kind {record.kind!r}",
            expected="a run of `ipv-bench pretrain` or `ipv-bench adapt`, or `none` for random weights",
            fix="name such a run, for instance the one that this started from",
        )
    if "preset" in changes and changes["preset"] != record.preset:
        raise ConfigError(
            f"preset is {changes['preset']}, and the model is that of {parent} (preset {record.preset})",
            expected="no preset: it says which model `adapt none` makes",
            fix="leave --set preset out; training.updates and the other settings are set by name",
        )
    if changes.get("method") not in (None, record.method):
        raise UsageError(
            f"{parent} is of the method {record.method}, and --set method={changes['method']} names another",
            expected="no method, or that one",
            fix="leave --set method out; for another method start from a run of it",
        )
    adaptation_of(find_method(record.method))
    return Start(record, find_checkpoint(parent), record.config, record.method, record.preset)
