"""A file held against the hash that a record has of it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from ipv_bench.errors import InputError, IpvBenchError
from ipv_bench.shard_set import file_sha256


def sha256_of(path: Path) -> str:
    """Hash of a regular file; empty for anything else, or when it cannot be read: a pipe would wait for ever.

    A file that thirty figures show is read once: it is told by its place, size and time of change.
    """
    try:
        if not path.is_file():
            return ""
        status = path.stat()
        return _hash(str(path), status.st_size, status.st_mtime_ns, status.st_ino)
    except (OSError, ValueError):
        return ""


@lru_cache(maxsize=100_000)
def _hash(path: str, size: int, changed: int, inode: int) -> str:
    return file_sha256(path)


def difference(path: Path, recorded: str, fix: str) -> IpvBenchError | None:
    """What is wrong with a file; None when its sha256 is the recorded one.

    Args:
        path: the file.
        recorded: sha256 as hex.
        fix: what the user can do.
    """
    found = sha256_of(path)
    if found == recorded:
        return None
    what = f"{path} has sha256 {found}" if found else f"{path} is not there, or is no readable file"
    return InputError(what, expected=f"sha256 {recorded}, as recorded", fix=fix)
