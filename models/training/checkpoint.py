"""Checkpoints: `<run>/checkpoints/<step>/`, complete or absent, tensors in safetensors, the rest in JSON.

    model.safetensors  optimizer.safetensors  [<part>.safetensors …]  state.json  checkpoint.json

`checkpoint.json` comes last into a temporary folder and lists the size and sha256 of every other file, so that a
truncated or changed file is found on loading; then the folder is renamed. Nothing here can run code that somebody
else put into a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ipv_bench.atomic_file import TEMPORARY_SUFFIX, disk_errors, fsync_folder
from ipv_bench.errors import CheckpointError

FORMAT = 1
FOLDER, INDEX_FILE, STATE_FILE = "checkpoints", "checkpoint.json", "state.json"
MODEL, OPTIMIZER = "model", "optimizer"

Tensors = Mapping[str, Tensor]


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

    Returns:
        The checkpoint's folder.

    Raises:
        OutputError: the disk is full or cannot be written; earlier checkpoints stay as they were.
    """
    folder = Path(run_folder) / FOLDER
    final, temporary = folder / str(step), folder / f".{step}.{os.getpid()}{TEMPORARY_SUFFIX}"
    groups: dict[str, Tensors] = {MODEL: model, OPTIMIZER: optimizer, **(parts or {})}
    with disk_errors(final):
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(run_folder)
        try:
            temporary.mkdir()
            entries = {}
            for name, tensors in groups.items():
                entries[f"{name}.safetensors"] = _write(temporary / f"{name}.safetensors", _to_bytes(tensors))
            entries[STATE_FILE] = _write(temporary / STATE_FILE, _json_bytes(dict(state)))
            index = {"format": FORMAT, "step": step, "files": entries}
            _write(temporary / INDEX_FILE, _json_bytes(index))
            fsync_folder(temporary)
            _replace_folder(temporary, final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    _prune(run_folder, keep_last, keep_every)
    return final


def checkpoint_steps(run_folder: str | Path) -> list[int]:
    """Steps of the complete checkpoints of a run, rising."""
    folder = Path(run_folder) / FOLDER
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit() and entry.is_dir())


def latest_checkpoint(run_folder: str | Path) -> Path | None:
    """The newest complete checkpoint of a run, or None when there is none yet."""
    steps = checkpoint_steps(run_folder)
    return Path(run_folder) / FOLDER / str(steps[-1]) if steps else None


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


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read and check one checkpoint folder.

    Raises:
        CheckpointError: it is incomplete, a file is truncated or changed, or it is of a newer format version.
    """
    path = Path(path)
    index = _read_index(path)
    contents = {name: _read_checked(path / name, entry) for name, entry in index["files"].items()}
    try:
        state = json.loads(contents.pop(STATE_FILE))
        groups = {name.removesuffix(".safetensors"): safetensors.torch.load(data) for name, data in contents.items()}
        model, optimizer = groups.pop(MODEL), groups.pop(OPTIMIZER)
    except (KeyError, ValueError, SafetensorError) as error:
        raise _damaged(f"{path} cannot be read: {error}") from None
    return Checkpoint(path, int(index["step"]), model, optimizer, state, groups)


def checkpoint_sha256(path: str | Path) -> str:
    """Hash that stands for a whole checkpoint: that of its index, which holds the hashes of its files."""
    return hashlib.sha256((Path(path) / INDEX_FILE).read_bytes()).hexdigest()


def load_tensors(module: torch.nn.Module, tensors: Tensors, where: str | Path) -> None:
    """Load `tensors` into `module`, every name and every shape equal.

    Raises:
        CheckpointError: names or shapes differ; the first ten differences are shown.
    """
    own = module.state_dict()
    found = [f"{name}: {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}"
             for name in own if name in tensors and tensors[name].shape != own[name].shape]  # fmt: skip
    found += [f"{name}: absent from the checkpoint" for name in own if name not in tensors]
    found += [f"{name}: not in the model" for name in tensors if name not in own]
    if found:
        more = f"; … ({len(found)} in all)" if len(found) > 10 else ""
        raise CheckpointError(
            f"{where} is of another model: " + "; ".join(found[:10]) + more,
            expected="a checkpoint of a model with the same config",
            fix="use the preset and --set values that the checkpoint was made with (its run.json has them)",
        )
    module.load_state_dict(dict(tensors))


def remove_unfinished(run_folder: str | Path) -> None:
    """Delete what interrupted saves left behind."""
    for entry in (Path(run_folder) / FOLDER).glob(f".*{TEMPORARY_SUFFIX}"):
        shutil.rmtree(entry, ignore_errors=True)


def _to_bytes(tensors: Tensors) -> bytes:
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


def _replace_folder(temporary: Path, final: Path) -> None:
    if final.exists():
        old = final.with_name(f".old-{final.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
        os.rename(final, old)
        os.rename(temporary, final)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.rename(temporary, final)
    fsync_folder(final.parent)


def _prune(run_folder: str | Path, keep_last: int, keep_every: int) -> None:
    if not keep_last:
        return
    for step in checkpoint_steps(run_folder)[:-keep_last]:
        if keep_every and step % keep_every == 0:
            continue
        folder = Path(run_folder) / FOLDER / str(step)
        # Renamed first, so that a kill in the middle of the deletion leaves no folder that looks complete.
        gone = folder.with_name(f".old-{step}.{os.getpid()}{TEMPORARY_SUFFIX}")
        os.rename(folder, gone)
        shutil.rmtree(gone, ignore_errors=True)


def _read_index(path: Path) -> dict[str, Any]:
    try:
        index = json.loads((path / INDEX_FILE).read_bytes())
        version, files = index["format"], index["files"]
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} has no {INDEX_FILE}", expected="a complete checkpoint", fix="name another checkpoint or run folder"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(f"{path / INDEX_FILE} cannot be read: {error}") from None
    if not isinstance(version, int) or version > FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {version}", expected=f"format {FORMAT} or older", fix="update ipv-bench"
        )
    if not isinstance(files, dict) or any("/" in name or name.startswith(".") for name in files):
        raise _damaged(f"{path / INDEX_FILE} lists files outside its folder")
    return dict(index)


def _read_checked(path: Path, entry: Mapping[str, Any]) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _damaged(f"{path} cannot be read: {error.strerror}") from None
    if len(data) != entry["size_bytes"]:
        raise _damaged(f"{path} is truncated: {len(data)} bytes instead of {entry['size_bytes']}")
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise _damaged(f"{path} was changed after it was saved: its sha256 is not the recorded one")
    return data


def _damaged(found: str) -> CheckpointError:
    return CheckpointError(
        found,
        expected="a checkpoint as it was saved",
        fix="delete this checkpoint folder: the run then continues from the one before it",
    )
