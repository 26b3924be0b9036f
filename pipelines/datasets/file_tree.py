"""Lists the files of a release, following links without ever going round in a circle."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ipv_bench.bounded_file import LASTING
from ipv_bench.errors import SourceError

VIDEO_SUFFIXES = frozenset(
    {
        ".3g2",
        ".3gp",
        ".asf",
        ".avi",
        ".divx",
        ".f4v",
        ".flv",
        ".gif",
        ".m2t",
        ".m2ts",
        ".m4v",
        ".mjpeg",
        ".mjpg",
        ".mk3d",
    }
    | {".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".ogv", ".qt", ".ts", ".vob", ".webm", ".wmv"}
)
"""Of containers whose structure is checked (`pipelines.decoding.containers`): in others damage might not be seen."""
IMAGE_SUFFIXES = frozenset(
    {".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
LATER_SUFFIXES = frozenset(
    {".3g2", ".asf", ".divx", ".f4v", ".m2t", ".mk3d", ".mpe", ".qt", ".vob"}
    | {".jfif", ".jpe", ".pbm", ".pgm", ".pnm", ".tif", ".tiff"}
)
"""Those of the two above that older versions left out: sets that were begun by them do not know such files."""
_TEXT_SUFFIXES = frozenset(
    {".ass", ".cfg", ".csv", ".htm", ".html", ".ini", ".json", ".jsonl", ".log", ".md", ".md5", ".nfo", ".pdf", ".py"}
    | {".rst", ".sh", ".sha256", ".srt", ".sub", ".toml", ".tsv", ".txt", ".vtt", ".xml", ".yaml", ".yml"}
)
_TEXT_NAMES = frozenset({"COPYING", "LICENCE", "LICENSE", "MD5SUMS", "NOTICE", "README", "SHA256SUMS"})
"""Files that lie beside videos and that nobody expects in a set."""

_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})


@dataclass(frozen=True)
class FoundFile:
    """A file below a source folder.

    Attributes:
        path: relative to the source folder, with `/`.
        size_bytes: 0 when it cannot be read.
        problem: (reason, message) when it is known to be unusable; see `pipelines.datasets.quarantine.REASONS`.
        replaces: how many members of the same path stand before it in its archive; unpacked, it alone is left.
    """

    path: str
    size_bytes: int
    problem: tuple[str, str] | None = None
    replaces: int = 0

    @property
    def folder(self) -> str:
        """Relative path of its folder, empty for the source folder itself."""
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        """File name."""
        return self.path.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """File name without its suffix."""
        return os.path.splitext(self.name)[0]

    @property
    def suffix(self) -> str:
        """Lower-case suffix with its dot."""
        return os.path.splitext(self.name)[1].lower()


@dataclass(frozen=True)
class FileTree:
    """All files below a folder, sorted by path; hidden files and folders are left out.

    Attributes:
        files: the files.
        warnings: folders that cannot be read.
    """

    files: tuple[FoundFile, ...]
    warnings: tuple[str, ...] = ()

    def with_suffixes(self, suffixes: Iterable[str]) -> tuple[FoundFile, ...]:
        """The files that have one of these suffixes."""
        wanted = frozenset(suffixes)
        return tuple(file for file in self.files if file.suffix in wanted)

    def left_out(self, suffixes: Iterable[str]) -> list[str]:
        """A warning where files have none of these suffixes, texts apart: somebody may miss them in the set."""
        wanted = frozenset(suffixes)
        others = [file for file in self.files if file.suffix not in wanted and not _is_text(file)]
        if not others:
            return []
        counts = Counter(file.suffix or "none" for file in others)
        shown = ", ".join(f"{suffix} {count}" for suffix, count in sorted(counts.items(), key=lambda pair: -pair[1]))
        return [f"{len(others)} files have other endings and are left out ({shown}), the first is {others[0].path}"]


def _is_text(file: FoundFile) -> bool:
    return file.suffix in _TEXT_SUFFIXES or file.name.upper() in _TEXT_NAMES


def list_files(source: str | Path) -> FileTree:
    """List the files below `source`.

    Links to folders are followed, each real folder once: a link back to a parent adds nothing. Links to nowhere and
    links that point at themselves are files with a problem.

    Raises:
        SourceError: `source` is no folder, or it cannot be read, or not at this moment (an I/O error, a network file
            system that is away).
    """
    source = Path(source)
    found = _not_a_folder(source)
    if found:
        raise SourceError(
            f"the source folder {source} {found}",
            expected="the folder that holds the raw release",
            fix="point --source at it",
        )
    walk = _Walk(source)
    walk.visit("")
    if not walk.files and walk.warnings:
        raise SourceError(walk.warnings[0], expected="a folder that may be read", fix="change its permissions")
    return FileTree(tuple(sorted(walk.files, key=lambda file: file.path)), tuple(walk.warnings))


def _not_a_folder(path: Path) -> str:
    """What a path is in place of a folder; empty when it is one."""
    try:
        return "" if stat.S_ISDIR(path.stat().st_mode) else "is a file"
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"


@dataclass
class _Walk:
    source: Path
    files: list[FoundFile] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    visited: set[str] = field(default_factory=set)

    def visit(self, start: str) -> None:
        """Real folders first, then links to folders that were not met on the way."""
        folders, links = [start], list[str]()
        while folders or links:
            folder = folders.pop() if folders else links.pop(0)
            place = os.path.realpath(self.source / folder)
            if place in self.visited:
                continue
            self.visited.add(place)
            inside, linked = self._scan(folder)
            folders += inside
            links = sorted({*links, *linked})

    def _scan(self, folder: str) -> tuple[list[str], list[str]]:
        inside, linked = [], []
        try:
            entries = sorted(os.scandir(self.source / folder), key=lambda entry: entry.name)
        except OSError as error:
            refuse_passing(error, self.source / folder, _FORBIDDEN)  # it was there when its parent was listed
            self.warnings.append(f"the folder {printable(folder) or self.source} cannot be read: {error.strerror}")
            return [], []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_symlink() and os.path.isdir(entry.path):
                linked.append(path)
            elif entry.is_dir(follow_symlinks=False):
                inside.append(path)
            else:
                self.files.append(_file(path, entry))
        return inside, linked


def _file(path: str, entry: os.DirEntry[str]) -> FoundFile:
    try:
        status = entry.stat()
    except OSError as error:
        refuse_passing(error, entry.path)
        reason = "missing" if error.errno == errno.ENOENT else "unreadable"
        what = "a link that leads nowhere" if entry.is_symlink() else "it cannot be looked at"
        return FoundFile(printable(path), 0, (reason, f"{what}: {error.strerror}"))
    size_bytes = status.st_size
    if not stat.S_ISREG(status.st_mode):
        return FoundFile(
            printable(path), 0, ("unreadable", f"it is {kind_of_file(status.st_mode)}, not a regular file")
        )
    if printable(path) != path:
        return FoundFile(printable(path), size_bytes, ("unreadable", "its name is not UTF-8"))
    return FoundFile(path, size_bytes)


def refuse_passing(error: OSError, path: str | Path, lasting: frozenset[int] = LASTING) -> None:
    """Refuse a release that cannot be listed at this moment: what lies there would be missing in the plan for good.

    Args:
        error: of the system.
        path: that it is about.
        lasting: errors that a release has by itself.

    Raises:
        SourceError: `error` is none of them.
    """
    if error.errno not in lasting:
        raise SourceError(
            f"{printable(str(path))} cannot be looked at: {error.strerror}",
            expected="a disk that can be read",
            fix="check the disk or the network file system, then run the same command again",
        ) from error


def kind_of_file(mode: int) -> str:
    """What a file that is not regular is, in words; opening such a file may block for ever."""
    kinds = (
        (stat.S_ISFIFO, "a pipe (FIFO)"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISBLK, "a block device"),
    )
    return next((words for is_kind, words in kinds if is_kind(mode)), "of an unknown kind")


def printable(path: str) -> str:
    """A path that tables and JSON can hold: bytes that are not UTF-8 are written `\\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
