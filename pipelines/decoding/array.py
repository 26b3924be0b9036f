"""Frames in an array of an `.npz` file, read frame by frame: the array may be larger than memory."""

from __future__ import annotations

import shutil
import tempfile
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
from pipelines.decoding.frames import SourceInfo, StoredFrame, check_file, system_errors
from pipelines.decoding.geometry import FrameScaler
from pipelines.decoding.selection import FrameSelector, selection_of

_PIECE_BYTES = 1 << 20
_BLOCK_BYTES = 64 << 20


class ArrayFrames:
    """Frames of an `ArrayFile` item. Nothing in the file is unpickled."""

    def __init__(self, item: SourceItem, source: Path, config: PrepareConfig) -> None:
        assert isinstance(item.frames, ArrayFile)
        self._path, self._field = source / item.frames.path, item.frames.field
        self._item, self._config = item, config
        self.info = SourceInfo(fps=item.fps, codec="npz")

    def __iter__(self) -> Iterator[StoredFrame | None]:
        check_file(self._path)
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
        if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3:
            raise SourceFailure("corrupt", f"{self._field} is {dtype} {shape}, expected uint8 (T, H, W, 3)")
        self.info.num_frames_header, self.info.height, self.info.width = shape[:3]
        scaler = FrameScaler(self._config.size, self._item.crop or self._config.crop, self._config.scaling)
        selector = FrameSelector(selection_of(self._item, self._config))
        self.info.kept_fps = selector.kept_fps(self._item.fps)
        for position, picture in enumerate(_fortran_frames(stream, shape) if fortran else _frames(stream, shape)):
            self.info.num_frames_decoded += 1
            time = Fraction(position) / Fraction(self._item.fps) if self._item.fps else Fraction(position)
            if not selector.keeps(position, time):
                yield None
                continue
            yield StoredFrame(position, float(time), scaler.scale_rgb(picture))
        if not shape[0]:
            raise SourceFailure("zero_frames", "the array holds no frame")


def _frames(stream: IO[bytes], shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The frames of an array in C order, uint8 (H, W, 3) each."""
    size_bytes = shape[1] * shape[2] * 3
    for position in range(shape[0]):
        data = stream.read(size_bytes)
        if len(data) < size_bytes:
            raise SourceFailure("truncated", f"{position} of {shape[0]} frames")
        yield np.frombuffer(data, np.uint8).reshape(shape[1:])
    if stream.read(1):  # also what makes zip compare its checksum
        raise SourceFailure("corrupt", f"more data than {shape[0]} frames")


def _fortran_frames(stream: IO[bytes], shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The frames of an array in Fortran order, whose bytes are spread over all of it: laid out in a file first."""
    size_bytes = int(np.prod(shape, dtype=np.int64))
    if not size_bytes:
        return
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(stream, file, _PIECE_BYTES)
        if file.tell() < size_bytes:
            raise SourceFailure("truncated", f"{file.tell()} of {size_bytes} bytes")
        file.flush()
        array = np.memmap(file, np.uint8, "r", shape=shape, order="F")
        step = max(1, _BLOCK_BYTES * shape[0] // size_bytes)  # frames that are gathered in one pass over the file
        for first in range(0, shape[0], step):
            yield from np.ascontiguousarray(array[first : first + step])
