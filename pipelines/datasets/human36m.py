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

from ipv_bench.errors import SourceError
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
from pipelines.datasets.person_box import person_boxes, published_boxes
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.published_table import published_table
from pipelines.datasets.unique_items import sorted_unique

SPLITS = {"train": "train", "valid": "validation"}
"""Prefix of a split's files → split."""
PICTURE_SIDE = 1000
"""The box stays inside the upper 1000 × 1000 pixels; some cameras have 1002 lines."""
NUM_JOINTS = 17
FPS = 10.0
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
    """The pictures of one scenario and camera: frame numbers, names and rows of the joints' table."""

    split: str
    action: str
    numbers: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    def sort(self) -> None:
        """Into frame order."""
        order = sorted(range(len(self.numbers)), key=lambda place: (self.numbers[place], self.rows[place]))
        self.numbers = [self.numbers[place] for place in order]
        self.names = [self.names[place] for place in order]
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
    licence = (
        "Human3.6M: academic use only, on application to the data set's authors; it may not be passed on. "
        "The shards are derived from it and stay under its licence."
    )
    help = (
        "apply at http://vision.imar.ro/human3.6m and lay out the pictures and annotations as Pavlakos et al. "
        "published them: train.h5, valid.h5, train_images.txt, valid_images.txt and the JPEGs, in any folders "
        "(docs/datasets/human36m.md)"
    )

    def inventory(self, source: Path, config: PrepareConfig) -> Inventory:
        """List the release: one item per scenario and camera."""
        assert isinstance(config, Human36mConfig)
        tree = list_files(source)
        files = {file.name: file for file in reversed(tree.files)}  # of two with one name, the first by path counts
        self._check_layout(source, files)
        items: list[SourceItem] = []
        warnings = list(tree.warnings)
        num_found = num_listed = 0
        for prefix, split in SPLITS.items():
            lines = (
                (source / files[f"{prefix}_images.txt"].path)
                .read_text(encoding="utf-8-sig", errors="replace")
                .splitlines()
            )
            lines = [line.strip() for line in lines if line.strip()]
            joints = _read_joints(source / files[f"{prefix}.h5"].path)
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
        return _with_known_empty(items, warnings)

    def _check_layout(self, source: Path, files: Mapping[str, FoundFile]) -> None:
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


def _read_joints(path: Path) -> _Joints:
    import h5py

    nothing = np.empty((0, NUM_JOINTS, 2))
    try:
        with h5py.File(path, "r") as file:
            part = file.get("part")
            if not isinstance(part, h5py.Dataset):
                return _Joints(nothing, f"{path.name} has no array `part`")
            if part.ndim != 3 or part.shape[1:] != (NUM_JOINTS, 2) or part.dtype.kind not in "fiu":
                return _Joints(nothing, f"`part` in {path.name} is {part.dtype} {part.shape}, expected (N, 17, 2)")
            return _Joints(np.asarray(part, np.float64))
    except OSError as error:
        return _Joints(nothing, f"{path.name} cannot be read: {str(error).splitlines()[0]}")


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
        sequence.names.append(name)
        sequence.rows.append(row)
    return sequences, strange


def _strange_item(line: str, split: str) -> SourceItem:
    message = "not a name such as S11_Directions_1.54138969_000001.jpg"
    return SourceItem(line, line, 0, None, split=split, problem=("bad_annotation", message))


def _item(
    source_id: str, sequence: _Sequence, files: Mapping[str, FoundFile], joints: _Joints, config: Human36mConfig
) -> SourceItem:
    sequence.sort()
    found = [files[name] for name in sequence.names if name in files]
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
    images = ImageFiles("", tuple(file.path for file in found), tuple(sequence.numbers), sizes)
    return replace(item, frames=images, boxes=boxes, size_bytes=sum(sizes))


def _problem(sequence: _Sequence, found: Sequence[FoundFile], joints: _Joints) -> tuple[str, str] | None:
    unreadable = next((file for file in found if file.problem), None)
    if len(found) < len(sequence.names):
        present = {file.name for file in found}
        first = next(name for name in sequence.names if name not in present)
        count = len(sequence.names) - len(found)
        return "missing", f"{count} of {len(sequence.names)} listed pictures are not there, the first is {first}"
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
    rule = published_boxes if config.corners == "published" else person_boxes
    boxes = rule(part, config.padding_px_total, PICTURE_SIDE)
    return tuple((left, top, right, bottom) for left, top, right, bottom in boxes.tolist())


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
