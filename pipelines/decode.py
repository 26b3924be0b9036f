"""Frames of a source item, one at a time, counted by decoding.

Never more than one full-size picture is held: each frame is scaled as soon as it is decoded. Everything that a file can
do wrong becomes a `SourceFailure` with a typed reason and the decoder's own words.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import av.error
import av.logging
import numpy as np
from av.stream import Disposition

from pipelines.base import ArrayFile, ImageFiles, SourceItem, VideoFile
from pipelines.container_size import declared_size
from pipelines.geometry import FrameScaler
from pipelines.prepare_config import PrepareConfig
from pipelines.quarantine import SourceFailure
from pipelines.selection import FrameSelector, selection_of

av.logging.set_level(av.logging.ERROR)  # so that the decoder's own words reach the quarantine

_MAX_MESSAGES = 20
_CUT_OFF = ("ended prematurely", "partial file")


@dataclass
class SourceInfo:
    """What was learnt about a source item; the counts grow while its frames are read.

    `num_frames_header` is -1 where the header says nothing; `fps` and `kept_fps` (of the kept frames) are 0 where
    unknown.
    """

    num_frames_decoded: int = 0
    num_frames_header: int = -1
    fps: float = 0.0
    kept_fps: float = 0.0
    height: int = 0
    width: int = 0
    codec: str = ""


@dataclass(frozen=True)
class StoredFrame:
    """A kept frame.

    Attributes:
        position: in the source: decoded order for videos and arrays, the file's number for picture files.
        pts_seconds: its time, as the source states it.
        picture: uint8 (H, W, 3), as it will be stored.
    """

    position: int
    pts_seconds: float
    picture: np.ndarray


class FrameReader(Protocol):
    """Reads one source item: a `StoredFrame` for each kept frame, None for each other one that was decoded."""

    info: SourceInfo

    def __iter__(self) -> Iterator[StoredFrame | None]: ...


def open_frames(item: SourceItem, source: Path, config: PrepareConfig) -> FrameReader:
    """The reader that fits the item.

    Args:
        item: of the inventory, with frames.
        source: the folder that its paths are relative to.
        config: of the job.
    """
    if isinstance(item.frames, VideoFile):
        if config.decoder == "decord":
            from pipelines.decode_decord import DecordFrames

            decord: FrameReader = DecordFrames(item, source, config)
            return decord
        return VideoFrames(item, source, config)
    if isinstance(item.frames, ImageFiles):
        from pipelines.decode_images import ImageFrames

        return ImageFrames(item, source, config)
    assert isinstance(item.frames, ArrayFile)
    from pipelines.decode_array import ArrayFrames

    return ArrayFrames(item, source, config)


@contextmanager
def system_errors() -> Iterator[None]:
    """Turn errors of the operating system while reading a source into `missing` or `unreadable`."""
    try:
        yield
    except FileNotFoundError as error:
        raise SourceFailure("missing", "no such file") from error
    except OSError as error:
        raise SourceFailure("unreadable", error.strerror or type(error).__name__) from error


def check_file(path: Path) -> SourceFailure | None:
    """Refuse a video file that cannot be read or is empty; report one that ends before its container says.

    Returns:
        The `truncated` failure, to be raised once the frames that are there have been counted; None when all is well.

    Raises:
        SourceFailure: `missing`, `unreadable` or `empty_file`.
    """
    with system_errors(), open(path, "rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        if not size_bytes:
            raise SourceFailure("empty_file", "0 bytes")
        declared = declared_size(file, size_bytes)
    return SourceFailure("truncated", f"{size_bytes} bytes of {declared}") if declared > size_bytes else None


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


LOCAL_ONLY = {"protocol_whitelist": "file"}
"""A playlist that is named like a video must not make the decoder open addresses."""


def video_stream(container: Any) -> Any:
    """The first real video stream, with one codec thread.

    Raises:
        SourceFailure: `no_video_stream`; cover pictures of music files do not count.
    """
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            stream.codec_context.thread_count = 1
            stream.codec_context.thread_type = "NONE"
            return stream
    kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "no stream"
    raise SourceFailure("no_video_stream", f"it holds {kinds}")


def describe(stream: Any, info: SourceInfo) -> None:
    """Fill `info` with what the headers say."""
    context = stream.codec_context
    info.codec, info.height, info.width = context.name, context.height, context.width
    rate = stream.average_rate or stream.guessed_rate
    info.fps = float(rate) if rate and 0 < rate <= 1000 else 0.0
    if stream.frames > 0:
        info.num_frames_header = stream.frames
        return
    seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
    if not seconds and stream.container.duration:
        seconds = stream.container.duration / av.time_base
    if info.fps and 0 < seconds < 1e7:
        info.num_frames_header = round(seconds * info.fps)


def last_words(messages: list[Any]) -> str:
    """The decoder's last message, without its trailing newline and addresses."""
    return str(messages[-1][2]).strip() if messages else ""


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
