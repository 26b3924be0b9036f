"""What decoders share: the frames they hand out, what they learn of a source, how they name what is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import av
import av.error
import av.logging
import numpy as np
from av.stream import Disposition

from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.container_size import declared_size


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
