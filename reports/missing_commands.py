"""One complete command per run that a figure lacks: pre-training first, then fine-tuning.

Each line stands alone and names its run folder, so that the file fits `xargs -P` and SLURM arrays; running a line again
continues its run.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ipv_bench.planned import Planned
from ipv_bench.run_record import variant_name
from reports.figures.selection import MissingRun
from reports.scores.score_table import PretrainedRun

ASSEMBLED_UPDATES = 1_200_000
"""Pre-training updates of the paper for several data sets together (600,000 for one: the preset's value)."""

USUAL_DATA = "ssv2"
"""Data set of the pre-training that a run folder's name does not mention."""

_WORLD_MODEL = (
    "image.", "encoder.", "decoder.", "rssm.", "context.", "loss.", "latent_action.inputs", "latent_action.posterior",
)  # fmt: skip
"""Sections and fields that the pre-trained model shares with the agent."""

_NOT_CONFIG = {"method", "variant", "suite", "task", "seed", "preset", "kind", "label", "metric", "format", "status"}


@dataclass(frozen=True)
class MissingCommands:
    """The commands, in the order of the file.

    Attributes:
        pretraining: one line per world model that does not exist yet.
        finetuning: one line per agent; those of world models above can start when these are done.
        planned: reason → number of runs that have no command, because their method or suite is not built yet.
    """

    pretraining: tuple[str, ...]
    finetuning: tuple[str, ...]
    planned: Mapping[str, int] = field(default_factory=dict)

    def text(self) -> str:
        """Contents of the file: one command per line, nothing else."""
        return "".join(f"{line}\n" for line in (*self.pretraining, *self.finetuning))


def missing_commands(
    missing: Sequence[MissingRun], pretrained: Sequence[PretrainedRun], root: str = "runs"
) -> MissingCommands:
    """The commands that make the missing runs.

    Args:
        missing: what the figures lack; a run that several figures lack gives one command.
        pretrained: pre-training runs that exist: they are used and not made again.
        root: folder of the runs.
    """
    pretraining: dict[str, str] = {}
    finetuning: dict[str, None] = {}
    planned = Planned()
    skipped: dict[str, set[tuple[Any, ...]]] = {}
    for run in missing:
        where = {key: _one(value) for key, value in run.where}
        if "method" not in where:
            continue  # the line is not one method's: no command makes its runs
        method = str(where["method"])
        reason = planned.why(method, f"{run.suite}/{run.task}")
        if reason:
            skipped.setdefault(reason, set()).add((repr(run.where), run.suite, run.task, run.seed))
            continue
        init = "none" if where.get("pretraining.kind") == "none" else ""
        if where.get("pretraining.data"):
            folder, command = _pretraining(where, method, run.preset, root)
            existing = _existing(where, method, folder, pretrained)
            init = existing or folder
            if not existing:
                pretraining.setdefault(folder, command)
        finetuning[_finetuning(run, where, method, init, root)] = None
    counts = {reason: len(runs) for reason, runs in skipped.items()}
    return MissingCommands(tuple(pretraining.values()), tuple(finetuning), counts)


def _one(value: Any) -> Any:
    return value["any"][0] if isinstance(value, Mapping) else value


def _pretraining(where: Mapping[str, Any], method: str, preset: str, root: str) -> tuple[str, str]:
    data = [str(name) for name in where["pretraining.data"]]
    overrides: dict[str, Any] = {"method": method}
    overrides |= {key: value for key, value in where.items() if key.startswith(_WORLD_MODEL)}
    if where.get("pretraining.num_videos"):
        overrides["data.num_videos"] = where["pretraining.num_videos"]
    if where.get("pretraining.updates"):
        overrides["training.updates"] = where["pretraining.updates"]
    elif preset == "paper" and len(data) > 1:
        overrides["training.updates"] = ASSEMBLED_UPDATES
    variant = variant_name({key: value for key, value in overrides.items() if key != "method"})
    folder = f"{root}/pretrain/{'+'.join(data)}/{method}{'@' + variant if variant else ''}/seed0"
    words = ["ipv-bench", "pretrain", "--preset", preset, *_set(overrides)]
    for name in data:
        words += ["--data", f"data/shards/{name}"]
    return folder, shlex.join([*words, "--seed", "0", "--run", folder])


def _finetuning(run: MissingRun, where: Mapping[str, Any], method: str, init: str, root: str) -> str:
    changed = {
        key: value for key, value in where.items() if key not in _NOT_CONFIG and not key.startswith("pretraining.")
    }
    # Runs that differ in their pre-training only would share a folder; `finetune` names it in the same way.
    origin = init if init == "none" else "+".join(map(str, where.get("pretraining.data") or []))
    number = where.get("pretraining.num_videos")
    source = f"init={origin}{f'-{number}' if number else ''}" if number or origin not in ("", USUAL_DATA) else ""
    variant = ",".join(part for part in (variant_name(changed), source) if part)
    folder = f"{root}/{run.suite}/{run.task}/{method}{'@' + variant if variant else ''}/seed{run.seed}"
    words = ["ipv-bench", "finetune", "--preset", run.preset, "--task", f"{run.suite}/{run.task}"]
    words += _set({"method": method, **changed})
    if init:
        words += ["--init", init]
    return shlex.join([*words, "--seed", str(run.seed), "--run", folder])


def _set(overrides: Mapping[str, Any]) -> list[str]:
    words = []
    for key, value in overrides.items():
        plain_word = isinstance(value, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.+-]*", value)
        words += ["--set", f"{key}={value if plain_word else json.dumps(value)}"]
    return words


def _existing(where: Mapping[str, Any], method: str, folder: str, pretrained: Sequence[PretrainedRun]) -> str | None:
    """Folder of a finished pre-training run of the kind that would be made in `folder`."""
    for run in pretrained:
        made = run.record.get("pretraining") or {}
        same = (
            run.record.get("kind", "pretrain") == "pretrain"
            and run.record.get("method") == method
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
