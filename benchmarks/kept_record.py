"""What the experiments' scripts keep of a run: files and folders that are complete or absent, the record last.

A script that is killed while it copies leaves nothing under a name that a later start, on any machine, would trust.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ipv_bench.atomic_file import fsync_folder, write_bytes, write_json
from ipv_bench.came_later import CAME_LATER, with_later_fields
from ipv_bench.config import differences, flatten, parse_overrides
from ipv_bench.run_record import is_finished, read_record
from models.finetuning.config import RESOURCE_KEYS

RECORD = "run.json"


def keep_files(source: Path, goal: Path, names: Iterable[str]) -> None:
    """Copy files of the folder `source` into `goal`, each under a temporary name first; `run.json` comes last."""
    for name in sorted(names, key=lambda name: name == RECORD):
        write_bytes(goal / name, (source / name).read_bytes())


def keep_folder(source: Path, goal: Path) -> None:
    """Copy a folder under a temporary name beside `goal`, then rename it; what was there before gives way."""
    temporary = goal.with_name(f".{goal.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(source, temporary)
    before = goal.with_name(f".{goal.name}.before.tmp")
    shutil.rmtree(before, ignore_errors=True)
    if goal.is_dir():
        os.replace(goal, before)  # a folder is not replaced while anything is in it
    os.replace(temporary, goal)
    fsync_folder(goal.parent)
    shutil.rmtree(before, ignore_errors=True)


def is_kept(folder: Path, names: Iterable[str]) -> bool:
    """Whether all these files of a run are there, and the run was finished."""
    return all((folder / name).is_file() for name in names) and is_finished(folder)


def check_alike(folders: Sequence[Path], *, same_model: bool = False) -> None:
    """Hold the kept runs of one line against each other.

    A preset that was changed between two nights would pool what is not one method; another version of a simulator, what
    is not one task.

    Args:
        folders: of the runs.
        same_model: they must also start from the same weights, not only from a model made the same way.

    Raises:
        SystemExit: they differ; says in what, and what to do.
    """
    first: dict[str, Any] | None = None
    for folder in folders:
        record = read_record(folder)
        config = CAME_LATER | flatten(record.config)  # absent: as it was before there was such a field
        found = {key: value for key, value in config.items() if key not in RESOURCE_KEYS}
        found |= {f"env_fingerprint.{key}": value for key, value in flatten(record.env_fingerprint).items()}
        if same_model:
            found["parent.checkpoint_sha256"] = (record.parent or {}).get("checkpoint_sha256")
        first = first or found
        lines = list(differences(first, found))
        if lines:
            raise SystemExit(
                f"{folder} differs from {folders[0]}: {'; '.join(lines[:5])}; runs of one line are made alike: move "
                "those of before away, and the same command makes them again"
            )


def check_settings(folder: Path, settings: Mapping[str, Any] | Iterable[str]) -> None:
    """Hold a run against the settings that its script gives it today: a file that is there does not say under which
    it was made.

    Args:
        folder: of the run.
        settings: dotted key → value, or `key=value` each: a whole config, or what a protocol fixes of it. A field that
            the run's record lacks has the value of before there was such a field; one that is not asked for may be
            anything.

    Raises:
        SystemExit: it was made under others, before a constant or a preset was changed, or it could not go on exactly
            and is what no seed says; says which, and what to do.
    """
    record = read_record(folder)
    if not record.exact:
        raise SystemExit(
            f"{folder} is not exact: {'; '.join(record.inexact_because)}; remove it, and the same command makes it "
            "again"
        )
    wanted = {key: value for key, value in parse_overrides(settings).items() if key not in RESOURCE_KEYS}
    config = with_later_fields(record.config, wanted)
    lines = [
        f"{key} is {config.get(key)!r}, not {value!r}" for key, value in wanted.items() if config.get(key) != value
    ]
    if lines:
        raise SystemExit(
            f"{folder} was not made under today's settings: {'; '.join(lines[:5])}; undo the change, or move it away, "
            "and the same command makes it again"
        )


def note_settings(file: Path, settings: Mapping[str, Any]) -> None:
    """Write down what a folder is made with, or hold it against what was written there.

    Args:
        file: inside the folder.
        settings: what decides the folder's contents; JSON.

    Raises:
        SystemExit: the folder was made with others; says which, and what to do.
    """
    wanted = json.loads(json.dumps(settings))
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, wanted)
        return
    lines = differences(json.loads(file.read_text()), wanted)
    if lines:
        raise SystemExit(
            f"{file.parent} was made with other settings: {'; '.join(lines[:5])}; undo the change, or choose another "
            "folder, or move this one away"
        )
