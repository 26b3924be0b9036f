"""What may stand in a recording's folder: its record, its episodes, and hidden files; nothing of anybody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ipv_bench.bounded_json import read_json
from ipv_bench.errors import OutputError, RunError
from ipv_bench.folder_kind import KINDS, RECORDING_FILE
from models.recording.episode import is_episode_file

FORMAT = 1
_FIX = "choose another folder with --out"


def refuse_other_files(out: Path) -> None:
    """Refuse a folder that holds anything but a recording that may go on; hidden files do not count.

    Raises:
        OutputError: it is a run's folder or a shard set, holds other files, episodes without their record, or a record
            that `ipv-bench record` did not write.
    """
    names = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
    for name, what in KINDS.items():
        if name != RECORDING_FILE and name in names:
            raise OutputError(
                f"{out} is {what}: it holds {name}", expected="a new folder, or that of this recording", fix=_FIX
            )
    episodes = [name for name in names if is_episode_file(name)]
    others = [name for name in names if name != RECORDING_FILE and name not in episodes]
    if others:
        raise OutputError(
            f"{out} holds files that are of no recording: {', '.join(others[:5])}{', …' if len(others) > 5 else ''}",
            expected="a new folder, or that of this recording",
            fix=f"{_FIX}, or move them away",
        )
    if RECORDING_FILE in names:
        _refuse_other_record(out / RECORDING_FILE)
    elif episodes:
        raise OutputError(
            f"{out} holds episode files and no {RECORDING_FILE}",
            expected="a new folder, or that of this recording",
            fix=_FIX,
        )


def _refuse_other_record(path: Path) -> None:
    found: dict[str, Any] = read_json(path, error=RunError, expect=dict, fix="restore it, or choose another --out")
    absent = [key for key in ("format", "task", "policy", "seed", "config") if key not in found]
    if absent or found["format"] != FORMAT:
        what = f"has no {', '.join(absent)}" if absent else f"is of format {found['format']!r}"
        raise OutputError(
            f"{path} {what}",
            expected=f"what `ipv-bench record` writes, format {FORMAT}",
            fix=_FIX if absent else f"{_FIX}, or go on with the version of ipv-bench that wrote it",
        )
