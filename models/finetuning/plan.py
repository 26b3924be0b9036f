"""What a fine-tuning run will be: resolved config, where it starts from, its record and its folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipv_bench.checkpoint_index import checkpoint_sha256, find_checkpoint
from ipv_bench.config import Resolved
from ipv_bench.errors import RunError, UsageError
from ipv_bench.file_names import folder_name, shown
from ipv_bench.joined_sets import sets_folder
from ipv_bench.progress import say, say_aside
from ipv_bench.run_record import RUN_FILE, RunRecord, package_versions, read_record, run_folder
from models.envs.registry import known_time_limit, suite_of
from models.finetuning.config import FinetuneConfig, resolve_finetuning, resumable_keys, unnamed_keys
from models.finetuning.episode_limits import refuse_longer_windows
from models.finetuning.paper_table import own_release, table_2, table_2_text
from models.methods.base import find_method
from models.methods.released_settings import departures
from models.training.begun_run import has_begun
from models.training.checkpoint import read_state
from models.world_models.config import variant
from models.world_models.parent_weights import check_parent, refuse_unused, tell_unfinished, told_of_the_start
from models.world_models.unread_settings import refuse_unread

PACKAGES = ("ipv-bench", "torch", "numpy", "mujoco", "dm-control", "metaworld", "gymnasium", "carla")
NO_INIT, DEFAULT_DATA = "none", "ssv2"
LATER = "later"
"""In place of a model that is still to be made, for plans alone."""


@dataclass(frozen=True)
class FinetunePlan:
    """A run before it starts.

    Attributes:
        task: `<suite>/<task>`.
        resolved: config, preset and overrides.
        init: checkpoint folder that the model starts from; None: random weights.
        record: what `run.json` will hold; the environment's fingerprint and the hardware are filled in at the start.
        folder: the run folder.
    """

    task: str
    resolved: Resolved[FinetuneConfig]
    init: Path | None
    record: RunRecord
    folder: Path

    @property
    def config(self) -> FinetuneConfig:
        """The typed config."""
        return self.resolved.config

    def describe(self) -> str:
        """The plan as JSON, for `--dry-run`."""
        shown = {
            "run": str(self.folder),
            "task": self.task,
            "pretraining": find_method(self.config.method).pretraining,
            "variant": variant(self.resolved, unnamed_keys(self.config)),
            "init": str(self.init) if self.init else NO_INIT,
            "overrides": self.resolved.overrides,
            "not_as_released": {
                key: {"released": setting.value, "here": ours, "source": setting.source, "why": setting.why}
                for key, ours, setting in departures(self.config, *self.task.split("/", 1))
            },
            "table_2": self.table_2,
            "may_change": resumable_keys(self.config, self.record.suite),
            "as_pretrained": told_of_the_start(self.config),
            "config": self.config.model_dump(mode="json"),
        }
        return json.dumps(shown, indent=2)

    @property
    def table_2(self) -> list[dict[str, Any]]:
        """The paper's hyper-parameters beside ours; empty where it has none for the suite or the method."""
        return table_2(self.config, *self.task.split("/", 1))

    def describe_table(self) -> str:
        """`table_2` as text."""
        return table_2_text(self.table_2, self.task.partition("/")[0], own_release(self.config.method))


def plan_finetuning(
    preset: str,
    task: str,
    *,
    config_file: str | Path | None = None,
    overrides: Mapping[str, Any] | Iterable[str] = (),
    init: str | Path | None = None,
    run: str | Path | None = None,
    seed: int = 0,
    root: str | Path = "runs",
) -> FinetunePlan:
    """Resolve everything that a run needs; nothing is written.

    Args:
        preset: name of the fine-tuning preset; a preset by suite takes the file of the task or of its suite.
        task: `<suite>/<task>`.
        config_file: YAML over the preset.
        overrides: dotted key → value over both.
        init: pre-training run folder, checkpoint folder, "none", or "later" for a model that is still to be made (for
            plans: `finetune` refuses it); None: the default place of that method's run.
        run: run folder; None: below `root` by suite, task, method, variant and seed.
        seed: seed of the run.
        root: where runs are kept.

    Raises:
        UnknownNameError: unknown preset or task.
        ConfigError: unknown key or wrong value, one that would not be used, or windows that no episode holds.
        UsageError: `--init` is needed, or given to a method that starts from nothing.
        CheckpointError: `init` holds no checkpoint.
    """
    suite = suite_of(task).name
    short = task.partition("/")[2]
    resolved = resolve_finetuning(
        preset, suite, parts=(f"{suite}-{short}", suite), config_file=config_file, overrides=overrides
    )
    config, later = resolved.config, str(init) == LATER
    if later:
        init = NO_INIT
    folder = Path(run) if run else None
    record = RunRecord(
        kind="finetune",
        method=config.method,
        display_name=find_method(config.method).display_name,
        variant=_variant(resolved, init),
        seed=seed,
        suite=suite,
        task=short,
        preset=preset,
        overrides=resolved.overrides,
        config=config.model_dump(mode="json"),
        packages=package_versions(PACKAGES),
    )
    _refuse_needless_init(config, init)
    folder = folder or run_folder(root, record)
    if has_begun(folder):
        # The run that exists says where it started from: its parent may have been moved or deleted since.
        return FinetunePlan(task, resolved, _known_parent(folder, init), record, folder)
    refuse_unread(resolved.overrides, config.unread())
    limit = known_time_limit(task, config.env)
    if limit is not None:
        refuse_longer_windows(config, task, limit)
    checkpoint = _find_init(config, init, seed, Path(root))
    if later:
        return FinetunePlan(task, resolved, None, record, folder)
    refuse_unused(resolved.overrides, checkpoint)
    if checkpoint is None:
        why = "it says what the pre-trained model is, and the run starts from random weights"
        refuse_unread(resolved.overrides, dict.fromkeys(config.of_pretrained(), why))
    tell_unfinished(checkpoint)
    if checkpoint is not None:
        check_parent(
            checkpoint, read_state(checkpoint), config,
            fix="use the preset and --set values that the model was trained with (its run.json has them), or name the "
            "keys that may differ: --set 'init_allow=[...]'",
        )  # fmt: skip
    elif config.needs_pretrained():
        raise UsageError(
            f"{config.needs_pretrained()} learns from a pre-trained model, and the run starts from none",
            expected="--init with a pre-training run or checkpoint folder",
            fix=f"name one with --init, or leave {config.needs_pretrained().partition('=')[0]} out",
        )
    record = record.model_copy(update=_origin(checkpoint))
    return FinetunePlan(task, resolved, checkpoint, record, folder)


def show_plan(preset: str, task: str, **options: Any) -> None:
    """Print what `finetune` with the same arguments would do; nothing is written, and torch is not imported.

    Args:
        preset, task, options: as in `plan_finetuning`.

    Raises:
        IpvBenchError: see `plan_finetuning`.
    """
    plan = plan_finetuning(preset, task, **options)
    say(plan.describe())
    table = plan.describe_table()
    if table:
        say_aside(table)  # stdout is JSON for programs


def _variant(resolved: Resolved[FinetuneConfig], init: str | Path | None) -> str:
    """Overrides that change the method, and what `--init` names where it is not a model of the default data set."""
    name = variant(resolved, unnamed_keys(resolved.config))
    origin = ""
    if init is not None and _starts_from_videos(resolved.config):
        origin = NO_INIT if str(init) == NO_INIT else _data_sets(Path(init))
    return ",".join(part for part in (name, f"init={origin}" if origin not in ("", DEFAULT_DATA) else "") if part)


def _starts_from_videos(config: FinetuneConfig) -> bool:
    return find_method(config.method).pretraining != "none"


def _data_sets(init: Path) -> str:
    """Data sets that the model in `init` was pre-trained on, joined by +, and the number of videos where it was not
    all of them; empty where it does not say."""
    folder = find_checkpoint(init).parent.parent
    if not (folder / RUN_FILE).is_file():
        return ""
    where = f"{folder / RUN_FILE}: pretraining.data"
    record = read_record(folder)
    if record.kind == "finetune":
        return "-".join(folder_name(name, str(folder / RUN_FILE), RunError) for name in (record.suite, record.task))
    number = record.pretraining.get("num_videos")
    names = sets_folder(folder_name(name, where, RunError) for name in record.data_names)
    return f"{names}-{number}" if names and isinstance(number, int) else names


def _known_parent(folder: Path, init: str | Path | None) -> Path | None:
    parent = read_record(folder).parent.get("checkpoint")
    if not isinstance(parent, str | None):
        raise RunError(
            f"{folder / RUN_FILE}: parent.checkpoint is {shown(parent)}",
            expected="the path of a checkpoint",
            fix="restore the run's own run.json, or choose another folder with --run",
        )
    known = Path(parent) if parent else None
    if init is None:
        return known
    wanted = None if str(init) == NO_INIT else Path(init)
    same = (known is None) == (wanted is None)
    if same and known is not None and wanted is not None and wanted.exists():
        same = checkpoint_sha256(find_checkpoint(wanted)) == read_record(folder).parent.get("checkpoint_sha256")
    if not same:
        raise RunError(
            f"{folder} started from {known or NO_INIT}",
            expected=f"the same start, not --init {init}",
            fix="leave --init out to go on, or choose another folder with --run",
        )
    return known


def _refuse_needless_init(config: FinetuneConfig, init: str | Path | None) -> None:
    if init is not None and str(init) != NO_INIT and not _starts_from_videos(config):
        raise UsageError(
            f"{config.method} learns without pre-training, and --init names {init}",
            expected="--init none, or no --init",
            fix="leave --init out, or choose a method that is pre-trained (--set method=...)",
        )


def _find_init(config: FinetuneConfig, init: str | Path | None, seed: int, root: Path) -> Path | None:
    if init is not None and str(init) != NO_INIT:
        checkpoint = find_checkpoint(init)
        _refuse_adapted(checkpoint, init)
        return checkpoint
    if init is not None or not _starts_from_videos(config):
        return None
    base = root / "pretrain" / DEFAULT_DATA / config.method
    for candidate in dict.fromkeys((base / f"seed{seed}", base / "seed0")):
        if candidate.is_dir():
            return find_checkpoint(candidate)
    raise UsageError(
        f"no pre-trained {config.method} model in {base}",
        expected="--init with a pre-training run or checkpoint folder",
        fix=f"make one with `ipv-bench pretrain --set method={config.method}`, or use --init none for random weights",
    )


def _refuse_adapted(checkpoint: Path, init: str | Path) -> None:
    """An agent takes what videos alone taught; what `adapt` trained, the part under actions, would be left behind."""
    folder = checkpoint.parent.parent
    if not (folder / RUN_FILE).is_file():
        return
    record = read_record(folder)
    if record.kind == "adapt":
        parent = record.parent.get("run")
        raise UsageError(
            f"{init} is a model that `ipv-bench adapt` trained under actions, and an agent takes over no such part",
            expected="a pre-training run, or an agent's",
            fix=f"start from the run that it was adapted from: --init {shown(parent)}" if isinstance(parent, str)
            else "leave --init out, or use --init none for random weights",
        )  # fmt: skip


def _origin(checkpoint: Path | None) -> dict[str, Any]:
    """`pretraining` (with the model's variant), `parent` and `shard_sets` of a run that starts from `checkpoint`."""
    if checkpoint is None:
        return {"pretraining": {"kind": NO_INIT}}
    parent: dict[str, Any] = {"checkpoint": str(checkpoint), "checkpoint_sha256": checkpoint_sha256(checkpoint)}
    folder = checkpoint.parent.parent
    if not (folder / RUN_FILE).is_file():
        return {"pretraining": {"kind": "unknown"}, "parent": parent}
    before = read_record(folder)
    step = int(checkpoint.name) if checkpoint.name.isdigit() else None
    pretraining = {**before.pretraining, "updates": step, "variant": before.variant}
    if before.kind == "finetune":  # its model also saw a task: never to be pooled with runs that start from videos
        pretraining |= {"kind": "finetuned", "updates": None, "task": f"{before.suite}/{before.task}", "steps": step}
    return {
        "pretraining": pretraining,
        "parent": {"run": str(folder), **parent},
        "shard_sets": before.shard_sets,
    }
