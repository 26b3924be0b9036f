"""What decoders share: the frames they hand out, what they learn of a source, how they name what is wrong."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import av
import numpy as np

from pipelines.datasets.file_tree import kind_of_file
from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.late_picture import LatePicture

Time = Fraction | float
"""Seconds; fractions where frames are picked by time."""


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
    notes: dict[str, Any] = field(default_factory=dict)
    """What was odd about the source and what was done about it; goes to the sample's JSON."""


class StoredFrame(NamedTuple):
    """A kept frame.

    Attributes:
        position: in the source: decoded order for videos and arrays, the file's number for picture files.
        pts_seconds: its time, as the source states it.
        picture: uint8 (H, W, 3), as it will be stored; `np.asarray` makes pixels of a late one.
    """

    position: int
    pts_seconds: float
    picture: np.ndarray | LatePicture


class FrameReader(Protocol):
    """Reads one source item: a `StoredFrame` for each kept frame, None for each other sign of progress."""

    info: SourceInfo

    def __iter__(self) -> Iterator[StoredFrame | None]: ...


@contextmanager
def system_errors() -> Iterator[None]:
    """Turn errors of the operating system while reading a source into `unreadable`.

    Whatever is decoded was there when the release was listed, so a file that is not there now may come back: its disk
    may be away for a moment. That is another thing than a release that lacks a file.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise SourceFailure("unreadable", "it vanished since the release was listed") from error
    except OSError as error:
        raise SourceFailure("unreadable", error.strerror or type(error).__name__) from error


def check_file(path: Path) -> None:
    """Refuse a source file that cannot be read: what is no regular file could block its reader for ever.

    Raises:
        SourceFailure: `unreadable` or `empty_file`.
    """
    with system_errors():
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise SourceFailure("unreadable", f"it is {kind_of_file(status.st_mode)}, not a regular file")
    if not status.st_size:
        raise SourceFailure("empty_file", "0 bytes")


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
