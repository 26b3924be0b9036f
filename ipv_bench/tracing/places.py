"""Where a recorded file is now: records hold paths as the command was given them, and folders are moved and copied."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ipv_bench.file_names import is_relative_path

LEVELS_ABOVE = 8
"""Folders above a record below which a path of it may lie."""
LONGEST = 4096
"""Characters of a recorded path; a longer one is none that Linux opens, and its parts would be tried for minutes."""


@dataclass(frozen=True)
class Place:
    """What was found of a recorded path.

    Attributes:
        path: where it is; None where it is not here.
        fits: whether it is the recorded thing.
    """

    path: Path | None
    fits: bool = False


def find(recorded: str, holder: Path, is_there: Callable[[Path], bool], fits: Callable[[Path], bool]) -> Place:
    """The first place of a recorded path that holds the recorded thing.

    A path that was written relative to a working folder is looked for below the folders above the record, and below
    this working folder; of an absolute one that is not there, its last parts are looked for below the folders above
    the record: a workspace that was moved as a whole keeps its chain. Another thing at a *guessed* place is nothing;
    at the recorded place it is what was found, and does not fit.

    Args:
        recorded: as the record has it; an address is never opened, nor a path longer than `LONGEST`.
        holder: the folder that the record lies in.
        is_there: whether such a thing is at a path, whichever.
        fits: whether it is the recorded one.
    """
    if not recorded or len(recorded) > LONGEST or "://" in recorded or "\0" in recorded:
        return Place(None)
    other = None
    for path in _written(recorded, holder):
        if _holds(is_there, path):
            if fits(path):
                return Place(path, True)
            other = other or path
    for path in _moved(recorded, holder):
        if _holds(is_there, path) and fits(path):
            return Place(path, True)
    return Place(other)


def _holds(is_there: Callable[[Path], bool], path: Path) -> bool:
    try:
        return is_there(path)
    except (OSError, ValueError):  # a name that the file system does not take, a folder that we may not read
        return False


def above(holder: Path) -> list[Path]:
    """A folder, and the folders above it, nearest first."""
    real = Path(os.path.realpath(holder))
    return [real, *real.parents][: LEVELS_ABOVE + 1]


def _written(recorded: str, holder: Path) -> Iterator[Path]:
    path = Path(recorded)
    if path.is_absolute():
        yield path
        return
    yield from (folder / path for folder in above(holder))
    yield Path.cwd() / path


def _moved(recorded: str, holder: Path) -> Iterator[Path]:
    parts = Path(os.path.normpath(recorded)).parts
    for start in range(1, len(parts)):
        rest = "/".join(parts[start:])
        if is_relative_path(rest):
            yield from (folder / rest for folder in above(holder))
