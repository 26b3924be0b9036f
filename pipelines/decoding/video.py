"""Frames of a video file, one at a time, counted by decoding.

Never more than one full-size picture is held: each frame is scaled as soon as it is decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipelines.datasets.base import SourceItem, VideoFile
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.decoding.checked_video import CheckedVideo
from pipelines.decoding.frames import SourceInfo, StoredFrame
from pipelines.decoding.geometry import FrameScaler
from pipelines.decoding.selection import FrameSelector, selection_of


class VideoFrames:
    """Frames of a video file through PyAV."""

    def __init__(self, item: SourceItem, source: Path, config: PrepareConfig) -> None:
        assert isinstance(item.frames, VideoFile)
        self.info = SourceInfo()
        self._path = source / item.frames.path
        self._item, self._config = item, config

    def __iter__(self) -> Iterator[StoredFrame | None]:
        scaler = FrameScaler(self._config.size, self._item.crop or self._config.crop, self._config.scaling)
        selector = FrameSelector(selection_of(self._item, self._config))
        video = CheckedVideo(self._path, self.info, exact_times=selector.by_time)
        aspect = 0.0
        for decoded in video:
            if decoded is None:
                yield None
                continue
            if not aspect:
                self.info.kept_fps = selector.kept_fps(self.info.fps)
                aspect = float(video.stream.sample_aspect_ratio or 1)
            if selector.keeps(decoded.position, decoded.time):
                yield StoredFrame(decoded.position, float(decoded.time), scaler.late(decoded.frame, aspect))
            else:
                yield None
