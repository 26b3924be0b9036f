"""Frames that lie as picture files (JPEG, PNG, ...) in a column of a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.datasets.base import SourceItem, TablePictures
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.frames import SourceInfo, StoredFrame
from pipelines.decoding.geometry import FrameScaler
from pipelines.decoding.images import PictureDecoder, named
from pipelines.decoding.selection import FrameSelector, selection_of
from pipelines.decoding.table_rows import read_rows


class TablePictureFrames:
    """Frames of a `TablePictures` item."""

    def __init__(self, item: SourceItem, source: Path, config: PrepareConfig) -> None:
        assert isinstance(item.frames, TablePictures)
        self._frames, self._item, self._source, self._config = item.frames, item, source, config
        self.info = SourceInfo(num_frames_header=item.frames.rows.count, fps=item.fps)

    def __iter__(self) -> Iterator[StoredFrame | None]:
        config = self._config
        decoder = PictureDecoder(self.info, FrameScaler(config.size, self._item.crop or config.crop, config.scaling))
        selector = FrameSelector(selection_of(self._item, config))
        self.info.kept_fps = selector.kept_fps(self._item.fps)
        position = 0
        for table in read_rows(self._frames.rows, self._source, [self._frames.column]):
            for cell in table[self._frames.column]:
                time = Fraction(position) / Fraction(self._item.fps) if self._item.fps else Fraction(position)
                if selector.keeps(position, time):
                    with named(f"row {self._frames.rows.first + position}"):
                        yield StoredFrame(position, float(time), decoder.small(embedded_bytes(cell)))
                else:
                    yield None
                position += 1
                self.info.num_frames_decoded = position
        if not position:
            raise SourceFailure("zero_frames", "no rows")


def embedded_bytes(cell: pa.Scalar) -> bytes:
    """The file in a cell: plain bytes, or the `bytes` of a struct with `bytes` and `path`.

    Raises:
        SourceFailure: `missing`: the cell only names a file, or is empty; `bad_annotation`: it holds something else.
    """
    value: Any = cell.as_py()
    if isinstance(value, dict):
        name, value = value.get("path"), value.get("bytes")
        if value is None and isinstance(name, str) and name:
            raise SourceFailure("missing", f"the table only names the file {name[:100]!r} and does not hold it")
    if value is None:
        raise SourceFailure("missing", "an empty cell")
    if not isinstance(value, bytes):
        raise SourceFailure("bad_annotation", f"a {type(value).__name__} in place of a file")
    return value
