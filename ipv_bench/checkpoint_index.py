"""Where a run's checkpoints lie, which one is the newest, and what its index lists.

Training, tracing, exports and sweeps ask here, so that all mean the same one. How a checkpoint is written, and what its
tensors are, is in `models.training.checkpoint`; nothing here needs torch.

    <run>/checkpoints/<step>/checkpoint.json   size and sha256 of every other file of that folder

A folder with a number as its name is complete: it was written under a hidden name and renamed. `.old-<step>.….tmp` is
one whose successor of the same step is about to take its place; it counts until that is there.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, NonNegativeInt

from ipv_bench.atomic_file import TEMPORARY_SUFFIX
from ipv_bench.bounded_file import MEGABYTE, read_bytes, reading_errors
from ipv_bench.bounded_json import as_model, read_json
from ipv_bench.errors import CheckpointError
from ipv_bench.file_names import FileName, shown

FORMAT = 1
FOLDER, INDEX_FILE, STATE_FILE = "checkpoints", "checkpoint.json", "state.json"
MODEL_FILE, OPTIMIZER_FILE = "model.safetensors", "optimizer.safetensors"
BEST = "best"
"""Name of the checkpoint that is kept of a run's best evaluation."""
SET_ASIDE = re.compile(rf"\.old-(?P<name>[0-9]{{1,18}}|{BEST})\.[0-9a-f]+" + re.escape(TEMPORARY_SUFFIX))
"""Name of a complete checkpoint that is being replaced."""
DAMAGED = "restore it from a copy, or delete this checkpoint folder: the run then continues from the one before it"
"""What to do about a damaged one, of a run that goes on."""
RESTORE = "restore it from a backup, or make the run again"
"""The same of a run that is finished: others may name that checkpoint."""


class FileEntry(BaseModel):
    """What an index says of one file."""

    size_bytes: NonNegativeInt
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class CheckpointIndex(BaseModel):
    """The contents of `checkpoint.json`: the checkpoint's step (updates or agent steps) and its files."""

    format: int
    step: NonNegativeInt
    files: dict[FileName, FileEntry]


def checkpoint_folders(run_folder: str | Path) -> dict[int, Path]:
    """Step → folder of a run's complete checkpoints, those included that are set aside while they are replaced.

    Raises:
        CheckpointError: the folder cannot be read.
    """
    folder = Path(run_folder) / FOLDER
    with reading_errors(folder, error=CheckpointError):
        entries = [entry for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []
    aside = {match["name"]: entry for entry in entries if (match := SET_ASIDE.fullmatch(entry.name))}
    found = aside | {entry.name: entry for entry in entries}
    return {int(name): entry for name, entry in found.items() if re.fullmatch(r"[0-9]{1,18}", name)}


def checkpoint_steps(run_folder: str | Path) -> list[int]:
    """Steps of the complete checkpoints of a run, rising.

    Raises:
        CheckpointError: their folder cannot be read.
    """
    return sorted(checkpoint_folders(run_folder))


def latest_checkpoint(run_folder: str | Path) -> Path | None:
    """The newest complete checkpoint of a run, or None when there is none yet.

    Raises:
        CheckpointError: their folder cannot be read.
    """
    found = checkpoint_folders(run_folder)
    return found[max(found)] if found else None


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint that `path` means: a checkpoint folder itself, or the newest one of a run folder.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(path)
    if (path / INDEX_FILE).is_file():
        return path
    found = latest_checkpoint(path)
    if found is None:
        raise CheckpointError(
            f"{path} holds no checkpoint" if path.exists() else f"{path} does not exist",
            expected="a run folder with checkpoints/<step>/, or one checkpoint folder",
            fix="name a run made by `ipv-bench pretrain` or `ipv-bench import-checkpoint`",
        )
    return found


def run_of(path: str | Path) -> Path:
    """The run folder that `path` is or, for one of its checkpoint folders, belongs to."""
    path = Path(path)
    return path.parent.parent if (path / INDEX_FILE).is_file() and path.parent.name == FOLDER else path


def read_index(path: str | Path, *, fix: str = DAMAGED) -> CheckpointIndex:
    """What one checkpoint folder holds, by its index.

    Args:
        path: of the checkpoint folder.
        fix: what to do about a damaged one.

    Raises:
        CheckpointError: there is none, it is damaged or of a newer format version, or lists what is no checkpoint.
    """
    where = Path(path) / INDEX_FILE
    if not os.path.lexists(where):
        raise CheckpointError(
            f"{path} has no {INDEX_FILE}", expected="a complete checkpoint", fix="name another checkpoint or run folder"
        )
    values = read_json(where, error=CheckpointError, expect=dict, limit=MEGABYTE, fix=fix)
    version = values.get("format")
    if type(version) is not int or version > FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {shown(version)}",
            expected=f"format {FORMAT} or older",
            fix="update ipv-bench",
        )
    index = as_model(CheckpointIndex, values, str(where), error=CheckpointError, fix=fix)
    odd = [name for name in index.files if name != STATE_FILE and not name.endswith(".safetensors")]
    if odd or not {STATE_FILE, MODEL_FILE, OPTIMIZER_FILE} <= index.files.keys():
        raise damaged(f"{where} lists {', '.join(sorted(index.files)[:10])}", fix)
    return index


def checkpoint_sha256(path: str | Path) -> str:
    """Hash that stands for a whole checkpoint: that of its index, which holds the hashes of its files.

    Raises:
        CheckpointError: the index cannot be read.
    """
    data = read_bytes(Path(path) / INDEX_FILE, error=CheckpointError, limit=MEGABYTE, fix=DAMAGED)
    return hashlib.sha256(data).hexdigest()


def newest_as_recorded(run_folder: str | Path) -> dict[str, Any]:
    """What a finished run's record says of its newest checkpoint: `step` and `sha256`; empty where it has none.

    Raises:
        CheckpointError: it is damaged.
    """
    newest = latest_checkpoint(run_folder)
    return {"step": read_index(newest).step, "sha256": checkpoint_sha256(newest)} if newest is not None else {}


def damaged(found: str, fix: str = DAMAGED) -> CheckpointError:
    """The error of a checkpoint that is not as it was saved."""
    return CheckpointError(found, expected="a checkpoint as it was saved", fix=fix)
