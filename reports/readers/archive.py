"""Tar archives of score files, as projects publish them: unpacked into a temporary folder and read from there."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ipv_bench.errors import InputError
from reports.scores.findings import Finding
from reports.scores.score_table import UnknownFile

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz")
LARGEST_BYTES = 4 << 30
"""Contents above this are refused: an archive of scores has megabytes."""


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
            with tarfile.open(path) as archive:
                size = sum(member.size for member in archive)
                if size > LARGEST_BYTES:
                    raise InputError(
                        f"{path} holds {size / 2**30:.0f} GiB",
                        expected="an archive of scores",
                        fix="unpack it yourself",
                    )
                archive.extractall(folder, filter="data")
        except (tarfile.TarError, OSError, EOFError) as error:
            raise InputError(f"{path} cannot be unpacked: {error}", expected="a whole tar archive") from None

        def named(text: str) -> str:
            return text.replace(folder, str(path))

        def renamed(item: Any) -> Any:
            if isinstance(item, Finding):
                return replace(
                    item, text=named(item.text), fix=named(item.fix), subjects=tuple(map(named, item.subjects))
                )
            if isinstance(item, UnknownFile):
                return replace(item, path=named(item.path), reason=named(item.reason))
            return replace(item, source=named(item.source))

        yield Path(folder), renamed
