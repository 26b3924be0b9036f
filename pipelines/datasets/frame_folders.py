"""Folders of pictures with numbers in their names: `dir-7/123.jpg`, `clip/frame_000123.png`, `1305031102.175304.png`.

A name is its numbers and the constant text between them. Names of one folder must have one constant text: other ones
are other series, and two series in one folder are no video. The pictures are ordered by all their numbers, the first
one first; where only one of them varies, it is the frame's number.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np

from pipelines.datasets.base import FrameSelection, ImageFiles, SourceItem
from pipelines.datasets.file_tree import LATER_SUFFIXES, FoundFile

_NUMBERS = re.compile(r"([0-9]+)")
_TIME = 10**8
"""A varying number of at least this size counts seconds or smaller parts of them (since 1970, or written as a date)."""
_CLOCK = re.compile(r"[-:_. ]+|T|h|m|min| at ")
"""What stands between the numbers of a date and time of day."""
FOLDER_ID = "."
"""Source id of pictures that lie directly in the source folder."""


@dataclass(frozen=True)
class NumberedFolder:
    """The pictures of one folder, in the order of their numbers.

    Attributes:
        path: of the folder, relative to the source folder.
        files: the pictures.
        numbers: of each, increasing: as in its name, or its place where the names hold times.
        problem: why the folder is no image sequence; None when it is one.
        warning: what may be wrong with the reading; empty when nothing is.
        unnumbered: paths of pictures that are left out, for want of a number in their names.
        beside: paths of pictures of rarer endings that are left out: they are no part of the usual ones' series.
    """

    path: str
    files: tuple[FoundFile, ...]
    numbers: tuple[int, ...]
    problem: tuple[str, str] | None = None
    warning: str = ""
    unnumbered: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

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

    def beside_with(self, number: int) -> str | None:
        """Path of a picture that is left out for its rarer ending and has this number in its name."""
        stems = ((path, os.path.splitext(path.rpartition("/")[2])[0]) for path in self.beside)
        return next((path for path, stem in stems if number in map(int, _NUMBERS.findall(stem))), None)

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

    Pictures without a number in their name are left out where others have one. Two series in one folder, or two
    pictures with one number, are a problem of their folder: which ones are the frames cannot be told. Only where
    pictures of rarer endings (masks or depth in `1.tif` beside `1.jpg`) make the problem, or a few of them (`900.tif`
    beside `1.jpg` to `9.jpg`) alone make gaps in the numbers, are these left out.
    """
    by_folder: dict[str, list[FoundFile]] = defaultdict(list)
    for file in pictures:
        by_folder[file.folder].append(file)
    return [_folder(path, files) for path, files in sorted(by_folder.items())]


def missing_number(numbers: Sequence[int]) -> int | None:
    """The first number that is missing in an increasing sequence with a fixed step; None when it is whole.

    The step is the smallest one that occurs, as every fifth frame may have been extracted.
    """
    if len(numbers) < 2:
        return None
    steps = np.diff(numbers)
    step = int(steps.min())
    broken = np.flatnonzero(steps != step)
    return int(numbers[broken[0]]) + step if step and len(broken) else None


def doubts(folders: Iterable[NumberedFolder]) -> list[str]:
    """The folders' warnings, and one for all pictures that are left out."""
    folders = list(folders)
    warnings = [folder.warning for folder in folders if folder.warning]
    unnumbered = [path for folder in folders for path in folder.unnumbered]
    if unnumbered:
        lie = f"{len(unnumbered)} pictures without a number in their names lie beside numbered ones"
        warnings.append(f"{lie} and are left out, the first is {unnumbered[0]}")
    beside = [path for folder in folders for path in folder.beside]
    if beside:
        endings = ", ".join(sorted({os.path.splitext(path)[1].lower() for path in beside}))
        lie = f"{len(beside)} pictures ({endings}) are no part of the series of usual pictures in their folders"
        warnings.append(f"{lie} and are left out, the first is {beside[0]}; a folder of their own makes them an item")
    return warnings


@dataclass(frozen=True)
class _Name:
    """A picture's name taken apart.

    Attributes:
        text: the constant text between the numbers.
        numbers: in order; the digits behind the decimal point of a time are a fraction.
    """

    file: FoundFile
    text: tuple[str, ...]
    numbers: tuple[int | Fraction, ...]


def _name(file: FoundFile) -> _Name:
    parts = _NUMBERS.split(file.stem)
    text, digits = tuple(parts[::2]), parts[1::2]
    numbers: list[int | Fraction] = []
    for place, digit in enumerate(digits):
        is_fraction = place > 0 and text[place] == "." and int(digits[place - 1]) >= _TIME
        numbers.append(Fraction(int(digit), 10 ** len(digit)) if is_fraction else int(digit))
    return _Name(file, text, tuple(numbers))


def _folder(path: str, files: Sequence[FoundFile]) -> NumberedFolder:
    """All pictures where they make one series; else those of usual endings, where they do by themselves.

    A few pictures of rarer endings whose numbers tear gaps into a series that has none are no part of it either.
    """
    whole = _numbered(path, files)
    usual = [file for file in files if file.suffix not in LATER_SUFFIXES]
    if len(usual) in (0, len(files)):
        return whole
    is_torn = missing_number(whole.numbers) is not None and 2 * len(usual) > len(files)
    if whole.problem is None and not is_torn:
        return whole
    kept = _numbered(path, usual)
    if kept.problem or (whole.problem is None and missing_number(kept.numbers) is not None):
        return whole
    return replace(kept, beside=tuple(sorted(file.path for file in files if file.suffix in LATER_SUFFIXES)))


def _numbered(folder: str, files: Sequence[FoundFile]) -> NumberedFolder:
    names = [name for name in map(_name, files) if name.numbers]
    names.sort(key=lambda name: (name.numbers, name.file.path))
    kept = tuple(name.file for name in names)
    places = tuple(range(len(kept)))
    if not names:
        problem = ("bad_annotation", f"none of its {len(files)} pictures has a number in its name")
        return NumberedFolder(folder, (), (), problem)
    other = next((name for name in names if name.text != names[0].text), None)
    if other is not None:
        two = " and ".join(sorted((names[0].file.name, other.file.name)))
        message = f"{two} differ in more than numbers: two series in one folder; give each its own"
        return NumberedFolder(folder, kept, places, ("bad_annotation", message))
    twice = next((after for before, after in pairwise(names) if before.numbers == after.numbers), None)
    columns = list(zip(*(name.numbers for name in names), strict=True))
    varying = [column for column in columns if len(set(column)) > 1] or columns[-1:]
    numbers = _frame_numbers(varying) or places
    if twice is not None:
        number = numbers[names.index(twice)] if numbers is not places else twice.file.stem
        return NumberedFolder(folder, kept, places, ("bad_annotation", f"two pictures have the number {number}"))
    unnumbered = tuple(file.path for file in files if not _NUMBERS.search(file.stem))
    return NumberedFolder(folder, kept, numbers, warning=_doubt(folder, names, varying), unnumbered=unnumbered)


def _frame_numbers(varying: Sequence[Sequence[int | Fraction]]) -> tuple[int, ...]:
    """The one number that varies, when it counts frames; empty when the names hold times or several counters."""
    if len(varying) > 1 or max(varying[0]) >= _TIME or isinstance(varying[0][0], Fraction):
        return ()
    return tuple(int(number) for number in varying[0])


def _doubt(folder: str, names: Sequence[_Name], varying: Sequence[Sequence[int | Fraction]]) -> str:
    """A warning where two counters vary that cannot be the parts of a time: perhaps there are two series."""
    if len(varying) < 2 or max(varying[0]) >= _TIME:
        return ""
    if all(max(column) < 60 for column in varying[1:]) and _is_clock(names):
        return ""
    first, last = names[0].file.name, names[-1].file.name
    return (
        f"{folder or FOLDER_ID}: {len(varying)} numbers vary from {first} to {last}; taken as one video in that order"
    )


def _is_clock(names: Sequence[_Name]) -> bool:
    """Whether the numbers that vary are written as times are: three of them, or of two digits each, without words."""
    digits = list(zip(*(_NUMBERS.findall(name.file.stem) for name in names), strict=True))
    varying = [place for place, column in enumerate(digits) if len(set(map(int, column))) > 1]
    between = names[0].text[varying[0] + 1 : varying[-1] + 1]
    two_digits = all(len(number) == 2 for place in varying for number in digits[place])
    return all(map(_CLOCK.fullmatch, between)) and (len(varying) > 2 or two_digits)
