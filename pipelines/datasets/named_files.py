"""Files of a release that its lists call by a name: which one is meant where several have it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from pipelines.datasets.file_tree import FoundFile


class NamedFiles:
    """Files by name (or by stem).

    Args:
        files: sorted by path, each once.
        key: of a file.
    """

    def __init__(self, files: Iterable[FoundFile], key: Callable[[FoundFile], str]) -> None:
        self._files: dict[str, list[FoundFile]] = defaultdict(list)
        for file in files:
            self._files[key(file)].append(file)
        self._doubts: list[tuple[FoundFile, FoundFile]] = []

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def __len__(self) -> int:
        return len(self._files)

    def names(self) -> set[str]:
        """All names."""
        return set(self._files)

    def pick(self, name: str, folders: Sequence[str], listed_path: str = "") -> FoundFile | None:
        """The file that is meant: the one at the listed path; else in the first of `folders`; else first by path.

        Args:
            name: its key.
            folders: names of folders, the preferred first.
            listed_path: as the list writes it, when it writes more than a name; its end must fit.
        """
        found = self._files.get(name, [])
        if len(found) < 2:
            return found[0] if found else None
        listed = [file for file in found if "/" in listed_path and f"/{file.path}".endswith(f"/{listed_path}")]
        if len(listed) == 1:
            return listed[0]

        def rank(file: FoundFile) -> tuple[int, str]:
            parts = file.folder.split("/")
            return next((place for place, folder in enumerate(folders) if folder in parts), len(folders)), file.path

        best, other, *_ = sorted(listed or found, key=rank)
        self._doubts.append((best, other))
        return best

    def warnings(self, what: str, rule: str) -> list[str]:
        """A line when names were picked that several files have.

        Args:
            what: the files are, in plural.
            rule: by which one was taken.
        """
        if not self._doubts:
            return []
        best, other = self._doubts[0]
        return [
            f"{len(self._doubts)} {what} are there more than once, such as {best.path} ({best.size_bytes:,} bytes, "
            f"taken) and {other.path} ({other.size_bytes:,} bytes): {rule}"
        ]
