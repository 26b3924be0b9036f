"""The decoder that fits a source item."""

from __future__ import annotations

from pathlib import Path

from pipelines.datasets.base import ArrayFile, ImageFiles, SourceItem, VideoFile
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.decoding.frames import (
    FrameReader,
)


def open_frames(item: SourceItem, source: Path, config: PrepareConfig) -> FrameReader:
    """The reader that fits the item.

    Args:
        item: of the inventory, with frames.
        source: the folder that its paths are relative to.
        config: of the job.
    """
    if isinstance(item.frames, VideoFile):
        if config.decoder == "decord":
            from pipelines.decoding.video_decord import DecordFrames

            decord: FrameReader = DecordFrames(item, source, config)
            return decord
        from pipelines.decoding.video import VideoFrames

        return VideoFrames(item, source, config)
    if isinstance(item.frames, ImageFiles):
        from pipelines.decoding.images import ImageFrames

        return ImageFrames(item, source, config)
    assert isinstance(item.frames, ArrayFile)
    from pipelines.decoding.array import ArrayFrames

    return ArrayFrames(item, source, config)
