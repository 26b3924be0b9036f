"""Frames of a video file through decord, the second decoder (`decoder=decord`).

decord hands out full-size RGB with the rotation applied; it is scaled by the same scaler as everything else. So which
frames there are does not depend on the decoder, while colours were interpolated at full size before scaling: small
frames differ a little from PyAV's (`docs/pipelines.md` states how much). decord says nothing of damage and corrects no
clock: PyAV decodes each file first, so that both give the same frames and times, and what PyAV refuses is refused. What
decord cannot read itself is refused too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np

from ipv_bench.extras import missing_extras
from pipelines.datasets.base import SourceItem, VideoFile
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.checked_video import CheckedVideo
from pipelines.decoding.frames import SourceInfo, StoredFrame, check_file
from pipelines.decoding.geometry import FrameScaler, OrientationReader
from pipelines.decoding.orientation import UPRIGHT, Orientation
from pipelines.decoding.selection import FrameSelector, selection_of

_PATHS = re.compile(r"\[[^\]]*\]|/\S+:\d+:")


def import_decord() -> Any:
    """The decord module.

    Raises:
        MissingDependencyError: there is no decord for this system.
    """
    try:
        import decord
    except ImportError as error:
        raise missing_extras("decoder=decord", "decord") from error
    decord.logging.set_level(decord.logging.QUIET)
    return decord


class DecordFrames:
    """Frames of a `VideoFile` item through decord, with one codec thread."""

    def __init__(self, item: SourceItem, source: Path, config: PrepareConfig) -> None:
        assert isinstance(item.frames, VideoFile)
        self.info = SourceInfo()
        self._path = source / item.frames.path
        self._item, self._config = item, config
        self._decord = import_decord()

    def __iter__(self) -> Iterator[StoredFrame | None]:
        selector = FrameSelector(selection_of(self._item, self._config))
        shown, times = _Shown(), dict[int, float]()
        video = CheckedVideo(self._path, self.info, exact_times=selector.by_time)
        for decoded in video:
            yield None
            if decoded is None:
                continue
            if not decoded.position:
                shown = _Shown(decoded.frame, float(video.stream.sample_aspect_ratio or 1))
            if selector.keeps(decoded.position, decoded.time):
                times[decoded.position] = float(decoded.time)
        self.info.kept_fps = selector.kept_fps(self.info.fps)
        scaler = FrameScaler(self._config.size, self._item.crop or self._config.crop, self._config.scaling)
        reader, todo = self._open(), UPRIGHT
        for position in range(self.info.num_frames_decoded):
            picture = self._next(reader, position)
            if not position:
                todo = shown.left_of(picture)
            if position in times:
                yield StoredFrame(position, times[position], scaler.scale_rgb(todo.apply(picture), shown.aspect))
            else:
                yield None

    def _open(self) -> Any:
        try:
            reader = self._decord.VideoReader(str(self._path), ctx=self._decord.cpu(0), num_threads=1)
        except (RuntimeError, self._decord.DECORDError) as error:
            check_file(self._path)  # it may have vanished since PyAV read it
            raise SourceFailure("corrupt", f"decord: {_first_line(error)}") from error
        if len(reader) != self.info.num_frames_decoded:
            counts = f"decord finds {len(reader)} frames, PyAV {self.info.num_frames_decoded}"
            raise SourceFailure("corrupt", f"{counts}: use decoder=pyav")
        return reader

    def _next(self, reader: Any, position: int) -> np.ndarray:
        try:
            picture: np.ndarray = reader.next().asnumpy()
        except (RuntimeError, StopIteration, self._decord.DECORDError) as error:
            check_file(self._path)
            raise SourceFailure(
                "corrupt", f"decord, frame {position}: {_first_line(error)}: use decoder=pyav"
            ) from error
        if {*picture.shape[:2]} != {self.info.height, self.info.width}:
            found = f"decord gives {picture.shape[1]}x{picture.shape[0]} pixels"
            raise SourceFailure("no_video_stream", f"{found}, another stream than PyAV's: use decoder=pyav")
        return picture


class _Shown:
    """How a video is shown, and what decord leaves to do of it.

    decord turns by quarters, by the matrix of the container and not by that of the stream, and never mirrors. Which of
    the two it met shows in its first picture: turned, or as stored.

    Args:
        frame: the first one, through PyAV.
        aspect: width of a stored pixel over its height.

    Attributes:
        aspect: of a pixel as shown.
    """

    def __init__(self, frame: av.VideoFrame | None = None, aspect: float = 1.0) -> None:
        self._orientation = UPRIGHT if frame is None else OrientationReader()(frame)
        self.aspect = 1 / aspect if self._orientation.transposed else aspect
        self._stored = (
            FrameScaler("native", "none", "area").rgb(frame) if frame and self._orientation != UPRIGHT else None
        )

    def left_of(self, picture: np.ndarray) -> Orientation:
        """What turns decord's first picture, uint8 (H, W, 3), into the one that is shown."""
        if self._stored is None:
            return UPRIGHT
        distances = {turn: _distance(turn.apply(self._stored), picture) for turn in (self._orientation.turn(), UPRIGHT)}
        done = min(distances, key=distances.__getitem__)
        return done.inverse().then(self._orientation)


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.int16) - b).mean()) if a.shape == b.shape else np.inf


def _first_line(error: BaseException) -> str:
    """decord's words, without the paths of its build and of this machine."""
    lines = str(error).strip().splitlines()
    words = _PATHS.sub("", lines[0]).strip() if lines else ""
    return words or type(error).__name__
