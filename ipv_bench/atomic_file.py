"""Files that are complete or absent: write beside, fsync, rename."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ipv_bench.errors import OutputError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EFBIG, errno.EIO, errno.EINVAL, errno.EILSEQ, errno.ESTALE, errno.ENXIO, errno.ETXTBSY, errno.EOPNOTSUPP,
)  # fmt: skip
TEMPORARY_SUFFIX = ".tmp"
"""Names that end so are unfinished and may be deleted by the next run of the same command."""
_ENDING = re.compile("[0-9a-f]+" + re.escape(TEMPORARY_SUFFIX))

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextmanager
def atomic_writer(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path`; on success it is fsynced and renamed to `path`, on error removed.

    What killed processes left of earlier attempts at `path` is deleted.

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
    """
    path = Path(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path)
        file, temporary = _begin(path)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            fsync_folder(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _begin(path: Path) -> tuple[IO[bytes], Path]:
    """A new, locked file beside `path`. Its name has no process in it: two containers that share a folder may both have
    a process of one number."""
    while True:
        temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}{TEMPORARY_SUFFIX}")
        file = open(temporary, "xb")  # noqa: SIM115  (the caller's)
        with contextlib.suppress(OSError):  # some network file systems cannot lock
            fcntl.flock(file, fcntl.LOCK_EX)  # who looks whether it is abandoned holds it for a moment
        if temporary.exists():
            return file, temporary
        file.close()  # it was taken for abandoned before it was locked


def remove_abandoned(path: Path) -> None:
    """Delete unfinished files of earlier attempts to write `path`, whose processes are gone.

    A writer holds a lock on its file, which the kernel gives back when it ends; so one at work elsewhere, on another
    machine too, keeps its file.
    """
    start = f".{path.name}."
    with contextlib.suppress(OSError):
        with os.scandir(path.parent) as entries:
            found = [
                entry.path
                for entry in entries
                if entry.name.startswith(start) and _ENDING.fullmatch(entry.name, len(start))
            ]
        for leftover in found:
            with open(leftover, "rb") as file:
                if _hold(file.fileno()):
                    os.unlink(leftover)


def _hold(descriptor: int) -> bool:
    """Lock an open file; False when another process has it, or the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def waited_lock(path: Path) -> Iterator[None]:
    """Be the only one that makes `path`: waits for another thread or process that does, by `.<name>.lock` beside it.

    Where the file system has no locks nothing is waited for: then each writes a file of its own (`atomic_writer`).

    Raises:
        OutputError: the folder cannot be written.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        with contextlib.suppress(OSError):  # by name: a process forked meanwhile has the descriptor too
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def write_bytes(path: str | Path, data: bytes | memoryview) -> None:
    """Write `data` to `path`, complete or not at all."""
    with atomic_writer(path) as file:
        file.write(data)


def write_json(path: str | Path, value: Any) -> None:
    """Write strict JSON with sorted keys and a final newline: the same value gives the same bytes."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def with_nulls(value: Any) -> Any:
    """The same value for strict JSON: null wherever a number is not finite, lists for tuples."""
    if isinstance(value, Mapping):
        return {key: with_nulls(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_nulls(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def fsync_folder(folder: Path) -> None:
    """Make renames in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def exchange(first: Path, second: Path) -> bool:
    """Let two files or folders of one file system change names in one step; False where the system cannot.

    Raises:
        OSError: one of them is not there, or the folder cannot be written.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:  # another system than Linux, or an old C library
        return False
    if rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # some file systems cannot
        return False
    raise OSError(code, os.strerror(code), str(first), None, str(second))


@contextmanager
def disk_errors(path: str | Path) -> Iterator[None]:
    """Turn what a disk refuses while `path` is written (full, read-only, not permitted, …) into an OutputError.

    The error names the file that the system named, which may be another one than `path`. Keep the block to the writing
    itself: a file that cannot be read inside it would be called one that cannot be written.
    """
    try:
        yield
    except OSError as error:
        named = error.filename2 or error.filename
        if isinstance(named, str) and not named.endswith(TEMPORARY_SUFFIX):
            path = named
        if error.errno in _FULL:
            raise OutputError(
                f"the disk is full while writing {path}",
                expected="room for the output",
                fix="free some space, then run the same command again: finished parts are kept",
            ) from error
        if error.errno in _REFUSED:
            raise OutputError(
                f"cannot write {path}: {error.strerror}",
                expected="a folder that you may write to",
                fix="choose another output folder, or change its permissions",
            ) from error
        raise
