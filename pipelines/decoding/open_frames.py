"""The decoder that fits a source item."""

from __future__ import annotations

from pathlib import Path

from pipelines.datasets.base import ArrayFile, ImageFiles, SourceItem, TablePictures, TableVideo, VideoFile, VideoRange
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.decoding.frames import FrameReader


def open_frames(item: SourceItem, source: Path, config: PrepareConfig) -> FrameReader:
    """The reader that fits the item.

    Args:
        item: of the inventory, with frames.
        source: the folder that its paths are relative to.
        config: of the job.
    """
    if isinstance(item.frames, VideoFile):
        from pipelines.decoding.open_video import open_video

        return open_video(item, source, config)
    if isinstance(item.frames, ImageFiles):
        from pipelines.decoding.images import ImageFrames

        return ImageFrames(item, source, config)
    if isinstance(item.frames, VideoRange):
        from pipelines.decoding.video_range import RangeFrames

        return RangeFrames(item, source, config)
    if isinstance(item.frames, TablePictures):
        from pipelines.decoding.table_pictures import TablePictureFrames

        return TablePictureFrames(item, source, config)
    if isinstance(item.frames, TableVideo):
        from pipelines.decoding.table_video import TableVideoFrames

        return TableVideoFrames(item, source, config)
    assert isinstance(item.frames, ArrayFile)
    from pipelines.decoding.array import ArrayFrames

    return ArrayFrames(item, source, config)
