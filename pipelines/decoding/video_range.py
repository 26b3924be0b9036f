"""Frames of one episode in a video file that holds many: a time range, found by seeking.

The frames are consecutive and each lies at its time; a file whose frames lie elsewhere (another rate, a gap, an end
that comes too early) is refused, since frames and tracks would no longer belong together. Only what the range needs is
read: damage elsewhere in the file spoils other episodes, not this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from pipelines.datasets.base import SourceItem, VideoRange
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.checked_video import CheckedVideo
from pipelines.decoding.frames import SourceInfo, StoredFrame
from pipelines.decoding.geometry import FrameScaler
from pipelines.decoding.selection import FrameSelector, exact_rate, selection_of

_TOLERANCE = Fraction(1, 4)
"""Of a frame's duration: how far a frame may lie from its time. Files state times to a millisecond or better."""
_FURTHER_BACK = 5
"""Seconds before the episode at which reading begins when the key frame before it was not early enough (open GOPs)."""


class RangeFrames:
    """Frames of a `VideoRange` item through PyAV."""

    def __init__(self, item: SourceItem, source: Path, config: PrepareConfig) -> None:
        assert isinstance(item.frames, VideoRange)
        self._range, self._item, self._config = item.frames, item, config
        self._path = source / item.frames.path
        self.info = SourceInfo(num_frames_header=item.frames.num_frames, fps=item.frames.fps)
        self._fps = exact_rate(item.frames.fps)
        self._stream: Any = None

    def __iter__(self) -> Iterator[StoredFrame | None]:
        scaler = FrameScaler(self._config.size, self._item.crop or self._config.crop, self._config.scaling)
        selector = FrameSelector(selection_of(self._item, self._config))
        self.info.kept_fps = selector.kept_fps(self._range.fps)
        aspect = 0.0
        for number, decoded in self._frames():
            if decoded is None:
                yield None
                continue
            if not aspect:
                aspect = float(self._stream.sample_aspect_ratio or 1)
            time = number / self._fps
            kept = selector.keeps(number, time)
            yield StoredFrame(number, float(time), scaler.late(decoded, aspect)) if kept else None
            self.info.num_frames_decoded = number + 1

    def _frames(self) -> Iterator[tuple[int, av.VideoFrame | None]]:
        """(number in the episode, frame) of each frame, None for other signs of progress."""
        start = Fraction(self._range.start_seconds)
        for seek in dict.fromkeys((start, max(start - _FURTHER_BACK, Fraction(0)), Fraction(0))):
            found = SourceInfo()
            video = CheckedVideo(self._path, found, exact_times=True, start_seconds=seek)
            count, last = 0, start
            for decoded in video:
                late = Fraction(decoded.time) - (start + count / self._fps) if decoded is not None else Fraction(-1)
                if decoded is None or (not count and late < -_TOLERANCE / self._fps):
                    yield count, None  # of the episode before
                    continue
                if not count and seek and late > _TOLERANCE / self._fps:
                    break  # pictures before the key frame that need one further back: look from there
                if abs(late) > _TOLERANCE / self._fps:
                    raise SourceFailure("bad_annotation", self._astray(count, float(decoded.time), found.fps))
                self._stream = video.stream
                self.info.codec, self.info.height, self.info.width = found.codec, found.height, found.width
                yield count, decoded.frame
                count, last = count + 1, Fraction(decoded.time) + 1 / self._fps
                if count == self._range.num_frames:
                    self.info.notes |= found.notes
                    return
            else:
                ends = f"the video ends at {float(last):.3f} s, the episode at {self._end():.3f} s"
                message = f"{count} of {self._range.num_frames} frames of the episode: {ends}"
                raise SourceFailure("bad_annotation", message)

    def _end(self) -> float:
        return self._range.start_seconds + self._range.num_frames / self._range.fps

    def _astray(self, count: int, time: float, video_fps: float) -> str:
        expected = self._range.start_seconds + count / self._range.fps
        return (
            f"frame {count} of the episode is expected at {expected:.3f} s, the video's next is at {time:.3f} s "
            f"(the video has {video_fps:g} frames per second, the data set {self._range.fps:g})"
        )
