"""Tar archives that are distributed in pieces: `name-00`, `name-01`, … (or a zip of each piece).

Joined in order the pieces are one tar, usually compressed, so its members can only be read one after another. The
inventory lists them in one pass; the videos that a job still needs are laid out beside the shards in a second pass and
removed when the set is complete.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from ipv_bench.atomic_file import TEMPORARY_SUFFIX, disk_errors
from ipv_bench.errors import SourceError
from ipv_bench.progress import progress
from pipelines.datasets.file_tree import FileTree, FoundFile, printable

_PIECE = re.compile(r"(?P<stem>.+)-(?P<number>\d\d)(\.zip)?")


def find_pieces(tree: FileTree, prefix: str) -> tuple[str, ...]:
    """Relative paths of the pieces of the archive `prefix`, in order; empty without any.

    Raises:
        SourceError: a piece is missing between two others.
    """
    pieces: dict[int, str] = {}
    for file in tree.files:
        match = _PIECE.fullmatch(file.name)
        if match and match["stem"] == prefix:
            pieces.setdefault(int(match["number"]), file.path)
    missing = sorted(set(range(max(pieces, default=-1) + 1)) - pieces.keys())
    if missing:
        raise SourceError(
            f"the archive {prefix}-00 … -{max(pieces):02d} lacks piece {missing[0]:02d}",
            expected="all pieces, without a gap",
            fix="finish the download",
        )
    return tuple(pieces[number] for number in sorted(pieces))


def list_members(source: Path, pieces: Sequence[str], suffix: str) -> list[FoundFile]:
    """The members whose names end with `suffix`, found by reading the whole archive once.

    Members that hold no contents of their own, or whose names no table can hold, have a problem. Of members of one path
    the last is taken, which is what unpacking leaves.

    Raises:
        SourceError: the archive is damaged or cut off.
    """
    found: dict[str, FoundFile] = {}
    with progress("reading the split archive", None, "files") as bar:
        for member, _ in _members(source, pieces):
            if member.name.endswith(suffix) and not member.isdir():
                name = _safe_name(member.name)
                replaces = found[name].replaces + 1 if name in found else 0
                found[name] = FoundFile(name, member.size, _problem(member), replaces)
            bar.advance(1)
    return list(found.values())


def extract(
    source: Path, pieces: Sequence[str], sizes: Mapping[str, int], folder: Path, replaced: Mapping[str, int]
) -> None:
    """Lay members out below `folder`; what an earlier, interrupted run laid out is kept.

    Args:
        sizes: path as `list_members` gave it → size in bytes, for all members that are wanted.
        replaced: path → how many members of it are passed over before the one that is meant, where there are some.

    Raises:
        SourceError: the archive is damaged or cut off.
        OutputError: the disk is full, or the folder cannot be written.
    """
    todo = {name for name, size in sizes.items() if not _is_there(folder / name, size)}
    if not todo:
        return
    before = {name: replaced.get(name, 0) for name in todo}
    with progress("laying out the split archive", len(sizes), "files", len(sizes) - len(todo)) as bar:
        for member, file in _members(source, pieces):
            name = _safe_name(member.name)
            if name not in todo or member.isdir():
                continue
            before[name] -= 1
            if file is None or before[name] >= 0:
                continue
            target = folder / name
            with disk_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary = target.with_name(target.name + TEMPORARY_SUFFIX)
                with open(temporary, "wb") as out:
                    for piece in _contents(file, pieces):
                        out.write(piece)
                os.replace(temporary, target)
            todo.remove(name)
            bar.advance(1)
            if not todo:
                return


def _contents(file: IO[bytes], pieces: Sequence[str]) -> Iterator[bytes]:
    """What a member holds, piece by piece: what cannot be read is the archive's fault, not that of the output."""
    while True:
        with _archive_errors(pieces):
            piece = file.read(1 << 20)
        if not piece:
            return
        yield piece


def _problem(member: tarfile.TarInfo) -> tuple[str, str] | None:
    """Why a member cannot be laid out by itself; None when it can."""
    if printable(member.name) != member.name:
        return "unreadable", "its name is not UTF-8"
    if member.islnk() or member.issym():
        kind = "hard" if member.islnk() else "symbolic"
        words = f"in the archive it is a {kind} link to {printable(member.linkname)}"
        return "bad_annotation", f"{words}: extract the archive and prepare the folder"
    return None if member.isreg() else ("unreadable", "in the archive it is no regular file")


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _safe_name(name: str) -> str:
    """Folder and file name only, as tables can hold them: a member must not be laid out elsewhere."""
    parts = [part for part in printable(name).split("/") if part not in ("", ".", "..")]
    return "/".join(parts[-2:])


_ERRORS = (
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    OSError,
    RuntimeError,
    ValueError,
)
"""Also what Python's readers say of encrypted zips (RuntimeError) and impossible headers (ValueError)."""


@contextmanager
def _archive_errors(pieces: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except _ERRORS as error:
        raise SourceError(
            f"the archive {pieces[0]} … {pieces[-1]} ({len(pieces)} pieces) cannot be read to its end: {error}",
            expected="every piece, complete; joined they are one tar archive",
            fix="compare the pieces' sizes with the download page and download those that differ again",
        ) from error


def _members(source: Path, pieces: Sequence[str]) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Members in order, regular ones with their contents, which must be read before the next."""
    with _archive_errors(pieces):
        joined = io.BufferedReader(_Joined([source / piece for piece in pieces]), 1 << 20)  # type: ignore[type-var]
        with tarfile.open(fileobj=_decompressed(joined), mode="r|", tarinfo=_StrictHeader) as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep all headers
                file = tar.extractfile(member) if member.isreg() else None
                yield member, file
            _check_end(tar.fileobj)


class _StrictHeader(tarfile.TarInfo):
    """A header that is not one is an error: `tarfile` takes it for the end of the archive, without a word."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> _StrictHeader:
        """See `tarfile.TarInfo.fromtarfile`."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the block of zeros that ends an archive
            raise
        except tarfile.HeaderError as error:
            position = archive.fileobj.tell() if archive.fileobj else 0
            raise tarfile.ReadError(f"{error} before byte {position:,} of the joined archive") from error


def _check_end(stream: Any) -> None:
    """Behind the end mark there are zeros only; reading them lets the compression compare its checksum."""
    while piece := stream.read(1 << 16):
        if piece.strip(b"\0"):
            raise tarfile.ReadError(f"data behind the archive's end mark, before byte {stream.tell():,}")


def _decompressed(joined: Any) -> IO[bytes]:
    """The tar within; unlike `tarfile`'s own streams these compare the checksums of the compressed data."""
    head = joined.peek(6)
    if head.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=joined))
    if head.startswith(b"BZh"):
        return bz2.BZ2File(joined)
    if head.startswith(b"\xfd7zXZ"):
        return lzma.LZMAFile(joined)
    return cast(IO[bytes], joined)


class _Joined(io.RawIOBase):
    """The pieces as one stream."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths, self._file = list(paths), None  # type: list[Path], IO[bytes] | None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        while True:
            if self._file is None:
                if not self._paths:
                    return 0
                self._file = _open_piece(self._paths.pop(0))
            data = self._file.read(len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
            self._file.close()
            self._file = None


def _open_piece(path: Path) -> IO[bytes]:
    if path.suffix != ".zip":
        return open(path, "rb")
    archive = zipfile.ZipFile(path)
    names = [name for name in archive.namelist() if not name.endswith("/")]
    if len(names) != 1:
        raise zipfile.BadZipFile(f"{path.name} holds {len(names)} files instead of one piece")
    return archive.open(names[0])
