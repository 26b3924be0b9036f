"""Reading a whole file that somebody else made: a regular file, of a size that is expected; text that is text.

The formats stand beside: `bounded_json`, `bounded_yaml`, `bounded_csv`, `bounded_arrays`, `bounded_tables`. Each has
one function that reads or refuses, by name and place, with an error of the caller's kind; none ends in another
exception, runs code, or takes memory that the file's size does not account for.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ipv_bench.errors import InputError, IpvBenchError

MEGABYTE = 1 << 20
MAX_DEPTH = 64
"""Levels of lists and mappings in JSON and YAML; ours have about ten."""
INTEGER_LOW, INTEGER_HIGH = -(1 << 63), (1 << 64) - 1
"""Whole numbers that are read; others fit into no array and no table."""

ErrorKind = type[IpvBenchError]

LASTING = frozenset(
    {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
    | {errno.EINVAL, errno.ENXIO, errno.ENODEV}
)
"""Errors that say what files are like: no permission, links to nowhere or in a circle, impossible names. All others
may pass: a disk, or the network file system that it is reached by, is away or damaged."""
_THERE = "a file or folder that is there and that you may use"
_THERE_FIX = "correct the path or its permissions, then run the same command again"
_DISK = "a disk that can be read"
_DISK_FIX = "check the disk or the network file system, then run the same command again"


@contextmanager
def reading_errors(path: str | Path, *, error: ErrorKind = InputError, fix: str = "") -> Iterator[None]:
    """Turn what a disk answers while files at `path` are looked for, listed or read into an error of the caller's kind.

    Args:
        path: named where the system names no file.
        error: kind of error to raise; see `is_disk_fault`.
        fix: what the user can do about a file that is absent or may not be read.

    Raises:
        error: the block raised an OSError.
    """
    try:
        yield
    except OSError as found:
        raise unreadable(path, found, error=error, fix=fix) from found


def unreadable(path: object, found: OSError, *, error: ErrorKind = InputError, fix: str = "") -> IpvBenchError:
    """The error for an answer of the system; raise it `from` that one where `is_disk_fault` shall know it."""
    named = found.filename2 or found.filename
    where = os.fsdecode(named) if isinstance(named, str | bytes) else path
    words = found.strerror or str(found) or type(found).__name__
    if found.errno is None or found.errno in LASTING:
        return error(f"{where} cannot be read: {words}", expected=_THERE, fix=fix or _THERE_FIX)
    return error(f"{where} cannot be read: {words}", expected=_DISK, fix=_DISK_FIX)


def is_disk_fault(error: BaseException) -> bool:
    """Whether a file could not be read for a reason that may pass: then nothing is known of its contents."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno is not None and cause.errno not in LASTING


def read_bytes(path: str | Path, *, error: ErrorKind = InputError, limit: int = 1 << 30, fix: str = "") -> bytes:
    """Contents of a regular file.

    Args:
        path: the file; a pipe or a device is refused, since reading it may never end.
        error: kind of error to raise.
        limit: largest size in bytes.
        fix: what the user can do.

    Raises:
        error: it is absent, no regular file, larger than `limit`, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise error(f"{path} is no regular file", expected="a file", fix=fix)
            data = file.read(limit + 1) if status.st_size <= limit else b""
    except OSError as found:
        raise unreadable(path, found, error=error, fix=fix) from found
    except ValueError as found:  # a NUL in the path
        raise error(f"{path} cannot be read: {found}", expected="the path of a file", fix=fix) from None
    if max(len(data), status.st_size) > limit:
        raise error(f"{path} has {status.st_size:,} bytes", expected=f"at most {limit:,}", fix=fix)
    return data


def decode_text(data: bytes, where: str, *, error: ErrorKind = InputError, fix: str = "") -> str:
    """UTF-8 text, with or without a byte order mark.

    Raises:
        error: a byte is no UTF-8; its line is named.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as found:
        line = data.count(b"\n", 0, found.start) + 1
        raise error(
            f"{where} is not UTF-8 text: byte {data[found.start]:#04x} in line {line}", expected="UTF-8", fix=fix
        ) from None


def read_text(path: str | Path, *, error: ErrorKind = InputError, limit: int = 1 << 30, fix: str = "") -> str:
    """Text of a regular file, as UTF-8.

    Raises:
        error: see `read_bytes` and `decode_text`.
    """
    return decode_text(read_bytes(path, error=error, limit=limit, fix=fix), str(path), error=error, fix=fix)


def too_deep(value: Any) -> bool:
    """Whether lists and mappings are nested deeper than `MAX_DEPTH` (or go round in a circle)."""
    level = [value] if isinstance(value, list | dict) else []
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in members(outer) if isinstance(inner, list | dict)]
        if not level:
            return False
    return True


def members(value: list[Any] | dict[Any, Any]) -> Iterable[Any]:
    """Items of a list, or values of a mapping."""
    return value.values() if isinstance(value, dict) else value


def strings(value: Any) -> Iterable[str]:
    """All strings in a value, keys included."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            waiting += item


def is_well_formed(text: str) -> bool:
    """Whether text has no lone surrogate, so that it can be written as UTF-8."""
    return text.isascii() or not any(0xD800 <= ord(character) <= 0xDFFF for character in text)
