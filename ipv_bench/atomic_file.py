"""Files that are complete or absent: write beside, fsync, rename."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ipv_bench.errors import OutputError

TEMPORARY_SUFFIX = ".tmp"
"""Names that end so are unfinished and may be deleted by the next run of the same command."""


@contextmanager
def atomic_writer(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path`; on success it is fsynced and renamed to `path`, on error removed.

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    with disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            fsync_folder(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` to `path`, complete or not at all."""
    with atomic_writer(path) as file:
        file.write(data)


def write_json(path: str | Path, value: Any) -> None:
    """Write strict JSON with sorted keys and a final newline: the same value gives the same bytes."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def fsync_folder(folder: Path) -> None:
    """Make renames in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(path: str | Path) -> Iterator[None]:
    """Turn "disk full", "read-only" and "permission denied" while writing `path` into an OutputError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"the disk is full while writing {path}",
                expected="room for the output",
                fix="free some space, then run the same command again: finished parts are kept",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise OutputError(
                f"cannot write {path}: {error.strerror}",
                expected="a folder that you may write to",
                fix="choose another output folder, or change its permissions",
            ) from error
        raise
