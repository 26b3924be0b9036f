"""Rows of Parquet files that somebody else made: one row group at a time, of which the last stays in memory.

Items of a shard come in order, so the rows of the next item mostly lie in the same row group.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ipv_bench.bounded_tables import LIMITS
from pipelines.datasets.base import TableRows, TrackRows, TrackSpec
from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.frames import check_file, system_errors

MAX_GROUP_BYTES = 2 << 30
"""Of the columns that are read, in one row group."""
_PARQUET_ERRORS = (pa.ArrowException, ValueError, KeyError, OverflowError)


def read_rows(rows: TableRows, source: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The rows, in one table per row group.

    Args:
        rows: which.
        source: the folder that their path is relative to.
        columns: names of columns.

    Raises:
        SourceFailure: `unreadable`, `empty_file`; `corrupt`: it is no Parquet file; `bad_annotation`: a
            column or a row is not there, or the rows belong to another item.
    """
    path = source / rows.path
    check_file(path)
    key, value = rows.key
    wanted = tuple(dict.fromkeys([*columns, *([key] if key else [])]))
    with system_errors():
        status = path.stat()
        stamp = (status.st_size, status.st_mtime_ns)
        try:
            begins = _begins(str(path), stamp)
            if rows.first + rows.count > begins[-1]:
                message = f"rows {rows.first} to {rows.first + rows.count - 1} of a table with {begins[-1]}"
                raise SourceFailure("bad_annotation", message)
            for group, (begin, end) in enumerate(pairwise(begins)):
                low, high = max(begin, rows.first), min(end, rows.first + rows.count)
                if low < high:
                    part = _group(str(path), stamp, wanted, group).slice(low - begin, high - low)
                    if key and not pc.all(pc.equal(part[key], value)).as_py():
                        raise SourceFailure("bad_annotation", f"its rows of the table do not all have {key} {value}")
                    yield part
        except (*_PARQUET_ERRORS, OSError) as error:
            if isinstance(error, OSError) and error.errno:  # the disk's word; pyarrow calls damage an OSError, too
                raise
            words = str(error).splitlines() or [type(error).__name__]
            raise SourceFailure("corrupt", f"no readable Parquet table: {words[0][:200]}") from error


def _file(path: str) -> pq.ParquetFile:
    return pq.ParquetFile(path, **LIMITS)


@lru_cache(maxsize=4)
def _begins(path: str, stamp: tuple[int, int]) -> list[int]:
    """Where each row group begins, and where the last one ends."""
    begins = [0]
    with _file(path) as file:
        for group in range(file.metadata.num_row_groups):
            begins.append(begins[-1] + file.metadata.row_group(group).num_rows)
    return begins


@lru_cache(maxsize=1)
def _group(path: str, stamp: tuple[int, int], columns: tuple[str, ...], group: int) -> pa.Table:
    with _file(path) as file:
        absent = [name for name in columns if name not in file.schema_arrow.names]
        if absent:
            raise SourceFailure("bad_annotation", f"the table has no column {', '.join(absent)}")
        facts = file.metadata.row_group(group)
        chunks = (facts.column(number) for number in range(facts.num_columns))
        size = sum(
            chunk.total_uncompressed_size for chunk in chunks
            if any(chunk.path_in_schema == name or chunk.path_in_schema.startswith(f"{name}.") for name in columns)
        )  # fmt: skip
        if size > MAX_GROUP_BYTES:
            raise SourceFailure("bad_annotation", f"a row group of {size:,} bytes: write the table with smaller ones")
        table: pa.Table = file.read_row_group(group, columns=list(columns), use_threads=False).select(list(columns))
        return table


def read_track_columns(tracks: TrackRows, source: Path) -> dict[str, np.ndarray]:
    """The arrays of an item's tracks, by name, as the table holds them.

    Raises:
        SourceFailure: as `read_rows`; `bad_annotation` when a column has gaps, or frames and times do not count up.
    """
    times = ("frame_index", "timestamp") if tracks.fps else ()
    parts = list(read_rows(tracks.rows, source, [*tracks.columns, *times]))
    if not parts:
        raise SourceFailure("bad_annotation", "no rows")
    table = pa.concat_tables(parts)
    if tracks.fps:
        _check_times(table, tracks.fps)
    return {
        spec.name: _of_shape(spec, numbers(table[column], column))
        for spec, column in zip(tracks.specs, tracks.columns, strict=True)
    }


def _check_times(table: pa.Table, fps: float) -> None:
    count = np.arange(len(table))
    if not np.array_equal(numbers(table["frame_index"], "frame_index").ravel(), count):
        raise SourceFailure("bad_annotation", f"frame_index does not count from 0 to {len(table) - 1}")
    times = numbers(table["timestamp"], "timestamp").ravel().astype(np.float64)
    wrong = np.flatnonzero(~(np.abs(times * fps - count) <= 0.25))
    if len(wrong):
        first = int(wrong[0])
        message = f"timestamp {times[first]:.4f} s of frame {first}, expected {first / fps:.4f} s at {fps:g} fps"
        raise SourceFailure("bad_annotation", message)


def numbers(column: pa.ChunkedArray, name: str) -> np.ndarray:
    """A column of numbers, or of lists of equally many of them, as an array (rows, …).

    Raises:
        SourceFailure: `bad_annotation`.
    """
    values: Any = column.combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    sides = [len(values)]
    while isinstance(values, pa.ExtensionArray) or pa.types.is_nested(values.type):
        if isinstance(values, pa.ExtensionArray):
            values = values.storage
            continue
        if not hasattr(values, "flatten") or pa.types.is_struct(values.type):
            raise SourceFailure("bad_annotation", f"{name} holds {values.type}, no numbers")
        lengths = pc.unique(pc.list_value_length(values)).to_pylist()
        if values.null_count or len(lengths) != 1:
            raise SourceFailure("bad_annotation", f"{name} has gaps, or not equally many numbers in each row")
        sides.append(lengths[0])
        values = values.flatten()
    if values.null_count:
        raise SourceFailure("bad_annotation", f"{name} has gaps")
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.uint8())
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise SourceFailure("bad_annotation", f"{name} holds {values.type}, no numbers")
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(sides)


def _of_shape(spec: TrackSpec, values: np.ndarray) -> np.ndarray:
    """One number may be written with or without a list around it."""
    size = math.prod(values.shape[1:])
    return values.reshape(len(values), *spec.shape) if size == math.prod(spec.shape) == 1 else values
