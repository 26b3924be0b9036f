"""Checkpoints: `<run>/checkpoints/<step>/`, complete or absent, tensors in safetensors, the rest in JSON.

    model.safetensors  optimizer.safetensors  [<part>.safetensors …]  state.json  checkpoint.json

`checkpoint.json` comes last into a temporary folder and lists the size and sha256 of every other file, so that a
truncated or changed file is found on loading; then the folder is renamed. Nothing here can run code that somebody
else put into a file.

A folder with a hidden name is one of three things: `.<step>.<token>.tmp` is being written; `.old-<step>.<token>.tmp` is
a complete checkpoint whose successor of the same step takes its place, and counts until that is there; `.gone-….tmp` is
being deleted. So at every moment of a save or a deletion the run has a complete checkpoint if it had one before. Tokens
are drawn: processes of two machines or containers that share a disk may have one number. A folder is locked while it is
written, so that nobody takes it for what a killed process left.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipv_bench.atomic_file import TEMPORARY_SUFFIX, disk_errors, fsync_folder
from ipv_bench.bounded_file import read_bytes
from ipv_bench.bounded_json import parse_json
from ipv_bench.checkpoint_index import (
    BEST,
    DAMAGED,
    FOLDER,
    FORMAT,
    INDEX_FILE,
    SET_ASIDE,
    STATE_FILE,
    FileEntry,
    checkpoint_folders,
    checkpoint_steps,
    damaged,
    read_index,
)
from ipv_bench.errors import CheckpointError, RunError
from ipv_bench.file_names import path_inside, shown
from ipv_bench.run_record import RUN_FILE
from models.training.whole_folder import discard, is_written, replace_folder, unfinished

if TYPE_CHECKING:  # a dry run looks at checkpoints too, and does without torch
    from torch import Tensor

    Tensors = Mapping[str, Tensor]

MODEL, OPTIMIZER = "model", "optimizer"

_UNFINISHED = re.compile(r"\.(?P<step>[0-9]{1,18})\.[0-9a-f]+" + re.escape(TEMPORARY_SUFFIX))


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        path: its folder.
        step: the number that it was saved under (updates or agent steps).
        model: name → tensor of the model, on the CPU.
        optimizer: name → tensor of the optimiser's moments and counters, on the CPU.
        state: everything that is not a tensor (counters, data position, byte lengths of the logs, ...).
        parts: further groups of tensors by name (bonus queue, ...).
    """

    path: Path
    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]
    parts: dict[str, dict[str, Tensor]] = field(default_factory=dict)


def save_checkpoint(
    run_folder: str | Path,
    step: int,
    model: Tensors,
    optimizer: Tensors,
    state: Mapping[str, Any],
    *,
    parts: Mapping[str, Tensors] | None = None,
    keep_last: int = 0,
    keep_every: int = 0,
    name: str = "",
) -> Path:
    """Write `checkpoints/<step>/`, complete or not at all, then remove old ones.

    Args:
        run_folder: the run.
        step: number of the checkpoint, ≥ 0; an older one of the same number is replaced.
        model: name → tensor.
        optimizer: name → tensor.
        state: JSON values.
        parts: further groups of tensors, each its own file `<name>.safetensors`.
        keep_last: how many of the newest to keep; 0 keeps all.
        keep_every: checkpoints whose step it divides are kept for ever; 0 keeps none so.
        name: folder in place of the step's number: one that is kept apart, that no run continues from.

    Returns:
        The checkpoint's folder.

    Raises:
        OutputError: the disk is full or cannot be written; earlier checkpoints stay as they were.
        CheckpointError: those that are there cannot be listed.
    """
    folder = Path(run_folder) / FOLDER
    place = name or str(step)
    final = folder / place
    groups: dict[str, Tensors] = {MODEL: model, OPTIMIZER: optimizer, **(parts or {})}
    with disk_errors(final):
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(run_folder)
        with unfinished(final) as temporary:
            entries = {}
            for name, tensors in groups.items():
                entries[f"{name}.safetensors"] = _write(temporary / f"{name}.safetensors", _to_bytes(tensors))
            entries[STATE_FILE] = _write(temporary / STATE_FILE, _json_bytes(dict(state)))
            index = {"format": FORMAT, "step": step, "files": entries}
            _write(temporary / INDEX_FILE, _json_bytes(index))
            fsync_folder(temporary)
            replace_folder(temporary, final)
        _prune(run_folder, keep_last, keep_every)
    return final


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read and check one checkpoint folder.

    Raises:
        CheckpointError: it is incomplete, a file is truncated or changed, or it is of a newer format version.
    """
    import safetensors.torch
    from safetensors import SafetensorError

    path = Path(path)
    index = read_index(path)
    contents = {name: _read_checked(path, name, entry) for name, entry in index.files.items()}
    try:
        text = contents.pop(STATE_FILE)
        state = parse_json(text, str(path / STATE_FILE), error=CheckpointError, expect=dict, fix=DAMAGED)
        groups = {name.removesuffix(".safetensors"): safetensors.torch.load(data) for name, data in contents.items()}
        model, optimizer = groups.pop(MODEL), groups.pop(OPTIMIZER)
    except (KeyError, ValueError, AttributeError, SafetensorError) as error:
        raise damaged(f"{path} cannot be read: {error}") from None
    return Checkpoint(path, index.step, model, optimizer, state, groups)


def read_state(path: str | Path) -> dict[str, Any]:
    """The state of one checkpoint folder, without its tensors.

    Raises:
        CheckpointError: as for `load_checkpoint`.
    """
    path = Path(path)
    text = _read_checked(path, STATE_FILE, read_index(path).files[STATE_FILE])
    state: dict[str, Any] = parse_json(text, str(path / STATE_FILE), error=CheckpointError, expect=dict, fix=DAMAGED)
    return state


def refuse_unknown_checkpoints(run_folder: str | Path) -> None:
    """Refuse to go on from checkpoints of which no `run.json` says what they are: a run writes that first.

    Raises:
        RunError: there are checkpoints and no run record.
        CheckpointError: they cannot be listed.
    """
    found = checkpoint_steps(run_folder)
    if found and not (Path(run_folder) / RUN_FILE).exists():
        raise RunError(
            f"{run_folder} holds checkpoints ({', '.join(map(str, found[:5]))}) and no {RUN_FILE}",
            expected="the record of the run that they belong to",
            fix=f"restore {RUN_FILE}, or choose another folder with --run (or delete this one)",
        )


def remove_unfinished(run_folder: str | Path) -> None:
    """Put right what an interrupted save left, and delete the rest of it; only for who holds the run's lock.

    A checkpoint that was set aside and not replaced gets its name back. A new one that was complete but for its name
    is taken when it is the only one: nothing that the run could go on from is ever deleted. What another process is
    writing is left alone: where the run's lock does not reach, there may be one.
    """
    folder = Path(run_folder) / FOLDER
    hidden = [entry for entry in sorted(folder.glob(f".*{TEMPORARY_SUFFIX}")) if not is_written(entry)]
    for entry in hidden:
        match = SET_ASIDE.fullmatch(entry.name)
        if match and entry.is_dir() and not (folder / match["name"]).exists():
            os.rename(entry, folder / match["name"])
    if not checkpoint_folders(run_folder):
        whole = {int(match["step"]): entry for entry in hidden if (match := _whole(entry))}
        if whole:
            os.rename(whole[max(whole)], folder / str(max(whole)))
    for entry in hidden:
        if entry.is_dir() and not entry.is_symlink():
            discard(entry)
        else:
            entry.unlink(missing_ok=True)


def remove_best(run_folder: str | Path) -> None:
    """Delete the checkpoint of a run's best evaluation."""
    discard(Path(run_folder) / FOLDER / BEST)


def _whole(entry: Path) -> re.Match[str] | None:
    """The match of its name, when a folder that was being written has all that its index lists."""
    match = _UNFINISHED.fullmatch(entry.name)
    if match is None or not entry.is_dir():
        return None
    try:
        load_checkpoint(entry)
    except CheckpointError:
        return None
    return match


def _to_bytes(tensors: Tensors) -> bytes:
    import safetensors.torch

    # Each tensor gets memory of its own: safetensors refuses views that share it.
    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(plain)


def _json_bytes(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _write(path: Path, data: bytes) -> dict[str, Any]:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _prune(run_folder: str | Path, keep_last: int, keep_every: int) -> None:
    if not keep_last:
        return
    for step in checkpoint_steps(run_folder)[:-keep_last]:
        if not (keep_every and step % keep_every == 0):
            discard(Path(run_folder) / FOLDER / str(step))


def _read_checked(folder: Path, name: str, entry: FileEntry) -> bytes:
    path = path_inside(folder, name, str(folder / INDEX_FILE), CheckpointError)
    if not path.is_file() or path.stat().st_size != entry.size_bytes:
        found = f"{path.stat().st_size} bytes" if path.is_file() else "no such file"
        raise damaged(f"{path} is truncated: {found} instead of {entry.size_bytes} bytes")
    data = read_bytes(path, error=CheckpointError, limit=entry.size_bytes, fix=DAMAGED)
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise damaged(f"{path} was changed after it was saved: its sha256 is not the recorded one")
    return data


def count_of(value: Any) -> int:
    """A whole number of 0 or more out of a checkpoint's state.

    Raises:
        ValueError: it is something else.
    """
    if type(value) is not int or value < 0:
        raise ValueError(f"{shown(value)} is no count")
    return value


@contextmanager
def state_errors(path: Path) -> Iterator[None]:
    """Turn what is absent from the `state.json` of the checkpoint in `path`, or of a wrong kind, into an error.

    Raises:
        CheckpointError: the block raised LookupError, TypeError, ValueError, AttributeError or OverflowError.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        words = f"no {error}" if isinstance(error, KeyError) else shown(str(error), 200).strip("'")
        raise damaged(f"{path / STATE_FILE} is not the state of this kind of run: {words}") from error
