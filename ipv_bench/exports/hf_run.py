"""`export --to hf` of a run: its newest checkpoint, its record and its evaluations, with a model card.

    README.md  run.json  evaluations.jsonl
    checkpoints/<step>/{model,optimizer,…}.safetensors, state.json, checkpoint.json

The checkpoint is copied byte for byte, so its hash stays the one that runs which start from it name as their parent;
`finetune --init`, `adapt` and `evaluate` take the folder as any run. What tells of this machine (hosts, commands that
start servers, absolute paths, addresses of its network) is left out of the record, or becomes names; a checkpoint that
holds such is told, as its bytes are its identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipv_bench.atomic_file import disk_errors
from ipv_bench.bounded_json import read_json
from ipv_bench.checkpoint_index import (
    FOLDER,
    INDEX_FILE,
    RESTORE,
    STATE_FILE,
    CheckpointIndex,
    checkpoint_sha256,
    latest_checkpoint,
    read_index,
)
from ipv_bench.errors import CheckpointError, RunError
from ipv_bench.exports.card import run_card
from ipv_bench.exports.checked_copy import checked_copy
from ipv_bench.exports.config import HfExportConfig
from ipv_bench.exports.licence import check_licence, not_to_be_passed_on
from ipv_bench.exports.run_usage import STATE_BYTES, run_usage
from ipv_bench.exports.score_interval import RESAMPLES, SEED, mean_interval
from ipv_bench.file_names import path_inside
from ipv_bench.joined_sets import told_sets
from ipv_bench.machine_traces import without_machine
from ipv_bench.progress import say_aside
from ipv_bench.run_record import EVALUATIONS_FILE, RunRecord, read_jsonl, read_record, write_record


def check_run(run: Path, config: HfExportConfig) -> None:
    """Refuse a run that is unfinished, and a card without a licence, before anything is written.

    Raises:
        RunError: it is no run, or is unfinished.
        CheckpointError: it has no checkpoint, or its newest one is damaged.
        ConfigError: no licence is given.
    """
    record = read_record(run)
    if record.status != "finished":
        raise RunError(
            f"{run} is {record.status}", expected="a finished run", fix="run the command that made it again: it goes on"
        )
    newest_checkpoint(run)
    check_licence(f"{run}", "", config)


def newest_checkpoint(run: Path) -> tuple[Path, CheckpointIndex]:
    """The one that every command takes as the run's newest, and what it lists.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    found = latest_checkpoint(run)
    if found is None:
        raise CheckpointError(f"{run} holds no checkpoint", expected=f"{FOLDER}/<step>/", fix="keep them with the run")
    return found, read_index(found, fix=RESTORE)


def write_hf_run(run: Path, folder: Path, config: HfExportConfig) -> int:
    """Write the run into a new folder; returns the number of bytes copied.

    Raises:
        RunError, CheckpointError: the run or its checkpoint is damaged.
        OutputError: the disk is full.
    """
    record = read_record(run)
    checkpoint, index = newest_checkpoint(run)
    place = folder / FOLDER / str(index.step)
    files = _copy_checkpoint(checkpoint, place, index)
    evaluations: list[dict[str, Any]] = []
    if (run / EVALUATIONS_FILE).is_file():
        evaluations = list(read_jsonl(run / EVALUATIONS_FILE))
        checked_copy(run / EVALUATIONS_FILE, folder / EVALUATIONS_FILE, "", error=RunError, fix="restore the file")
    _warn_of_places(place)
    public = RunRecord.model_validate(without_machine(record.model_dump(mode="json")))
    write_record(folder, public)
    facts = run_facts(public, place, files, evaluations)
    with disk_errors(folder):
        (folder / "README.md").write_text(run_card(facts, config.licence, config.private))
    return sum(size for _, size, _ in files)


def _copy_checkpoint(checkpoint: Path, place: Path, index: CheckpointIndex) -> list[tuple[str, int, str]]:
    """(file, bytes, sha256) of each file of the checkpoint."""
    files = []
    for name, entry in index.files.items():
        source = path_inside(checkpoint, name, str(checkpoint / INDEX_FILE), CheckpointError)
        size = checked_copy(source, place / name, entry.sha256, error=CheckpointError, fix=RESTORE)
        files.append((name, size, entry.sha256))
    checked_copy(checkpoint / INDEX_FILE, place / INDEX_FILE, "", error=CheckpointError, fix=RESTORE)
    return files


def _warn_of_places(checkpoint: Path) -> None:
    """Say where the state of a checkpoint tells of this machine."""
    state = read_json(checkpoint / STATE_FILE, error=CheckpointError, expect=dict, limit=STATE_BYTES, fix=RESTORE)
    told = [key for key, value in state.items() if without_machine({key: value}) != {key: value}]
    if told:
        say_aside(
            f"warning: {FOLDER}/{checkpoint.name}/{STATE_FILE} is copied as it is and holds paths or hosts of "
            f"this machine, in {', '.join(told[:5])}: look at it before you share this folder"
        )


def run_facts(
    record: RunRecord, checkpoint: Path, files: list[tuple[str, int, str]], evaluations: list[dict[str, Any]]
) -> dict[str, Any]:
    """What the card says of a run."""
    task = f"{record.suite}/{record.task}" if record.task else ""
    pretraining = record.pretraining
    data = told_sets(record.data_names, ", ")
    rows = [
        ("method", record.display_name or record.method), ("variant", record.variant or "as the preset is"),
        ("preset", record.preset), ("task", task), ("seed", record.seed), ("checkpoint", f"step {checkpoint.name}"),
        ("pre-training", f"{pretraining.get('kind', '')} {data}".strip()),
        ("videos", pretraining.get("num_videos") or "all"), ("adapted", _adapted(record)),
        ("commit", record.git_commit),
        ("exact", "yes" if record.exact else "no: " + "; ".join(record.inexact_because)),
        *((f"package {name}", version) for name, version in sorted(record.packages.items())),
    ]  # fmt: skip
    parents = [("this checkpoint", f"{FOLDER}/{checkpoint.name}", checkpoint_sha256(checkpoint))]
    if record.parent.get("checkpoint"):
        parents.append(("starts from", record.parent["checkpoint"], record.parent.get("checkpoint_sha256", "")))
    for path, digest in (record.parent.get("files") or {}).items():
        parents.append(("imported from", path, digest))
    for entry in record.shard_sets:
        parents.append(("shard set", entry.get("name", ""), entry.get("manifest_sha256", "")))
    return {
        "name": record.display_name or record.method,
        "method": record.method,
        "task": task,
        "made": "adapted to actions" if record.kind == "adapt" else "pre-trained",
        "rows": [row for row in rows if row[1] != ""],
        "licences": [
            f"Trained on {entry.get('name')}: {reason}."
            for entry in record.shard_sets if (reason := _not_to_be_passed_on(entry))
        ],
        "scores": _scores(record, evaluations),
        "parents": parents,
        "files": [(f"{FOLDER}/{checkpoint.name}/{name}", size, digest) for name, size, digest in files],
        "use": run_usage(record, checkpoint),
    }  # fmt: skip


def _not_to_be_passed_on(shard_set: Mapping[str, Any]) -> str:
    return next(filter(None, (not_to_be_passed_on(str(shard_set.get(key))) for key in ("dataset", "name"))), "")


def _scores(record: RunRecord, evaluations: list[dict[str, Any]]) -> str:
    last = evaluations[-1] if evaluations else {}
    returns = _numbers(last.get("returns"))
    if not returns:
        return "None: it was not evaluated on a task." if record.kind != "finetune" else "The run has no evaluation."
    steps = last.get("env_steps")
    when = f"At {steps:,} environment steps" if isinstance(steps, int | float) else "At an unknown step"
    lines = [f"{when}, {len(returns)} episodes, the run's last evaluation:", ""]
    successes = _numbers(last.get("successes"))
    for name, values in (("mean return", returns), ("success rate", successes)):
        if values:
            mean, low, high = mean_interval(values)
            lines.append(f"- {name} {mean:.4g} [{low:.4g}, {high:.4g}]")
    return "\n".join(
        [*lines, "", "Intervals: 95 %, percentile bootstrap over the episodes of this one run "
         f"({RESAMPLES:,} resamples, seed {SEED}); they say nothing of other seeds. Every evaluation is in "
         f"`{EVALUATIONS_FILE}`."]
    )  # fmt: skip


def _numbers(values: object) -> list[float]:
    found = values if isinstance(values, list) else []
    return [float(value) for value in found if isinstance(value, int | float)]


def _adapted(record: RunRecord) -> str:
    """On what an adapted model was trained, in words; empty for other runs."""
    facts = (record.model_extra or {}).get("adaptation")
    if record.kind != "adapt" or not isinstance(facts, dict):
        return ""
    names = facts.get("data")
    data = ", ".join(map(str, names)) if isinstance(names, list) else ""
    number = f"{facts.get('num_sequences') or 'all'} videos"
    if facts.get("num_segments"):
        number = f"{facts['num_segments']} fixed segments of {number}"
    return f"{facts.get('parts', '')}: {data} ({number}), {facts.get('updates')} updates"
