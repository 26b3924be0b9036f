"""Folders of pictures whose names end in a number: `dir-7/123.jpg`, `clip/frame_000123.png`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipelines.datasets.base import FrameSelection, ImageFiles, SourceItem
from pipelines.datasets.file_tree import FoundFile

_NUMBER = re.compile(r"(?P<prefix>.*?)(?P<number>\d+)")
FOLDER_ID = "."
"""Source id of pictures that lie directly in the source folder."""


@dataclass(frozen=True)
class NumberedFolder:
    """The pictures of one folder, in the order of their numbers.

    Attributes:
        path: of the folder, relative to the source folder.
        files: the pictures.
        numbers: of each, as in its name.
        problem: why the folder is no image sequence; None when it is one.
    """

    path: str
    files: tuple[FoundFile, ...]
    numbers: tuple[int, ...]
    problem: tuple[str, str] | None = None

    @property
    def source_id(self) -> str:
        """Path of the folder."""
        return self.path or FOLDER_ID

    def runs(self) -> list[tuple[int, int]]:
        """(first place, end) of each run of numbers without a gap."""
        if not self.numbers:
            return []
        breaks = (np.flatnonzero(np.diff(self.numbers) != 1) + 1).tolist()
        return list(zip([0, *breaks], [*breaks, len(self.numbers)], strict=True))

    def item(
        self,
        source_id: str | None = None,
        places: Sequence[int] | None = None,
        *,
        split: str = "",
        label: str = "",
        fps: float = 0.0,
        selection: FrameSelection | None = None,
        run: tuple[int, int] | None = None,
    ) -> SourceItem:
        """A source item of some of the pictures.

        Args:
            source_id: None takes the folder's path.
            places: of the pictures that are kept; None takes all and leaves the choice to `selection`.
            split, label, fps, selection: of the item.
            run: part of the folder that the item stands for; None for all of it.
        """
        begin, end = run or (0, len(self.files))
        chosen = range(begin, end) if places is None else places
        if places is not None:
            selection = FrameSelection()
        sizes = tuple(self.files[place].size_bytes for place in chosen)
        names = tuple(self.files[place].name for place in chosen)
        images = ImageFiles(self.path, names, tuple(self.numbers[place] for place in chosen), sizes)
        problem = self.problem or next((file.problem for file in self.files[begin:end] if file.problem), None)
        size_bytes = sum(file.size_bytes for file in self.files[begin:end])
        return SourceItem(
            source_id or self.source_id,
            self.source_id,
            size_bytes,
            None if problem else images,
            label,
            split,
            selection,
            fps=fps,
            problem=problem,
        )


def numbered_folders(pictures: Iterable[FoundFile]) -> list[NumberedFolder]:
    """The folders that hold pictures, by path.

    Pictures without a number in their name are left out where others have one. Two pictures with one number are a
    problem of their folder: which one is the frame cannot be told.
    """
    by_folder: dict[str, list[FoundFile]] = defaultdict(list)
    for file in pictures:
        by_folder[file.folder].append(file)
    return [_numbered(folder, files) for folder, files in sorted(by_folder.items())]


def _numbered(folder: str, files: Sequence[FoundFile]) -> NumberedFolder:
    numbered = []
    for file in files:
        match = _NUMBER.fullmatch(file.stem)
        if match is not None:
            numbered.append((int(match["number"]), file))
    numbered.sort(key=lambda pair: (pair[0], pair[1].path))
    numbers, kept = tuple(number for number, _ in numbered), tuple(file for _, file in numbered)
    problem = None
    if not numbers:
        problem = ("bad_annotation", f"none of its {len(files)} pictures has a number at the end of its name")
    elif len(set(numbers)) < len(numbers):
        twice = next(number for number, after in pairwise(numbers) if number == after)
        problem = ("bad_annotation", f"two pictures have the number {twice}")
    return NumberedFolder(folder, kept, numbers, problem)
