"""What the experiments' scripts keep of a run: files and folders that are complete or absent, the record last.

A script that is killed while it copies leaves nothing under a name that a later start, on any machine, would trust.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from ipv_bench.atomic_file import fsync_folder, write_bytes

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
    """Whether all these files of a run are there."""
    return all((folder / name).is_file() for name in names)
