"""Frames of a video file through decord, the second decoder (`decoder=decord`).

decord hands out full-size RGB with the rotation applied; it is scaled by the same scaler as everything else. So which
frames there are does not depend on the decoder, while colours were interpolated at full size before scaling: small
frames differ a little from PyAV's (`docs/pipelines.md` states how much). decord says nothing of damage and corrects no
clock: PyAV decodes each file first, so that both give the same frames and times and refuse the same files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ipv_bench.extras import missing_extras
from pipelines.datasets.base import SourceItem, VideoFile
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.checked_video import CheckedVideo
from pipelines.decoding.frames import SourceInfo, StoredFrame
from pipelines.decoding.geometry import FrameScaler
from pipelines.decoding.selection import FrameSelector, selection_of


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
        keeps_aspect = self._config.size.startswith("short:")
        aspect, times = 1.0, dict[int, float]()
        video = CheckedVideo(self._path, self.info, exact_times=selector.by_time)
        for decoded in video:
            yield None
            if decoded is None:
                continue
            if not decoded.position and keeps_aspect:
                aspect = float(video.stream.sample_aspect_ratio or 1)
            if selector.keeps(decoded.position, decoded.time):
                times[decoded.position] = float(decoded.time)
        self.info.kept_fps = selector.kept_fps(self.info.fps)
        scaler = FrameScaler(self._config.size, self._item.crop or self._config.crop, self._config.scaling)
        reader = self._open()
        for position in range(self.info.num_frames_decoded):
            picture = self._next(reader, position)
            if position in times:
                yield StoredFrame(position, times[position], scaler.scale_rgb(scaler.cut_rgb(picture), aspect))
            else:
                yield None

    def _open(self) -> Any:
        try:
            reader = self._decord.VideoReader(str(self._path), ctx=self._decord.cpu(0), num_threads=1)
        except (RuntimeError, self._decord.DECORDError) as error:
            raise SourceFailure("corrupt", f"decord: {_first_line(error)}") from error
        if len(reader) != self.info.num_frames_decoded:
            counts = f"decord finds {len(reader)} frames, PyAV {self.info.num_frames_decoded}"
            raise SourceFailure("corrupt", f"{counts}: use decoder=pyav")
        return reader

    def _next(self, reader: Any, position: int) -> np.ndarray:
        try:
            picture: np.ndarray = reader.next().asnumpy()
        except (RuntimeError, StopIteration, self._decord.DECORDError) as error:
            raise SourceFailure("corrupt", f"decord, frame {position}: {_first_line(error)}") from error
        if {*picture.shape[:2]} != {self.info.height, self.info.width}:
            found = f"decord gives {picture.shape[1]}x{picture.shape[0]} pixels"
            raise SourceFailure("no_video_stream", f"{found}, another stream than PyAV's: use decoder=pyav")
        return picture


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rpartition("] ")[2] if lines else type(error).__name__
