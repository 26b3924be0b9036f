"""YouTube Driving (ACO): videos, or folders of numbered pictures such as `dir-7/123.jpg`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ipv_bench.errors import SourceError
from pipelines.datasets.base import Count, FrameSelection, ImageFiles, Inventory, SourceItem, SourceRow, VideoFile
from pipelines.datasets.file_tree import IMAGE_SUFFIXES, VIDEO_SUFFIXES, FoundFile, list_files
from pipelines.datasets.frame_folders import NumberedFolder, doubts, numbered_folders
from pipelines.datasets.prepare_config import Crop, PrepareConfig, refuse_set
from pipelines.datasets.published_table import published_table
from pipelines.datasets.unique_items import sorted_unique

PAPER_VIDEOS = 134
FPS = 30.0
"""Of the folders of pictures; videos say their own."""


class YoutubeDrivingConfig(PrepareConfig):
    """Fields of `prepare youtube-driving`."""

    skip_frames: int = Field(100, ge=0)
    """Frames dropped at the start of each source item (of each run of numbers with `numbering=file-number`)."""
    frame_stride: int = Field(5, ge=1)
    """Every how many frames one is kept."""
    crop: Crop = "centre-square"
    """Cut made before scaling."""
    numbering: Literal["position", "file-number"] = "position"
    """What a frame's number is: its 0-based place in decoded or sorted order, or the number in its file name, with
    `skip_frames - 1` frames dropped again after each gap, as ContextWM's published code does."""


class YoutubeDriving:
    """See `pipelines.datasets.base.DataSet`."""

    name = "youtube-driving"
    config = YoutubeDrivingConfig
    profiles: Mapping[str, Mapping[str, Any]] = {"paper": {}, "official-code": {"numbering": "file-number"}}
    redistribution = "the videos belong to their makers, under YouTube's terms"
    licence = (
        "YouTube Driving (ACO): the videos belong to their makers and stay under YouTube's terms; the collection is "
        "for research."
    )
    help = (
        "the list of videos and the extracted frames are linked from https://github.com/metadriverse/ACO#dataset; "
        "keep them as folders of numbered pictures (dir-7/123.jpg) or as video files (docs/datasets/youtube_driving.md)"
    )

    def refuse_unheeded(self, config: PrepareConfig) -> None:
        """Refuse times where file numbers pick the frames."""
        assert isinstance(config, YoutubeDrivingConfig)
        if config.numbering == "file-number":
            refuse_set(config, ("fps",), "numbering=file-number picks frames by their numbers")

    def inventory(self, source: Path, config: PrepareConfig) -> Inventory:
        """List the release: one item per video, folder, or (`file-number`) run of numbers without a gap."""
        assert isinstance(config, YoutubeDrivingConfig)
        tree = list_files(source)
        splits = {row["segment"].rpartition("_")[0]: row["split"] for row in published_table("youtube_driving")}
        items = [_video(file, splits, config) for file in tree.with_suffixes(VIDEO_SUFFIXES)]
        folders = numbered_folders(tree.with_suffixes(IMAGE_SUFFIXES))
        for folder in folders:
            split = splits.get(folder.path.rpartition("/")[2], "")
            if config.numbering == "position":
                items.append(folder.item(split=split, fps=FPS, selection=None))
            else:
                items += _runs(folder, split, config)
        if not items:
            raise SourceError(
                f"{source} has no video and no folder of numbered pictures", expected="dir-7/123.jpg, …", fix=self.help
            )
        warnings = (*tree.warnings, *doubts(folders), *tree.left_out(VIDEO_SUFFIXES | IMAGE_SUFFIXES))
        return Inventory(sorted_unique(items), warnings=warnings)

    def counts(self, inventory: Inventory, rows: Sequence[SourceRow], config: PrepareConfig) -> list[Count]:
        """Items and frames, beside the paper's 134 videos and the published list's 88 segments."""
        assert isinstance(config, YoutubeDrivingConfig)
        official = [int(row["num_frames"]) for row in published_table("youtube_driving")]
        written = [row for row in rows if row.status == "written"]
        kept = _kept_rule(config)
        note = "the paper counts videos, the published list the folders that the frames came in"
        items = Count(f"videos or folders of frames: {kept}", len(written), PAPER_VIDEOS, len(official), note)
        if config.fps is not None:
            return [items]  # how many lie in how many seconds only the decoders saw
        return [items, Count("frames kept of them", _num_kept(inventory, written, config), None, sum(official))]


def _video(file: FoundFile, splits: Mapping[str, str], config: YoutubeDrivingConfig) -> SourceItem:
    selection = None
    if config.numbering == "file-number":  # a decoded video has no gaps: its numbers are the 0-based places
        dropped = max(config.skip_frames - 1, 0)
        selection = FrameSelection(-(-dropped // config.frame_stride) * config.frame_stride, config.frame_stride)
    frames = None if file.problem else VideoFile(file.path)
    source_id = f"{file.folder}/{file.stem}" if file.folder else file.stem
    split = splits.get(file.stem, "")
    return SourceItem(
        source_id, file.path, file.size_bytes, frames, split=split, selection=selection, problem=file.problem
    )


def _runs(folder: NumberedFolder, split: str, config: YoutubeDrivingConfig) -> list[SourceItem]:
    """One item per run of numbers without a gap, as the published code makes `dir-7_0`, `dir-7_1`, …"""
    items = []
    for index, (begin, end) in enumerate(folder.runs()):
        first = begin + max(config.skip_frames - 1, 0)
        kept = [place for place in range(first, end) if folder.numbers[place] % config.frame_stride == 0]
        source_id = f"{folder.source_id}_{index}"
        items.append(folder.item(source_id, kept, split=split, fps=FPS / config.frame_stride, run=(begin, end)))
    return items


def _kept_rule(config: YoutubeDrivingConfig) -> str:
    if config.fps is not None:
        return f"{config.fps:g} frames per second from frame {config.skip_frames} on"
    if config.numbering == "position":
        return f"frames {config.skip_frames}, {config.skip_frames + config.frame_stride}, … of each"
    dropped = max(config.skip_frames - 1, 0)
    return f"{dropped} frames dropped after each gap, then file numbers that divide by {config.frame_stride}"


def _num_kept(inventory: Inventory, written: Sequence[SourceRow], config: YoutubeDrivingConfig) -> int:
    """Frames kept of the items that were written."""
    items = {item.source_id: item for item in inventory.items}
    total = 0
    for row in written:
        item = items[row.source_id]
        selection = item.selection or FrameSelection(config.skip_frames, config.frame_stride)
        if isinstance(item.frames, ImageFiles):
            listed = len(item.frames.names)
        else:
            listed = row.num_frames_decoded
        total += len(range(selection.first, listed, selection.stride))
    return total


DATA_SET = YoutubeDriving()
