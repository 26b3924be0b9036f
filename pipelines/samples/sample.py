"""`sample`: tiny releases in the genuine on-disk layouts, the same bytes for the same arguments."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from ipv_bench.atomic_file import disk_errors, write_json
from ipv_bench.errors import OutputError, UsageError
from ipv_bench.plugins import find_plugin
from ipv_bench.progress import say
from ipv_bench.sample_record import RECORD_FILE

Release = Callable[[Path, int, int], None]
"""Writes a tiny release in the genuine layout into a folder: (folder, videos, seed); equal arguments, equal bytes."""


def write_sample(dataset: str, folder: Path, videos: int, seed: int) -> None:
    """Write a sample release to `folder`, complete or not at all.

    Raises:
        UnknownNameError: no such sample release.
        PluginError: it belongs to another package and does not work.
        UsageError: `videos` or `seed` is out of range.
        OutputError: the folder holds something already, or cannot be written.
    """
    release: Release = find_plugin("samples", dataset).load()
    for option, value, low in (("--videos", videos, 1), ("--seed", seed, 0)):
        if value < low:
            raise UsageError(f"{option} {value}", expected=f"{low} or more", fix=f"leave {option} out for its default")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(
            f"{folder} is not empty", expected="a new folder", fix="choose another folder, or delete that one"
        )
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    with disk_errors(folder):
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        release(unfinished, videos, seed)
        write_json(unfinished / RECORD_FILE, {"dataset": dataset, "videos": videos, "seed": seed})
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
    count = sum(1 for path in folder.rglob("*") if path.is_file())
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    say(f"sample {dataset}: {count} files, {size / 1e6:.1f} MB → {folder}")
