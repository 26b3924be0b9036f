"""Human3.6M in the layout of Pavlakos et al.: one sample per scenario and camera, cut around the person.

train.h5  valid.h5                `part`: (N, 17, 2) joint centres in pixels, one row per picture
train_images.txt  valid_images.txt   one name per row, such as S11_Directions_1.54138969_000001.jpg
….jpg                             anywhere below the source; 1000 pixels wide, every fifth frame of 50 Hz video
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ipv_bench.bounded_file import read_bytes
from ipv_bench.errors import InputError, SourceError
from pipelines.datasets.base import (
    Anomaly,
    Box,
    Count,
    FrameSelection,
    ImageFiles,
    Inventory,
    SourceItem,
    SourceRow,
)
from pipelines.datasets.file_tree import FoundFile, list_files
from pipelines.datasets.hdf5_array import read_array
from pipelines.datasets.named_files import NamedFiles
from pipelines.datasets.person_box import person_boxes, published_boxes
from pipelines.datasets.prepare_config import PrepareConfig, refuse_set
from pipelines.datasets.published_table import published_table
from pipelines.datasets.unique_items import sorted_unique

SPLITS = {"train": "train", "valid": "validation"}
"""Prefix of a split's files → split."""
PICTURE_SIDE = 1000
"""The box stays inside the upper 1000 × 1000 pixels; some cameras have 1002 lines."""
NUM_JOINTS = 17
FPS = 10.0
PICTURES_FOLDER, ANNOTATIONS_FOLDER = "images", "annot"
"""Names of the folders in Pavlakos et al.'s layout; asked for where two files have one name."""
MIN_PERSON_SIDE = 16
"""Pixels: joints whose box is smaller are in other units than pixels."""
MAX_IMPLAUSIBLE = 0.1
"""Share of pictures whose joints may look wrong: people do walk out of the picture."""
MIN_STILL = 5
"""Pictures (half a second) in which nobody's joints are equal to the last digit."""
KNOWN_EMPTY = "S11_Directions.54138969"
PAPER_VIDEOS = 840

_NAME = re.compile(r"(?P<sequence>[^/]+?_(?P<action>[A-Za-z]+)(?:_\d+)?\.\d+)_(?P<number>\d+)\.jpe?g", re.IGNORECASE)


class Human36mConfig(PrepareConfig):
    """Fields of `prepare human36m`."""

    padding_px_total: int = Field(200, ge=0)
    """Added to the longer side of the joints' box, in pixels of the source: half of it on each side."""
    corners: Literal["square", "published"] = "square"
    """Rounding of the box: to an exact square, or as ContextWM's published code rounds."""


@dataclass
class _Sequence:
    """The pictures of one scenario and camera: frame numbers, lines of the list, and rows of the joints' table."""

    split: str
    action: str
    numbers: list[int] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    def sort(self) -> None:
        """Into frame order."""
        order = sorted(range(len(self.numbers)), key=lambda place: (self.numbers[place], self.rows[place]))
        self.numbers = [self.numbers[place] for place in order]
        self.lines = [self.lines[place] for place in order]
        self.rows = [self.rows[place] for place in order]


@dataclass(frozen=True)
class _Joints:
    """The joints' table of a split, or why there is none."""

    part: np.ndarray
    problem: str = ""


class Human36m:
    """See `pipelines.datasets.base.DataSet`."""

    name = "human36m"
    config = Human36mConfig
    profiles: Mapping[str, Mapping[str, Any]] = {
        "paper": {},
        "official-code": {"corners": "published", "scaling": "bilinear-plain"},
    }
    redistribution = "Human3.6M is given out by its authors only, on application"
    licence = (
        "Human3.6M: academic use only, on application to the data set's authors; it may not be passed on. "
        "The shards are derived from it and stay under its licence."
    )
    help = (
        "apply at http://vision.imar.ro/human3.6m and lay out the pictures and annotations as Pavlakos et al. "
        "published them: train.h5, valid.h5, train_images.txt, valid_images.txt and the JPEGs, in any folders "
        "(docs/datasets/human36m.md)"
    )

    def refuse_unheeded(self, config: PrepareConfig) -> None:
        """Refuse what would choose frames or cuts otherwise."""
        refuse_set(config, ("fps", "frame_stride", "skip_frames"), "each listed picture is taken, with its own box")
        refuse_set(config, ("crop", "decoder"), "pictures are cut around the person; there is no coded video")

    def inventory(self, source: Path, config: PrepareConfig) -> Inventory:
        """List the release: one item per scenario and camera."""
        assert isinstance(config, Human36mConfig)
        tree = list_files(source)
        files = NamedFiles(tree.files, lambda file: file.name)
        self._check_layout(source, files)
        texts = NamedFiles(tree.with_suffixes((".h5", ".txt")), lambda file: file.name)
        items: list[SourceItem] = []
        warnings = list(tree.warnings)
        num_found = num_listed = 0
        for prefix, split in SPLITS.items():
            lines = _lines(source / _picked(texts, f"{prefix}_images.txt"))
            joints = _read_joints(source / _picked(texts, f"{prefix}.h5"))
            if not joints.problem and len(joints.part) != len(lines):
                warnings.append(
                    f"{prefix}_images.txt lists {len(lines)} pictures and {prefix}.h5 has {len(joints.part)} rows: "
                    "pictures are matched with rows from the start on, and those without a row are quarantined"
                )
            sequences, strange = _group(lines, split)
            items += [_strange_item(name, split) for name in strange]
            items += [_item(name, sequence, files, joints, config) for name, sequence in sequences.items()]
            num_listed += len(lines)
            num_found += sum(line.rpartition("/")[2] in files for line in lines)
        if not num_found:
            raise SourceError(
                f"none of the {num_listed} pictures that the lists name is below {source}",
                expected="the JPEGs that belong to train_images.txt and valid_images.txt",
                fix=self.help,
            )
        warnings += texts.warnings("lists and annotations", f"{ANNOTATIONS_FOLDER}/ goes first, then the first by path")
        rule = f"the listed path goes first, then {PICTURES_FOLDER}/, then the first by path"
        warnings += files.warnings("pictures", rule)
        return _with_known_empty(items, warnings)

    def _check_layout(self, source: Path, files: NamedFiles) -> None:
        needed = [f"{prefix}{ending}" for prefix in SPLITS for ending in (".h5", "_images.txt")]
        missing = [name for name in needed if name not in files]
        if missing:
            raise SourceError(
                f"{source} has no {', '.join(missing)}", expected=f"{', '.join(needed)} and the JPEGs", fix=self.help
            )

    def counts(self, inventory: Inventory, rows: Sequence[SourceRow], config: PrepareConfig) -> list[Count]:
        """Sequences and frames, beside the paper's 840 and the published list's 839."""
        official = {row["sequence"]: int(row["num_frames"]) for row in published_table("human36m")}
        written = [row for row in rows if row.status == "written"]
        frames = sum(row.num_frames_decoded for row in written)
        different = sum(official.get(row.source_id) != row.num_frames_decoded for row in written)
        note = "the paper counts 7 subjects × 30 scenarios × 4 cameras; one of them has no frames upstream"
        listed = f"{different} of ours have another number of frames than in the published list"
        return [
            Count("scenario and camera, with pictures", len(written), PAPER_VIDEOS, len(official), note),
            Count("pictures in them", frames, None, sum(official.values()), listed),
        ]


def _picked(texts: NamedFiles, name: str) -> str:
    """Path of a list or an annotation file that is known to be there."""
    file = texts.pick(name, (ANNOTATIONS_FOLDER,))
    assert file is not None
    return file.path


def _lines(path: Path) -> list[str]:
    """The lines of a list; some editors put a byte order mark in front."""
    data = read_bytes(path, error=SourceError, fix="put the release's own list in its place")
    text = data.decode("utf-8-sig", "replace").replace("\\", "/")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _read_joints(path: Path) -> _Joints:
    nothing = np.empty((0, NUM_JOINTS, 2))
    try:
        part = read_array(path, "part")
    except InputError as error:
        return _Joints(nothing, error.found)
    if part.ndim != 3 or part.shape[1:] != (NUM_JOINTS, 2):
        return _Joints(nothing, f"`part` in {path.name} is {part.shape}, expected (N, 17, 2)")
    return _Joints(part)


def _group(lines: Sequence[str], split: str) -> tuple[dict[str, _Sequence], list[str]]:
    """Sequences by id, and the lines that name no picture of Human3.6M."""
    sequences: dict[str, _Sequence] = {}
    strange = []
    for row, line in enumerate(lines):
        name = line.rpartition("/")[2]
        match = _NAME.fullmatch(name)
        if match is None:
            strange.append(line)
            continue
        sequence = sequences.setdefault(match["sequence"], _Sequence(split, match["action"]))
        sequence.numbers.append(int(match["number"]))
        sequence.lines.append(line)
        sequence.rows.append(row)
    return sequences, strange


def _strange_item(line: str, split: str) -> SourceItem:
    message = "not a name such as S11_Directions_1.54138969_000001.jpg"
    return SourceItem(line, line, 0, None, split=split, problem=("bad_annotation", message))


def _item(
    source_id: str, sequence: _Sequence, files: NamedFiles, joints: _Joints, config: Human36mConfig
) -> SourceItem:
    sequence.sort()
    picked = [files.pick(line.rpartition("/")[2], (PICTURES_FOLDER,), line) for line in sequence.lines]
    found = [file for file in picked if file is not None]
    item = SourceItem(source_id, source_id, 0, None, sequence.action, sequence.split, FrameSelection(), fps=FPS)
    if source_id == KNOWN_EMPTY and not any(file.size_bytes for file in found):
        return replace(item, excluded="known: this sequence has no frames upstream")
    problem = _problem(sequence, found, joints)
    if problem:
        return replace(item, problem=problem)
    boxes = _boxes(joints.part[sequence.rows], config)
    if isinstance(boxes, str):
        return replace(item, problem=("bad_annotation", boxes))
    sizes = tuple(file.size_bytes for file in found)
    images = ImageFiles("", tuple(file.path for file in found), tuple(sequence.numbers), sizes, PICTURE_SIDE)
    return replace(item, frames=images, boxes=boxes, size_bytes=sum(sizes))


def _problem(sequence: _Sequence, found: Sequence[FoundFile], joints: _Joints) -> tuple[str, str] | None:
    unreadable = next((file for file in found if file.problem), None)
    if len(found) < len(sequence.lines):
        present = {file.name for file in found}
        first = next(line for line in sequence.lines if line.rpartition("/")[2] not in present)
        count = len(sequence.lines) - len(found)
        return "missing", f"{count} of {len(sequence.lines)} listed pictures are not there, the first is {first}"
    if unreadable is not None and unreadable.problem:
        return unreadable.problem[0], f"{unreadable.name}: {unreadable.problem[1]}"
    if joints.problem:
        return "bad_annotation", joints.problem
    outside = sum(row >= len(joints.part) for row in sequence.rows)
    if outside:
        return "bad_annotation", f"{outside} of {len(sequence.rows)} listed pictures have no row of joints"
    if len(set(sequence.numbers)) < len(sequence.numbers):
        return "bad_annotation", "a picture is listed twice"
    return None


def _boxes(part: np.ndarray, config: Human36mConfig) -> tuple[Box, ...] | str:
    """One box per picture, or what is wrong with the joints (T, 17, 2)."""
    finite = np.isfinite(part).all(axis=(1, 2))
    if not finite.all():
        return f"joints of {(~finite).sum()} pictures are not numbers, the first is picture {finite.argmin()}"
    low, high = part.min(axis=1), part.max(axis=1)
    outside = ((high < 0) | (low >= PICTURE_SIDE)).any(axis=1)
    if outside.any():
        return f"the box of {outside.sum()} pictures is outside the picture, the first is picture {outside.argmax()}"
    wrong = _implausible(low, high)
    if wrong:
        return wrong
    rule = published_boxes if config.corners == "published" else person_boxes
    boxes = rule(part, config.padding_px_total, PICTURE_SIDE)
    return tuple((left, top, right, bottom) for left, top, right, bottom in boxes.tolist())


def _implausible(low: np.ndarray, high: np.ndarray) -> str:
    """Why the joints' boxes cannot be people in these pictures; empty when they can.

    Args:
        low, high: (T, 2) corners in pixels.
    """
    if len(low) >= MIN_STILL and (low == low[0]).all() and (high == high[0]).all():
        return f"the joints' box is the same in all {len(low)} pictures: {_corners(low[0], high[0])}"
    size = high - low
    inside = np.clip(np.minimum(high, PICTURE_SIDE) - np.maximum(low, 0), 0, None)
    small = size.max(axis=1) < MIN_PERSON_SIDE
    outside = inside.prod(axis=1) < size.prod(axis=1) / 2
    for bad, words in ((small, f"smaller than {MIN_PERSON_SIDE} pixels"), (outside, "more than half outside")):
        if bad.mean() > MAX_IMPLAUSIBLE:
            first = int(bad.argmax())
            return (
                f"the joints' box is {words} in {bad.sum()} of {len(bad)} pictures, the first is picture {first}: "
                f"{_corners(low[first], high[first])}; joints are expected in pixels of pictures {PICTURE_SIDE} wide"
            )
    return ""


def _corners(low: np.ndarray, high: np.ndarray) -> str:
    return f"({low[0]:.4g}, {low[1]:.4g}) to ({high[0]:.4g}, {high[1]:.4g})"


def _with_known_empty(items: Sequence[SourceItem], warnings: Sequence[str]) -> Inventory:
    """The inventory, with the sequence that is known to be empty reported as known."""
    has_siblings = any(item.source_id.startswith("S11_Directions.") for item in items)
    known = next((item for item in items if item.source_id == KNOWN_EMPTY), None)
    anomalies: tuple[Anomaly, ...] = ()
    if known.excluded if known else has_siblings:
        note = "this sequence has no frames upstream; the published list has 839 of the 840 sequences"
        anomalies = (Anomaly(KNOWN_EMPTY, note),)
    return Inventory(sorted_unique(items), anomalies, tuple(warnings))


DATA_SET = Human36m()
