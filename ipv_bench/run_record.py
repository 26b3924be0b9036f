"""Run format 1: what a training run leaves on disk, and how to read it.

    runs/pretrain/<data sets joined by +>/<method>[@variant]/seed<N>/
    runs/adapt/<labelled data sets joined by +>/<method>[@variant]/seed<N>/
    runs/<suite>/<task>/<method>[@variant]/seed<N>/
        run.json  metrics.jsonl  evaluations.jsonl  checkpoints/<step>/  replay/  videos/

`metrics.jsonl` and `evaluations.jsonl` are the truth; TensorBoard and others are mirrors of them.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

from ipv_bench.addresses import public_values
from ipv_bench.atomic_file import disk_errors, with_nulls, write_json
from ipv_bench.bounded_json import as_model, read_json, read_json_lines
from ipv_bench.came_later import with_later_fields
from ipv_bench.config import differences, flatten
from ipv_bench.errors import RunError
from ipv_bench.file_names import folder_name
from ipv_bench.joined_sets import sets_folder

FORMAT = 1
RENDERERS = "renderers"
"""Key of `RunRecord.hardware`."""
RUN_FILE, METRICS_FILE, EVALUATIONS_FILE = "run.json", "metrics.jsonl", "evaluations.jsonl"

_NAME_A_RUN = "name a folder that `pretrain`, `adapt`, `finetune` or `import-checkpoint` made"

MAX_REASONS = 20
"""Sentences that `inexact_because` keeps."""

MAX_RECORD_BYTES = 64 << 20
Status = Literal["running", "interrupted", "finished", "failed"]


class RunRecord(BaseModel):
    """The contents of `run.json`; keys that a later minor version adds are kept."""

    model_config = ConfigDict(extra="allow")

    format: int = FORMAT
    kind: Literal["pretrain", "finetune", "adapt"]
    method: str
    display_name: str = ""
    """The method's name as papers write it; empty in records from before methods had one."""
    variant: str = ""
    """Short text of the overrides that change the method; empty for the preset as it is."""
    seed: int
    suite: str = ""
    """Task suite ("dmc", "metaworld", "dmcr"); empty for pre-training."""
    task: str = ""
    preset: str
    overrides: dict[str, Any] = {}
    config: dict[str, Any]
    """The resolved config, every field."""
    pretraining: dict[str, Any] = {}
    """{kind, data, num_videos, updates}; kind is "none" without pre-training, data a list of data set names. Of a
    fine-tuning run also `variant`, that of the model it started from."""
    shard_sets: list[dict[str, Any]] = []
    """Per shard set: {name, dataset, path, manifest_sha256, inventory_sha256, num_samples, num_frames}."""
    parent: dict[str, Any] = {}
    """The run that this one starts from: {run, checkpoint, checkpoint_sha256}."""
    env_fingerprint: dict[str, Any] = {}
    """Suite and physics versions, camera, flip, render profile, textures, reward version; equal or not poolable."""
    exact: bool = True
    """False once something was lost that an uninterrupted run has: an episode, replay files, lines of a log."""
    inexact_because: list[str] = []
    """What was lost, one sentence each; empty while the run is exact."""
    packages: dict[str, str] = {}
    git_commit: str = ""
    hardware: dict[str, Any] = {}
    """Host, device, threads; of an agent's run also `renderers`: what drew its frames, each once."""
    world_size: int = 1
    status: Status = "running"
    failure: str = ""
    checkpoint: dict[str, Any] = {}
    """Of a finished run its newest checkpoint: {step, sha256}, the hash of that one's index; empty before that, and in
    older records."""

    @field_validator("pretraining")
    @classmethod
    def _data_are_names(cls, values: dict[str, Any]) -> dict[str, Any]:
        data = values.get("data")
        if data is not None and not (isinstance(data, list) and all(isinstance(name, str) for name in data)):
            raise ValueError("data must be a list of data set names")
        return values

    @property
    def renderers(self) -> list[str]:
        """What drew the frames of the run; see `hardware`."""
        return renderers_of(self.hardware)

    @property
    def data_names(self) -> list[str]:
        """Names of the data sets of the pre-training; empty without one."""
        return list(self.pretraining.get("data") or [])


def run_folder(root: str | Path, record: RunRecord) -> Path:
    """Where a run of this record belongs below `root` (usually `runs/`).

    Raises:
        RunError: a part of the path is no name; those of shard sets and of runs to start from come from their files.
    """
    method = record.method + (f"@{record.variant}" if record.variant else "")
    if record.kind == "pretrain":
        parts = {"data": _sets("data", record.data_names) or "none"}
    elif record.kind == "adapt":
        parts = {"labelled data": _sets("labelled data", [entry.get("name") for entry in record.shard_sets]) or "none"}
    else:
        parts = {"suite": record.suite, "task": record.task}
    parts["method and variant"] = method
    names = [
        folder_name(part, f"the run's {what}", RunError)
        for what, value in parts.items()
        # A task of `gym/` may have a namespace: ALE/Pong-v5.
        for part in (value.split("/") if what == "task" else [value])
    ]
    first = (record.kind,) if record.kind != "finetune" else ()
    return Path(root, *first, *names, f"seed{record.seed}")


def _sets(what: str, names: Iterable[object]) -> str:
    return sets_folder(folder_name(name, f"the run's {what}", RunError) for name in names)


def variant_name(overrides: Mapping[str, Any], ignore: tuple[str, ...] = ()) -> str:
    """A short folder-safe name for overrides, such as `context.fusion=concat`.

    Args:
        overrides: dotted key → value, as in `Resolved.overrides`.
        ignore: keys (or first parts of keys) that do not change what is computed, such as `training.device`.
    """
    kept = {k: v for k, v in sorted(overrides.items()) if k not in ignore and k.split(".")[0] not in ignore}
    text = ",".join(f"{key}={value}" for key, value in kept.items())
    text = re.sub(r"[^A-Za-z0-9_.,=+-]", "_", text)
    if len(text) > 100:
        import hashlib

        text = text[:80] + "-" + hashlib.sha256(text.encode()).hexdigest()[:12]
    return text


def write_record(folder: str | Path, record: RunRecord) -> None:
    """Write `run.json`, complete or not at all; addresses in it lose user, password and query."""
    write_json(Path(folder) / RUN_FILE, public_values(record.model_dump(mode="json")))


def mark_inexact(folder: str | Path, reason: str) -> RunRecord:
    """Note in `run.json` that the run is not what an uninterrupted one would be, and why; returns the new record."""
    record = read_record(folder)
    known = record.inexact_because
    reasons = known if reason in known or len(known) >= MAX_REASONS else [*known, reason]
    record = record.model_copy(update={"exact": False, "inexact_because": reasons})
    write_record(folder, record)
    return record


def note_renderers(folder: str | Path, names: Iterable[str]) -> RunRecord:
    """Note in `run.json` what draws the frames, each once: a run that goes on on another machine has two.

    Returns:
        The record, written anew only where a name is new.
    """
    record = read_record(folder)
    known = record.renderers
    new = [name for name in dict.fromkeys(names) if name not in known]
    if new:
        record = record.model_copy(update={"hardware": record.hardware | {RENDERERS: known + new}})
        write_record(folder, record)
    return record


def renderers_of(hardware: object) -> list[str]:
    """The renderers in a record's `hardware`, whoever wrote it; none where they are not a list of names."""
    found = hardware.get(RENDERERS) if isinstance(hardware, Mapping) else None
    return [name for name in found if isinstance(name, str) and name] if isinstance(found, list) else []


def read_record(folder: str | Path) -> RunRecord:
    """Read `run.json`.

    Raises:
        RunError: it is absent, damaged, or of a newer format version.
    """
    path = Path(folder) / RUN_FILE
    if not os.path.lexists(path):
        raise RunError(f"{folder} has no {RUN_FILE}", expected="the folder of a run", fix=_NAME_A_RUN)
    fix = "restore it, or delete the run folder"
    values = read_json(path, error=RunError, expect=dict, limit=MAX_RECORD_BYTES, fix=fix)
    if isinstance(values.get("format"), int) and values["format"] > FORMAT:
        raise RunError(
            f"{path} has run format {values['format']}",
            expected=f"format {FORMAT} or older",
            fix="update ipv-bench",
        )
    return as_model(RunRecord, values, str(path), error=RunError, fix=fix)


def is_finished(folder: str | Path) -> bool:
    """Whether `folder` holds a finished run; False for whatever is no run."""
    try:
        return read_record(folder).status == "finished"
    except RunError:
        return False


def check_same_config(folder: str | Path, record: RunRecord, ignore: tuple[str, ...] = ()) -> None:
    """Refuse to continue a run under another config; a field that came later has the value of before it was there.

    Args:
        folder: the existing run.
        record: the record of the command that wants to continue it.
        ignore: dotted config keys that may change on resume (devices, numbers of workers).

    Raises:
        RunError: config, method, seed or task differ; every difference is shown.
    """
    old = read_record(folder)
    fields = ("kind", "method", "seed", "suite", "task", "preset")
    known = with_later_fields(old.config, record.config)
    before = public_values({name: getattr(old, name) for name in fields} | {"config": known})
    after = public_values({name: getattr(record, name) for name in fields} | {"config": flatten(record.config)})
    changed = [
        line for line in differences(before, after) if line.split(": ", 1)[0].removeprefix("config.") not in ignore
    ]
    if changed:
        raise RunError(
            f"{folder} holds a run of another config: " + "; ".join(changed[:10]),
            expected="the same config, so that the run can continue",
            fix="undo the change, or choose another folder with --run (or delete this one)",
        )


_BLOCK_BYTES = 1 << 16


@dataclass(frozen=True)
class LogCut:
    """What cutting a log to a checkpoint's record did.

    Attributes:
        path: the log.
        dropped: lines that were newer.
        missing_bytes: how much of what the checkpoint knows is not there; 0 unless somebody touched the file.
    """

    path: Path
    dropped: int
    missing_bytes: int

    @property
    def loss(self) -> str:
        """A sentence about what is missing; empty when nothing is."""
        if not self.missing_bytes:
            return ""
        return f"{self.path.name} lacks {self.missing_bytes:,} of the bytes that the checkpoint knows"


class JsonlLog:
    """An append-only log of one JSON object per line, each flushed as it is written.

    Non-finite numbers become null, so that every line is strict JSON.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "ab")  # noqa: SIM115  (kept open for the run's life)

    def append(self, line: Mapping[str, Any]) -> None:
        """Write one line.

        Raises:
            OutputError: the disk is full.
        """
        text = json.dumps(with_nulls(line), ensure_ascii=False, allow_nan=False)
        with disk_errors(self.path):
            self._file.write(text.encode() + b"\n")
            self._file.flush()

    def size_bytes(self) -> int:
        """Length of the log, after making it durable; checkpoints record it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def cut(self, size_bytes: int) -> LogCut:
        """Drop what was logged after `size_bytes` (a checkpoint's record).

        A log that was shortened or changed meanwhile keeps its whole lines up to there.
        """
        self._file.flush()
        with open(self.path, "rb") as file:
            end = _line_end(file, min(size_bytes, file.seek(0, os.SEEK_END)))
            file.seek(end)
            dropped = sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK_BYTES), b""))
        os.truncate(self.path, end)
        self._file.seek(0, os.SEEK_END)
        return LogCut(self.path, dropped, size_bytes - end)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line_end(file: IO[bytes], position: int) -> int:
    """The last end of a line at or before `position`."""
    while position:
        start = max(0, position - _BLOCK_BYTES)
        file.seek(start)
        found = file.read(position - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0


def read_jsonl(path: str | Path) -> Iterator[dict[str, Any]]:
    """Lines of a log in order; a last line that is cut off (a running or killed run) is left out.

    Raises:
        RunError: it cannot be read, or a line before the last one is no JSON object.
    """
    return read_json_lines(path, error=RunError, fix="restore the file from a backup")


def package_versions(names: tuple[str, ...]) -> dict[str, str]:
    """Installed versions; absent packages are left out."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str:
    """Commit of the checkout that this package runs from, `+dirty` appended when it was changed; empty outside git."""
    here = Path(__file__).resolve().parent
    try:
        commit = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "-C", str(here), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True, text=True, timeout=5, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + ("+dirty" if dirty else "")


def host_hardware() -> dict[str, Any]:
    """Processor and number of cores; the accelerator is added by who uses one."""
    return {"machine": platform.machine(), "cpu": _cpu_name(), "cores": os.cpu_count() or 1}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
