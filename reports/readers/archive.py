"""Tar archives of score files, as projects publish them: unpacked into a temporary folder and read from there."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from ipv_bench.errors import InputError
from reports.scores.findings import Finding
from reports.scores.score_table import ScoredRun, UnknownFile

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz")
LARGEST_BYTES = 4 << 30
"""Contents above this are refused: an archive of scores has megabytes."""

MOST_MEMBERS = 1_000_000


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of a tar archive."""
    return path.is_file() and path.name.endswith(SUFFIXES)


@contextmanager
def unpacked(path: Path) -> Iterator[tuple[Path, Callable[[Any], Any]]]:
    """Unpack an archive for the time of the `with`.

    Yields:
        The temporary folder, and a function that replaces its name by the archive's in runs, findings and unknown
        files: the name of a temporary folder must not reach the report.

    Raises:
        InputError: damaged, too large, or with members that would be written outside the folder.
    """
    with tempfile.TemporaryDirectory(prefix="ipv-bench-report-") as folder:
        try:
            _unpack(path, Path(folder))
        except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise InputError(
                f"{path} cannot be unpacked: {error}",
                expected="a whole tar archive",
                fix="copy or download it again, or leave it out",
            ) from None

        def named(text: str) -> str:
            return text.replace(folder, str(path))

        def renamed(item: Any) -> Any:
            if isinstance(item, Finding):
                return replace(
                    item, text=named(item.text), fix=named(item.fix), subjects=tuple(map(named, item.subjects))
                )
            if isinstance(item, UnknownFile):
                return replace(item, path=named(item.path), reason=named(item.reason))
            if (
                isinstance(item, ScoredRun) and item.method == Path(folder).name
            ):  # files at the root: the archive names it
                item = replace(item, method=_stem(path))
            return replace(item, source=named(item.source))

        yield Path(folder), renamed


def _stem(path: Path) -> str:
    """The archive's name without its suffix."""
    return next(path.name.removesuffix(suffix) for suffix in SUFFIXES[::-1] if path.name.endswith(suffix))


def _unpack(path: Path, folder: Path) -> None:
    """Write the plain files of an archive below a folder; links, devices and the like are passed over.

    Raises:
        InputError: too many or too large members, or one that would lie outside the folder.
    """
    left = LARGEST_BYTES
    with tarfile.open(path) as archive:
        for count, member in enumerate(archive):
            left -= member.size
            if left < 0 or count >= MOST_MEMBERS:
                raise InputError(
                    f"{path} holds more than {LARGEST_BYTES >> 30} GiB or {MOST_MEMBERS:,} files",
                    expected="an archive of scores",
                    fix="unpack it yourself",
                )
            if not member.isreg():
                continue
            name = PurePosixPath(member.name)
            if name.is_absolute() or ".." in name.parts or "\0" in member.name:
                raise InputError(
                    f"{path} has a member {member.name!r}",
                    expected="names inside the archive's folder",
                    fix="pack it again without that member, or leave it out",
                )
            target = folder.joinpath(*name.parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            contents = archive.extractfile(member)
            assert contents is not None  # a plain file has contents
            with open(target, "wb") as file:
                shutil.copyfileobj(contents, file)
