"""Any tree of videos and folders of numbered pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ipv_bench.errors import SourceError
from pipelines.datasets.base import Count, Inventory, SourceItem, SourceRow, VideoFile
from pipelines.datasets.file_tree import IMAGE_SUFFIXES, VIDEO_SUFFIXES, FoundFile, list_files
from pipelines.datasets.frame_folders import NumberedFolder, doubts, numbered_folders
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.unique_items import sorted_unique


class FolderConfig(PrepareConfig):
    """Fields of `prepare folder`."""

    gaps: Literal["quarantine", "allow"] = "quarantine"
    """What becomes of a folder of pictures in whose numbering some are missing."""
    label_from: Literal["none", "folder"] = "none"
    """Where labels come from: the name of the folder that an item lies in, or nowhere."""


class Folder:
    """See `pipelines.datasets.base.DataSet`."""

    name = "folder"
    config = FolderConfig
    profiles: Mapping[str, Mapping[str, Any]] = {"paper": {}}
    licence = "as the source's own; ipv-bench does not know it"
    help = (
        "point --source at a folder that holds, at any depth, video files or folders of pictures with numbers in their "
        "names (docs/datasets/folder.md)"
    )

    def inventory(self, source: Path, config: PrepareConfig) -> Inventory:
        """List the folder: one item per video file and per folder of pictures; the id is the relative path."""
        assert isinstance(config, FolderConfig)
        tree = list_files(source)
        items = [_video(file, config) for file in tree.with_suffixes(VIDEO_SUFFIXES)]
        folders = numbered_folders(tree.with_suffixes(IMAGE_SUFFIXES))
        items += [_sequence(folder, config) for folder in folders]
        if not items:
            raise SourceError(
                f"{source} has no video and no picture in its {len(tree.files)} files",
                expected="video files, or folders of numbered pictures",
                fix=self.help,
            )
        return Inventory(sorted_unique(items), warnings=(*tree.warnings, *doubts(folders)))

    def counts(self, inventory: Inventory, rows: Sequence[SourceRow], config: PrepareConfig) -> list[Count]:
        """Items found and written."""
        written = sum(row.status == "written" for row in rows)
        rule = f"of them with at least {max(config.min_frames, 1)} kept frames"
        return [Count("videos and folders of pictures found", len(rows)), Count(rule, written)]


def _video(file: FoundFile, config: FolderConfig) -> SourceItem:
    frames = None if file.problem else VideoFile(file.path)
    label = file.folder.rpartition("/")[2] if config.label_from == "folder" else ""
    return SourceItem(file.path, file.path, file.size_bytes, frames, label, problem=file.problem)


def _sequence(folder: NumberedFolder, config: FolderConfig) -> SourceItem:
    parent = folder.path.rpartition("/")[0].rpartition("/")[2]
    item = folder.item(label=parent if config.label_from == "folder" else "")
    missing = missing_number(folder.numbers)
    if item.problem or missing is None or config.gaps == "allow":
        return item
    return replace(item, frames=None, problem=("missing", f"there is no picture with the number {missing}"))


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


DATA_SET = Folder()
