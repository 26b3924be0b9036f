"""Whether a source folder is still there: a disk that goes away must not be taken for thousands of bad videos."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ipv_bench.bounded_file import LASTING
from ipv_bench.errors import SourceError


def refuse_lost_source(source: Path, path: str) -> None:
    """Stop the job when an unreadable file is one of very many.

    Args:
        source: the folder that `path` is relative to.
        path: of the file that could not be read. Links to folders on the way there count as `source` does: releases are
            often linked from the disk that holds them.

    Raises:
        SourceError: one of these folders is gone, cannot be listed, or is empty, as the folder is where a disk was
            mounted; or the disk answers with an error for any folder on the way.
    """
    for folder, state in _looked_at(source, path):
        if state:
            raise SourceError(
                f"the source folder {folder} {state}, while its files are read",
                expected="the release as it was when the job began",
                fix="make it readable again (is its disk mounted?), then run the same command again: finished shards "
                "are kept",
            )


def _looked_at(source: Path, path: str) -> Iterator[tuple[Path, str]]:
    """`source`, then what lies on the way to `path` and matters, outermost first, each with what is wrong with it.

    One after the other: of a disk that is away, nothing below can be asked.
    """
    yield source, _state(source)
    for parent in list(reversed(PurePosixPath(path).parents))[1:]:
        folder = source / parent
        try:
            is_link = stat.S_ISLNK(os.lstat(folder).st_mode)
        except OSError as error:
            if error.errno not in LASTING:  # else it is this file's own trouble
                yield folder, _not_listed(error)
            continue
        if is_link:
            yield folder, _state(folder)


def _state(folder: Path) -> str:
    """What is wrong with a folder; empty when there is something in it."""
    try:
        with os.scandir(folder) as entries:
            return "" if next(entries, None) is not None else "is empty"
    except FileNotFoundError:
        return "is gone"
    except OSError as error:
        return _not_listed(error)


def _not_listed(error: OSError) -> str:
    return f"cannot be listed ({error.strerror})"
