"""Copies files and compares them with the hash that their index states, in one pass."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO

from ipv_bench.atomic_file import disk_errors
from ipv_bench.bounded_file import ErrorKind, reading_errors

_PIECE_BYTES = 1 << 20


def checked_copy(source: Path, target: Path, sha256: str, *, error: ErrorKind, fix: str) -> int:
    """Copy a file.

    Args:
        source, target: paths; the target's folder is made.
        sha256: what the source's contents must have; empty when nothing states it.
        error: kind of error to raise.
        fix: what the user can do about another file.

    Returns:
        Its size in bytes.

    Raises:
        error: the source is absent, cannot be read, or has another hash.
        OutputError: the disk is full.
    """
    digest, size = hashlib.sha256(), 0
    with reading_errors(source, error=error, fix=fix):
        file = open(source, "rb")  # noqa: SIM115  (closed below; errors of the target are others than the source's)
    with file, disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "xb") as out:
            while piece := _piece(file, source, error, fix):
                digest.update(piece)
                size += out.write(piece)
    if sha256 and digest.hexdigest() != sha256:
        raise error(f"{source} is not the file that its index describes", expected=f"sha256 {sha256}", fix=fix)
    return size


def _piece(file: IO[bytes], source: Path, error: ErrorKind, fix: str) -> bytes:
    with reading_errors(source, error=error, fix=fix):
        return file.read(_PIECE_BYTES)
