"""Frames of a whole video file that lies in a cell of a Parquet file."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pipelines.datasets.base import SourceItem, TableVideo, VideoFile
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.frames import SourceInfo, StoredFrame
from pipelines.decoding.open_video import open_video
from pipelines.decoding.table_pictures import embedded_bytes
from pipelines.decoding.table_rows import read_rows


class TableVideoFrames:
    """Frames of a `TableVideo` item: its file is laid out for the time of decoding, and read as any other."""

    def __init__(self, item: SourceItem, source: Path, config: PrepareConfig) -> None:
        assert isinstance(item.frames, TableVideo)
        self._frames, self._item, self._source, self._config = item.frames, item, source, config
        self.info = SourceInfo()

    def __iter__(self) -> Iterator[StoredFrame | None]:
        with _laid_out(self._data()) as path:
            reader = open_video(replace(self._item, frames=VideoFile(path.name)), path.parent, self._config)
            reader.info = self.info
            yield from reader

    def _data(self) -> bytes:
        for table in read_rows(self._frames.rows, self._source, [self._frames.column]):
            for cell in table[self._frames.column]:
                data = embedded_bytes(cell)
                if not data:
                    raise SourceFailure("empty_file", "0 bytes")
                return data
        raise SourceFailure("bad_annotation", "no such row")


@contextmanager
def _laid_out(data: bytes) -> Iterator[Path]:
    """A path under which the bytes can be opened. On Linux the file has no name that a killed decoder could leave."""
    if sys.platform != "linux":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "video"
            path.write_bytes(data)
            yield path
        return
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        yield Path(f"/proc/self/fd/{file.fileno()}")
