"""Whether a source folder is still there: a disk that goes away must not be taken for thousands of bad videos."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from ipv_bench.errors import SourceError


def refuse_lost_source(source: Path, path: str) -> None:
    """Stop the job when an unreadable file is one of very many.

    Args:
        source: the folder that `path` is relative to.
        path: of the file that could not be read. Links to folders on the way there count as `source` does: releases are
            often linked from the disk that holds them.

    Raises:
        SourceError: one of these folders is gone, cannot be listed, or is empty, as the folder is where a disk was
            mounted.
    """
    parents = [source / parent for parent in reversed(PurePosixPath(path).parents)]
    for folder in (source, *(parent for parent in parents if parent != source and parent.is_symlink())):
        state = _state(folder)
        if state:
            raise SourceError(
                f"the source folder {folder} {state}, while its files are read",
                expected="the release as it was when the job began",
                fix="make it readable again (is its disk mounted?), then run the same command again: finished shards "
                "are kept",
            )


def _state(folder: Path) -> str:
    """What is wrong with a folder; empty when there is something in it."""
    try:
        with os.scandir(folder) as entries:
            return "" if next(entries, None) is not None else "is empty"
    except FileNotFoundError:
        return "is gone"
    except OSError as error:
        return f"cannot be listed ({error.strerror})"
