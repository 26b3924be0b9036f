"""Frames of a video file through decord, the second decoder (`decoder=decord`).

decord hands out full-size RGB with the rotation applied; it is scaled by the same scaler as everything else. So which
frames there are does not depend on the decoder, while colours were interpolated at full size before scaling: small
frames differ a little from PyAV's (`docs/pipelines.md` states how much). PyAV still reads the headers, so that both
refuse the same files.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np

from ipv_bench.errors import MissingDependencyError
from pipelines.datasets.base import SourceItem, VideoFile
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.frames import LOCAL_ONLY, SourceInfo, StoredFrame, check_file, describe, video_stream
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
        raise MissingDependencyError(
            "decoder=decord, and decord is not installed", expected="Linux on x86-64", fix="use decoder=pyav"
        ) from error
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
        truncated = check_file(self._path)
        if truncated:
            raise truncated
        aspect = self._read_headers()
        try:
            reader = self._decord.VideoReader(str(self._path), ctx=self._decord.cpu(0), num_threads=1)
        except (RuntimeError, self._decord.DECORDError) as error:
            raise SourceFailure("corrupt", f"decord: {_first_line(error)}") from error
        scaler = FrameScaler(self._config.size, self._item.crop or self._config.crop, self._config.scaling)
        selector = FrameSelector(selection_of(self._item, self._config))
        self.info.kept_fps = selector.kept_fps(self.info.fps)
        for position in range(len(reader)):
            picture = self._next(reader, position)
            self.info.num_frames_decoded = position + 1
            time = Fraction(float(reader.get_frame_timestamp(position)[0])).limit_denominator(1_000_000)
            if not selector.keeps(position, time):
                yield None
                continue
            yield StoredFrame(position, float(time), scaler.scale_rgb(scaler.cut_rgb(picture), aspect))
        if not self.info.num_frames_decoded:
            raise SourceFailure("zero_frames", "the video stream holds no frame")

    def _next(self, reader: Any, position: int) -> np.ndarray:
        try:
            picture: np.ndarray = reader.next().asnumpy()
        except (RuntimeError, StopIteration, self._decord.DECORDError) as error:
            raise SourceFailure("corrupt", f"decord, frame {position}: {_first_line(error)}") from error
        return picture

    def _read_headers(self) -> float:
        """The pixel aspect; fills `info`."""
        try:
            with av.open(str(self._path), metadata_errors="replace", options=LOCAL_ONLY) as container:
                stream = video_stream(container)
                describe(stream, self.info)
                keeps_aspect = self._config.size.startswith("short:")
                aspect = float(stream.sample_aspect_ratio or 1) if keeps_aspect else 1.0
        except av.error.FFmpegError as error:
            raise SourceFailure("corrupt", error.strerror or type(error).__name__) from error
        return aspect


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rpartition("] ")[2] if lines else type(error).__name__
