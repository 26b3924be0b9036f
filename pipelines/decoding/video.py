"""Frames of a source item, one at a time, counted by decoding.

Never more than one full-size picture is held: each frame is scaled as soon as it is decoded. Everything that a file can
do wrong becomes a `SourceFailure` with a typed reason and the decoder's own words.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import av.logging

from pipelines.datasets.base import SourceItem, VideoFile
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.frames import (
    LOCAL_ONLY,
    SourceInfo,
    StoredFrame,
    check_file,
    describe,
    last_words,
    system_errors,
    video_stream,
)
from pipelines.decoding.geometry import FrameScaler
from pipelines.decoding.selection import FrameSelector, selection_of

av.logging.set_level(av.logging.ERROR)  # so that the decoder's own words reach the quarantine

_MAX_MESSAGES = 20
_CUT_OFF = ("ended prematurely", "partial file")


class VideoFrames:
    """Frames of a video file through PyAV, with one codec thread."""

    def __init__(self, item: SourceItem, source: Path, config: PrepareConfig) -> None:
        assert isinstance(item.frames, VideoFile)
        self.info = SourceInfo()
        self._path = source / item.frames.path
        self._item, self._config = item, config

    def __iter__(self) -> Iterator[StoredFrame | None]:
        truncated = check_file(self._path)
        with av.logging.Capture(local=True) as messages:
            try:
                with av.open(str(self._path), metadata_errors="replace", options=LOCAL_ONLY) as container:
                    yield from self._frames(container, messages)
            except av.error.FFmpegError as error:
                raise truncated or self._failure(error, messages) from error
            except SourceFailure as failure:
                raise truncated or failure from None
        if truncated or any(words in text for _, _, text in messages for words in _CUT_OFF):
            raise truncated or SourceFailure("truncated", last_words(messages))
        if not self.info.num_frames_decoded:
            raise SourceFailure("zero_frames", "the video stream holds no frame")

    def _frames(self, container: Any, messages: list[Any]) -> Iterator[StoredFrame | None]:
        stream = video_stream(container)
        describe(stream, self.info)
        scaler = FrameScaler(self._config.size, self._item.crop or self._config.crop, self._config.scaling)
        selector = FrameSelector(selection_of(self._item, self._config))
        self.info.kept_fps = selector.kept_fps(self.info.fps)
        keeps_aspect = self._config.size.startswith("short:")
        aspect = float(stream.sample_aspect_ratio or 1) if keeps_aspect else 1.0
        clock = _Clock(stream, exact=selector.by_time)
        for frame in container.decode(stream):
            position = self.info.num_frames_decoded
            if frame.is_corrupt:
                raise SourceFailure("corrupt", f"frame {position} is damaged: {last_words(messages)}")
            self.info.num_frames_decoded = position + 1
            time = clock.time(frame)
            if selector.keeps(position, time):
                yield StoredFrame(position, float(time), scaler(frame, aspect))
            else:
                yield None
            del messages[_MAX_MESSAGES:]
        broken = next((text for _, name, text in messages if name == stream.codec_context.name), None)
        if broken:
            raise SourceFailure("corrupt", broken.strip())

    def _failure(self, error: av.error.FFmpegError, messages: list[Any]) -> SourceFailure:
        if isinstance(error, OSError):  # the disk's fault, or a decoder's way to say "damaged": read it all to know
            with system_errors(), open(self._path, "rb") as file:
                while file.read(1 << 20):
                    pass
        if any(words in text for _, _, text in messages for words in _CUT_OFF):
            return SourceFailure("truncated", last_words(messages))
        words = [error.strerror or type(error).__name__, last_words(messages)]
        return SourceFailure("corrupt", ": ".join(filter(None, words)))


class _Clock:
    """Times of frames; a frame without a timestamp follows the one before by the stream's frame duration.

    Args:
        stream: the video stream.
        exact: give fractions: picking frames by time must not depend on rounding. They cost 3 % of the decoding.
    """

    def __init__(self, stream: Any, exact: bool) -> None:
        rate = stream.average_rate or stream.guessed_rate
        step = 1 / Fraction(rate) if rate else Fraction(0)
        base = stream.time_base or Fraction(1, av.time_base)
        self._step: Fraction | float = step if exact else float(step)
        self._base: Fraction | float = base if exact else float(base)
        self._last: Fraction | float | None = None

    def time(self, frame: av.VideoFrame) -> Fraction | float:
        """Presentation time in seconds."""
        if frame.pts is not None:
            self._last = frame.pts * self._base
        else:
            self._last = self._last + self._step if self._last is not None else 0 * self._step
        return self._last
