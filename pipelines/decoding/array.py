"""Frames in an array of an `.npz` file, read frame by frame: the array may be larger than memory."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy_format

from pipelines.datasets.base import ArrayFile, SourceItem
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.frames import SourceInfo, StoredFrame, system_errors
from pipelines.decoding.geometry import FrameScaler
from pipelines.decoding.selection import FrameSelector, selection_of


class ArrayFrames:
    """Frames of an `ArrayFile` item. Nothing in the file is unpickled."""

    def __init__(self, item: SourceItem, source: Path, config: PrepareConfig) -> None:
        assert isinstance(item.frames, ArrayFile)
        self._path, self._field = source / item.frames.path, item.frames.field
        self._item, self._config = item, config
        self.info = SourceInfo(fps=item.fps, codec="npz")

    def __iter__(self) -> Iterator[StoredFrame | None]:
        with system_errors():
            if not self._path.stat().st_size:
                raise SourceFailure("empty_file", "0 bytes")
        try:
            with system_errors(), zipfile.ZipFile(self._path) as archive:
                name = f"{self._field}.npy"
                if name not in archive.namelist():
                    raise SourceFailure("no_video_stream", f"no array {self._field!r} in it")
                with archive.open(name) as stream:
                    yield from self._frames(stream)
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
            raise SourceFailure("corrupt", str(error)) from error

    def _frames(self, stream: IO[bytes]) -> Iterator[StoredFrame | None]:
        version = npy_format.read_magic(stream)
        read_header = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
        if dtype != np.uint8 or fortran or len(shape) != 4 or shape[3] != 3:
            raise SourceFailure("corrupt", f"{self._field} is {dtype} {shape}, expected uint8 (T, H, W, 3)")
        self.info.num_frames_header, self.info.height, self.info.width = shape[:3]
        scaler = FrameScaler(self._config.size, self._item.crop or self._config.crop, self._config.scaling)
        selector = FrameSelector(selection_of(self._item, self._config))
        self.info.kept_fps = selector.kept_fps(self._item.fps)
        for position in range(shape[0]):
            data = stream.read(shape[1] * shape[2] * 3)
            if len(data) < shape[1] * shape[2] * 3:
                raise SourceFailure("truncated", f"{position} of {shape[0]} frames")
            self.info.num_frames_decoded += 1
            time = Fraction(position) / Fraction(self._item.fps) if self._item.fps else Fraction(position)
            if not selector.keeps(position, time):
                yield None
                continue
            picture = np.frombuffer(data, np.uint8).reshape(shape[1:])
            yield StoredFrame(position, float(time), scaler.scale_rgb(scaler.cut_rgb(picture)))
        if not shape[0]:
            raise SourceFailure("zero_frames", "the array holds no frame")
