"""The stream of one sample while it grows: frames as JPEG one after another, or as they are."""

from __future__ import annotations

import io
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import simplejpeg
from numpy.lib import format as npy_format

from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.frames import StoredFrame
from pipelines.decoding.late_picture import LatePicture

SPOOL_BYTES = 32 << 20
"""Longer streams wait on disk until their length is known: memory stays flat for any length of video."""
_PIECE_BYTES = 1 << 20
_MAX_OFFSET = (1 << 32) - 1
_WAITING_BYTES = 256 << 10
"""Small pictures wait for one another up to this size: in a row the encoder takes less time for each, as the video
decoder does not drive it out of the processor's caches in between."""


class ClipStream:
    """Frames of one sample at a time; a context manager that gives back the disk space it took.

    Args:
        folder: where a long stream waits.
        config: of the job.
    """

    def __init__(self, folder: Path, config: PrepareConfig) -> None:
        self._folder, self._raw, self._quality = folder, config.encoding == "raw", config.jpeg_quality
        self._on_disk: IO[bytes] | None = None
        self.clear()

    def clear(self) -> None:
        """Begin another sample."""
        self.positions: list[int] = []
        self.times: list[float] = []
        self.shape: tuple[int, ...] = ()
        self.offsets = array("I")
        """Byte offset of each frame that is encoded; none for `raw`."""
        self._size_bytes = self._disk_bytes = self._waiting_bytes = 0
        self._waiting: list[np.ndarray | LatePicture] = []
        self._parts: list[bytes] = []
        if self._on_disk is not None:
            self._on_disk.seek(0)

    def __enter__(self) -> ClipStream:
        return self

    def __exit__(self, *_: object) -> None:
        if self._on_disk is not None:
            self._on_disk.close()

    def add(self, frame: StoredFrame) -> None:
        """Append a frame.

        Raises:
            SourceFailure: its size is another than that of the frames before, or the stream is too long.
        """
        position, time, picture = frame
        if picture.shape != self.shape:
            if self.shape:
                sizes = f"from {self.shape} to {picture.shape}"
                raise SourceFailure("corrupt", f"the picture size changes {sizes} at frame {position}")
            self.shape = picture.shape
        self.positions.append(position)
        self.times.append(time)
        self._waiting.append(picture)
        self._waiting_bytes += picture.nbytes
        if self._waiting_bytes >= _WAITING_BYTES:
            self._encode()

    def finish(self) -> tuple[int, Iterator[bytes]]:
        """Size of the stream in bytes, and its pieces."""
        self._encode()
        header = _npy_header((len(self.positions), *self.shape)) if self._raw else b""
        return len(header) + self._size_bytes, self._pieces(header)

    def _pieces(self, header: bytes) -> Iterator[bytes]:
        yield header
        if self._on_disk is not None:
            self._on_disk.seek(0)
            left = self._disk_bytes
            while left:
                piece = self._on_disk.read(min(left, _PIECE_BYTES))
                left -= len(piece)
                yield piece
        yield from self._parts

    def _encode(self) -> None:
        for picture in map(np.asarray, self._waiting):
            data = picture.tobytes() if self._raw else self._jpeg(picture)
            self._parts.append(data)
            self._size_bytes += len(data)
        self._waiting.clear()
        self._waiting_bytes = 0
        if self._size_bytes - self._disk_bytes > SPOOL_BYTES:
            self._on_disk = self._on_disk or tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  (see `__exit__`)
            self._on_disk.writelines(self._parts)
            self._disk_bytes = self._size_bytes
            self._parts.clear()

    def _jpeg(self, picture: np.ndarray) -> bytes:
        data: bytes = simplejpeg.encode_jpeg(picture, self._quality, "RGB", "444", fastdct=False)
        if self._size_bytes > _MAX_OFFSET:
            raise SourceFailure("too_long", f"over 4 GiB after {len(self.offsets) + 1} frames; set clip_frames")
        self.offsets.append(self._size_bytes)
        return data


def _npy_header(shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    npy_format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()
