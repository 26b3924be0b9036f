"""The video decoder that the config names."""

from __future__ import annotations

from pathlib import Path

from pipelines.datasets.base import SourceItem
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.decoding.frames import FrameReader


def open_video(item: SourceItem, source: Path, config: PrepareConfig) -> FrameReader:
    """The reader of a video file.

    Args:
        item: of the inventory, with a `VideoFile`.
        source: the folder that its path is relative to.
        config: of the job.
    """
    if config.decoder == "decord":
        from pipelines.decoding.video_decord import DecordFrames

        decord: FrameReader = DecordFrames(item, source, config)
        return decord
    from pipelines.decoding.video import VideoFrames

    return VideoFrames(item, source, config)
