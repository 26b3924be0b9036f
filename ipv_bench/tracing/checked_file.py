"""A file held against the hash that a record has of it."""

from __future__ import annotations

from pathlib import Path

from ipv_bench.errors import InputError, IpvBenchError
from ipv_bench.shard_set import file_sha256


def sha256_of(path: Path) -> str:
    """Hash of a regular file; empty for anything else, or when it cannot be read: a pipe would wait for ever."""
    try:
        return file_sha256(path) if path.is_file() else ""
    except (OSError, ValueError):
        return ""


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
