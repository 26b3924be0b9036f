"""Ego4D: `ego4d.json` and MP4 files named by their uid; 5 fps by timestamp, 256 pixels on the short side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from ipv_bench.bounded_json import read_json
from ipv_bench.errors import SourceError
from pipelines.datasets.base import Count, Inventory, SourceItem, SourceRow, VideoFile
from pipelines.datasets.file_tree import VIDEO_SUFFIXES, FileTree, FoundFile, list_files
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.unique_items import sorted_unique

METADATA_FILE = "ego4d.json"


class Ego4dConfig(PrepareConfig):
    """Fields of `prepare ego4d`."""

    fps: float | None = Field(5.0, gt=0)
    """Resample to this rate by timestamps, in frames per second; null keeps the native frames."""
    size: str = "short:256"
    """Frame size: the short side is 256 and the aspect is kept; crops are taken when segments are read."""


class Ego4d:
    """See `pipelines.datasets.base.DataSet`."""

    name = "ego4d"
    config = Ego4dConfig
    profiles: Mapping[str, Mapping[str, Any]] = {"paper": {}}
    redistribution = "Ego4D is licensed to each user by signature"
    licence = "Ego4D: under the licence that is signed for access; it may not be passed on, and access keys expire."
    help = (
        "apply at https://ego4ddataset.com and download with its `ego4d` program: ego4d.json and "
        "full_scale/<video_uid>.mp4 (or clips, or another subset of the videos) (docs/datasets/ego4d.md)"
    )

    def inventory(self, source: Path, config: PrepareConfig) -> Inventory:
        """List the release: one item per video file; labels are the scenarios of `ego4d.json`."""
        tree = list_files(source)
        videos = tree.with_suffixes(VIDEO_SUFFIXES)
        if not videos:
            raise SourceError(f"{source} has no video", expected="full_scale/<video_uid>.mp4, …", fix=self.help)
        facts, warnings = _metadata(source, tree)
        unknown = [file.stem for file in videos if facts and file.stem not in facts]
        if unknown:
            warnings.append(f"{METADATA_FILE} does not know {len(unknown)} of the videos, the first is {unknown[0]}")
        items = [_item(file, facts.get(file.stem, {})) for file in videos]
        return Inventory(sorted_unique(items), warnings=(*tree.warnings, *warnings, *tree.left_out(VIDEO_SUFFIXES)))

    def counts(self, inventory: Inventory, rows: Sequence[SourceRow], config: PrepareConfig) -> list[Count]:
        """Videos found and written; no paper of this field states a count to compare with."""
        written = sum(row.status == "written" for row in rows)
        return [Count("video files found", len(rows)), Count("of them with a kept frame", written)]


def _metadata(source: Path, tree: FileTree) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Video uid → its entry in `ego4d.json`, and warnings."""
    file = next((file for file in tree.files if file.name == METADATA_FILE), None)
    if file is None:
        return {}, []
    try:
        videos = read_json(source / file.path, error=SourceError, expect=dict)["videos"]
        return {str(video["video_uid"]): dict(video) for video in videos}, []
    except (SourceError, ValueError, KeyError, TypeError, AttributeError) as error:
        words = error.found if isinstance(error, SourceError) else f"{type(error).__name__}: {error}"
        return {}, [f"{file.path} cannot be used ({words}): the videos get no label"]


def _item(file: FoundFile, facts: Mapping[str, Any]) -> SourceItem:
    scenarios = facts.get("scenarios")
    label = "; ".join(map(str, scenarios)) if isinstance(scenarios, list) else ""
    frames = None if file.problem else VideoFile(file.path)
    return SourceItem(file.stem, file.path, file.size_bytes, frames, label, problem=file.problem)


DATA_SET = Ego4d()
