"""One complete command per run that a figure lacks: pre-training first, then fine-tuning.

Each line stands alone and names its run folder, so that the file fits `xargs -P` and SLURM arrays; running a line again
continues its run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ipv_bench.joined_sets import sets_folder
from ipv_bench.planned import Planned
from ipv_bench.run_record import RunRecord, variant_name
from reports.figures.selection import MissingRun
from reports.scores.score_table import PretrainedRun, ScoredRun

ASSEMBLED_UPDATES = 1_200_000
"""Pre-training updates of the paper for several data sets together (600,000 for one: the preset's value)."""

USUAL_DATA = "ssv2"
"""Data set of the pre-training that a run folder's name does not mention."""

_WORLD_MODEL = (
    "image.", "encoder.", "decoder.", "rssm.", "context.", "loss.", "latent_action.inputs", "latent_action.posterior",
)  # fmt: skip
"""Sections and fields that the pre-trained model shares with the agent."""
_OF_AGENTS = ("loss.discount_scale", "loss.action_free_kl_scale")
"""Fields in these sections that only an agent has a use for, and `pretrain` refuses."""

_NOT_CONFIG = {"method", "variant", "suite", "task", "seed", "preset", "kind", "label", "metric", "format", "status"}
_NO_SETTING = {*RunRecord.model_fields, "variant", "label", "metric", "format"} - {
    "method", "suite", "task", "seed", "preset", "kind", "status", "pretraining", "config",
}  # fmt: skip
"""What a `where` may name and no command can be told: first parts of dotted fields."""


@dataclass(frozen=True)
class MissingCommands:
    """The commands, in the order of the file.

    Attributes:
        pretraining: one line per world model that does not exist yet.
        finetuning: one line per agent; those of world models above can start when these are done.
        planned: reason → number of runs that have no command: their method or suite is not built yet, what their line
            asks for is no setting of a command, or another run lies where theirs would.
    """

    pretraining: tuple[str, ...]
    finetuning: tuple[str, ...]
    planned: Mapping[str, int] = field(default_factory=dict)

    def text(self) -> str:
        """Contents of the file: one command per line, nothing else."""
        return "".join(f"{line}\n" for line in (*self.pretraining, *self.finetuning))


def missing_commands(
    missing: Sequence[MissingRun],
    pretrained: Sequence[PretrainedRun],
    root: str = "runs",
    there: Sequence[ScoredRun] = (),
) -> MissingCommands:
    """The commands that make the missing runs.

    Args:
        missing: what the figures lack; a run that several figures lack gives one command.
        pretrained: pre-training runs that exist: finished ones are used and not made again.
        root: folder of the runs.
        there: runs that were read: no command is given for a folder that one of them keeps.
    """
    pretraining: dict[str, str] = {}
    finetuning: dict[str, None] = {}
    planned = Planned()
    skipped: dict[str, set[tuple[Any, ...]]] = {}
    models = {os.path.normpath(run.source): run.record for run in pretrained}
    agents = {os.path.normpath(run.source): {**run.record, "status": run.status} for run in there}
    for run in missing:
        where = {key.removeprefix("config."): _one(value) for key, value in run.where}
        method = str(where.get("method") or "")
        reason = _no_command(where) or planned.why(method, f"{run.suite}/{run.task}")
        init = "none" if where.get("pretraining.kind") == "none" else ""
        if not reason and where.get("pretraining.data"):
            folder, command = _pretraining(where, method, run.preset, root)
            existing = _existing(where, method, run.preset, folder, pretrained)
            init = existing or folder
            reason = "" if existing else _in_the_way(models, folder, run.preset)
            if not existing and not reason:
                pretraining.setdefault(folder, command)
        if not reason:
            folder, command = _finetuning(run, where, method, init, root)
            reason = _in_the_way(agents, folder, run.preset)
        if reason:
            skipped.setdefault(reason, set()).add((repr(run.where), run.suite, run.task, run.seed))
        else:
            finetuning[command] = None
    counts = {reason: len(runs) for reason, runs in skipped.items()}
    return MissingCommands(tuple(pretraining.values()), tuple(finetuning), counts)


def _no_command(where: Mapping[str, Any]) -> str:
    """Why no command makes runs with these values; empty where one does."""
    if not where.get("method"):
        return "their line names no method"
    odd = [key for key, value in where.items() if key.split(".")[0] in _NO_SETTING and value not in (None, "")]
    odd += ["pretraining.variant"] if where.get("pretraining.variant") else []
    if odd:
        return f"their line chooses by {odd[0]}, which is no setting: name the settings themselves"
    return ""


def _in_the_way(there: Mapping[str, Mapping[str, Any]], folder: str, preset: str) -> str:
    """Why a command that writes to `folder` would be refused, or do nothing; empty where it would not."""
    record = there.get(os.path.normpath(folder))
    if record is None:
        return ""
    made_by = record.get("preset")
    if made_by and made_by != preset:
        return f"their folders hold runs of the preset {made_by}, not {preset}: move those, or write to other folders"
    if record.get("status") == "finished":
        return "their folders hold finished runs that are not used: see the findings"
    return ""


def _one(value: Any) -> Any:
    return value["any"][0] if isinstance(value, Mapping) else value


def _pretraining(where: Mapping[str, Any], method: str, preset: str, root: str) -> tuple[str, str]:
    data = [str(name) for name in where["pretraining.data"]]
    overrides: dict[str, Any] = {"method": method}
    shared = {key: value for key, value in where.items() if key not in _OF_AGENTS}
    overrides |= {key: value for key, value in shared.items() if key.startswith(_WORLD_MODEL)}
    if where.get("pretraining.num_videos"):
        overrides["data.num_videos"] = where["pretraining.num_videos"]
    if where.get("pretraining.updates"):
        overrides["training.updates"] = where["pretraining.updates"]
    elif preset == "paper" and len(data) > 1:
        overrides["training.updates"] = ASSEMBLED_UPDATES
    variant = variant_name({key: value for key, value in overrides.items() if key != "method"})
    folder = f"{root}/pretrain/{sets_folder(data)}/{method}{'@' + variant if variant else ''}/seed0"
    words = ["ipv-bench", "pretrain", "--preset", preset, *_set(overrides)]
    for name in data:
        words += ["--data", f"data/shards/{name}"]
    return folder, shlex.join([*words, "--seed", "0", "--run", folder])


def _finetuning(run: MissingRun, where: Mapping[str, Any], method: str, init: str, root: str) -> tuple[str, str]:
    """Folder and command of an agent."""
    changed = {
        key: value for key, value in where.items() if key not in _NOT_CONFIG and not key.startswith("pretraining.")
    }
    # Runs that differ in their pre-training only would share a folder; `finetune` names it in the same way.
    origin = init if init == "none" else sets_folder(map(str, where.get("pretraining.data") or []))
    number = where.get("pretraining.num_videos")
    updates = where.get("pretraining.updates")
    trained = [*([str(number)] if number else []), *([f"training.updates={updates}"] if updates else [])]
    source = f"init={'-'.join([origin, *trained])}" if trained or origin not in ("", USUAL_DATA) else ""
    variant = ",".join(part for part in (variant_name(changed), source) if part)
    folder = f"{root}/{run.suite}/{run.task}/{method}{'@' + variant if variant else ''}/seed{run.seed}"
    words = ["ipv-bench", "finetune", "--preset", run.preset, "--task", f"{run.suite}/{run.task}"]
    words += _set({"method": method, **changed})
    if init:
        words += ["--init", init]
    return folder, shlex.join([*words, "--seed", str(run.seed), "--run", folder])


def _set(overrides: Mapping[str, Any]) -> list[str]:
    words = []
    for key, value in overrides.items():
        plain_word = isinstance(value, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.+-]*", value)
        words += ["--set", f"{key}={value if plain_word else json.dumps(value)}"]
    return words


def _existing(
    where: Mapping[str, Any], method: str, preset: str, folder: str, pretrained: Sequence[PretrainedRun]
) -> str | None:
    """Folder of a finished pre-training run of the kind that would be made in `folder`."""
    for run in pretrained:
        made = run.record.get("pretraining") or {}
        same = (
            run.record.get("kind", "pretrain") == "pretrain"
            and run.record.get("method") == method
            and run.record.get("preset") in (None, "", preset)
            and sorted(made.get("data") or []) == sorted(where["pretraining.data"])
            and (made.get("num_videos") or None) == (where.get("pretraining.num_videos") or None)
            and where.get("pretraining.updates") in (None, made.get("updates"))
            and _model_variant(str(run.record.get("variant") or "")) == _model_variant(_variant_of(folder))
        )
        if same and run.record.get("status") == "finished":
            return run.source
    return None


def _variant_of(folder: str) -> str:
    return folder.split("/")[-2].partition("@")[2]


def _model_variant(variant: str) -> tuple[str, ...]:
    """The parts of a variant that say what the model is, not how long it was trained on what."""
    return tuple(part for part in variant.split(",") if part and not part.startswith(("training.", "data.")))
