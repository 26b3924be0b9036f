"""Parquet files of the Hugging Face hub that hold videos: one video file in each row, or the name of one beside them.

    data/train-00000-of-00002.parquet     a column of type Video: struct<bytes, path>, or plain bytes; other columns
    metadata.parquet                      a column `file_name` that names the videos; other columns

The split is the first part of the file's name, as the hub writes it. Rows that only name a file take it where it lies:
relative to the table's folder or to the whole.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ipv_bench.bounded_tables import ARROW_ERRORS, LIMITS, read_table
from ipv_bench.errors import ConfigError, InputError, SourceError, UnknownNameError
from ipv_bench.file_names import is_relative_path
from pipelines.datasets.base import SourceItem, TableRows, TableVideo, VideoFile
from pipelines.datasets.file_tree import VIDEO_SUFFIXES, FoundFile, refuse_passing
from pipelines.datasets.quarantine import SourceFailure

MAX_ROWS = 10_000_000
_SPLIT = re.compile(r"(?:^|/)(train|validation|valid|val|dev|test|eval)(?=[-_.\d])[^/]*\.parquet$")
_SAME_SPLIT = {"valid": "validation", "val": "validation", "dev": "validation", "eval": "test"}
_OTHERS = (
    (
        "pictures",
        re.compile(
            rb"\xff\xd8|\x89PNG|RIFF....WEBP|BM|II\*\0|MM\0\*|....ftyp(avi[fs]|hei[cx]|mif1|msf1|hevc)", re.DOTALL
        ),
    ),
    ("sounds", re.compile(rb"RIFF....WAVE|fLaC|ID3|FORM....AIF", re.DOTALL)),
)
"""How files begin that are no videos; AVI begins with RIFF too, and a GIF may be one, as it may in a folder."""
_VIDEOS = re.compile(
    rb"....(ftyp(?!avi[fs]|hei[cx]|mif1|msf1|hevc)|styp|moov|mdat|wide|free|skip|pnot)|"
    rb"RIFF....AVI |\x1a\x45\xdf\xa3|\x30\x26\xb2\x75|FLV|OggS|"
    rb"\0\0\1[\xb3\xba]|\x47.{187}\x47",
    re.DOTALL,
)
"""How files of video containers begin, GIF apart; AVIF and HEIF are pictures in a video's container."""
_PERHAPS = "another column begins as a video does, this one does not"
"""Why a column is not taken that may hold videos (GIF, or an unknown beginning)."""
_OTHER_NAMES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".wav", ".mp3", ".flac")
_LOOK_AT = 256
"""Rows that are looked at for the first one that is not empty."""


@dataclass(frozen=True)
class HubTable:
    """One table with videos.

    Attributes:
        file: of the table.
        column: that holds the videos.
        count: rows.
        labels: text for each row; empty without.
        named: path of the video file of each row, where the table only names them; empty where it holds them.
    """

    file: FoundFile
    column: str
    count: int
    labels: tuple[str, ...]
    named: tuple[str, ...]


def open_table(
    source: Path, file: FoundFile, video_column: str, label_column: str, passed_over: Counter[tuple[str, str, bool]]
) -> HubTable | None:
    """What a Parquet file holds; None when no column of it has videos.

    Args:
        source: the source folder.
        file: of the table.
        video_column: the column to take; empty takes the only one with videos.
        label_column: the column with labels; empty for none.
        passed_over: counts (column, why, whether another one was taken) of the columns with files that are not taken,
            unless one was named.

    Raises:
        SourceFailure: `corrupt`: it is no Parquet file.
        SourceError: the column that is named holds no files; labels have gaps.
        ConfigError: several columns have videos and none is named.
        UnknownNameError: there is no such column with labels.
    """
    path = source / file.path
    try:
        with pq.ParquetFile(path, **LIMITS) as table:
            schema, count = table.schema_arrow, table.metadata.num_rows
            features = _features(schema)
            verdicts = {field.name: _not_video(table, field, features) for field in schema if _holds_files(field.type)}
            found = [name for name, why in verdicts.items() if not why]
            found = found or [name for name, why in verdicts.items() if why == _PERHAPS]
            if not found and not video_column:
                found = [name for name in schema.names if _is_file_name(schema.field(name))][:1]
            column = video_column or (found[0] if found else "")
            external = column in schema.names and _only_names(table, schema.field(column))
    except ARROW_ERRORS as error:
        if isinstance(error, OSError) and error.errno:  # the disk's word; pyarrow calls damage an OSError, too
            refuse_passing(error, path)
        words = str(error).replace(str(path), "it").splitlines() or [type(error).__name__]
        raise SourceFailure("corrupt", f"no readable Parquet table: {words[0][:200]}") from None
    others = [name for name in verdicts if not (video_column or name in found or _declared(name, features))]
    if column not in schema.names:
        passed_over.update((name, verdicts[name], False) for name in others)
        return None
    if len(found) > 1 and not video_column:
        raise ConfigError(
            f"{file.path} has videos in {len(found)} columns: {', '.join(found)}",
            expected="which of them to take",
            fix=f"add `--set video_column={found[0]}`",
        )
    if not (external or _holds_files(schema.field(column).type)) or count > MAX_ROWS:
        raise SourceError(
            f"{file.path}: the column {column} holds {schema.field(column).type} in {count:,} rows",
            expected="video files: bytes, or struct<bytes, path>",
            fix="name another with `--set video_column=…`",
        )
    named = _names(path, schema.field(column)) if external else ()
    is_taken = not pa.types.is_string(schema.field(column).type) or any(map(_is_video_name, named))
    passed_over.update((name, verdicts[name], is_taken) for name in others)
    if not is_taken:
        return None  # it names other files
    if label_column and label_column not in schema.names:
        raise UnknownNameError(f"column of {file.path}", label_column, schema.names)
    labels = _labels(path, schema, label_column, features) if label_column else ()
    return HubTable(file, column, count, labels, named)


def table_items(
    table: HubTable, sizes: Mapping[str, int], label_of: Callable[[FoundFile], str]
) -> Iterator[SourceItem]:
    """One item per row.

    Args:
        table: of `open_table`.
        sizes: path → bytes of all files of the source.
        label_of: label by the file, where the table has none.
    """
    file = table.file
    split = _SPLIT.search(file.path)
    name = _SAME_SPLIT.get(split[1], split[1]) if split else ""
    for row in range(table.count):
        label = table.labels[row] if table.labels else label_of(file)
        source_id = f"{file.path}/{row:06d}"
        if table.named:
            yield _named_item(source_id, table.named[row], file, label, name, sizes)
            continue
        rows = TableRows(file.path, row, 1, file_bytes=file.size_bytes)
        size = file.size_bytes // max(table.count, 1)
        yield SourceItem(source_id, file.path, size, TableVideo(rows, table.column), label, name)


def _named_item(
    source_id: str, path: str, file: FoundFile, label: str, split: str, sizes: Mapping[str, int]
) -> SourceItem:
    places = [f"{file.folder}/{path}" if file.folder else path, path]
    place = next((place for place in places if is_relative_path(path) and place in sizes), None)
    if place is None:
        problem = ("missing", f"the table names {path[:200]!r}, which is not here")
        return SourceItem(source_id, file.path, 0, None, label, split, problem=problem)
    return SourceItem(source_id, place, sizes[place], VideoFile(place), label, split)


def _holds_files(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        fields = {kind.field(number).name: kind.field(number).type for number in range(kind.num_fields)}
        return "bytes" in fields and _is_bytes(fields["bytes"])
    return _is_bytes(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_null(kind))


def _features(schema: pa.Schema) -> dict[str, Any]:
    """What the `datasets` library wrote about the columns; empty where it wrote nothing."""
    try:
        facts = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = facts["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _declared(name: str, features: Mapping[str, Any]) -> str:
    """What the `datasets` library calls a column; empty where it says nothing."""
    feature = features.get(name)
    kind = feature.get("_type") if isinstance(feature, dict) else None
    return "" if kind is None else str(kind)


def _not_video(table: pq.ParquetFile, field: pa.Field, features: Mapping[str, Any]) -> str:
    """Why a column is not one of videos; empty when it is.

    By the word of the `datasets` library; else by the first file in it. `_PERHAPS` where it begins as neither a video
    nor something else: such a column is taken where no other one is a video's.
    """
    kind = _declared(field.name, features)
    if kind:
        return "" if kind == "Video" else f"it is of the type {kind}"
    rows = table.iter_batches(batch_size=1, columns=[field.name], use_threads=False)
    for batch in islice(rows, _LOOK_AT):
        value = batch.column(0)[0].as_py() if len(batch) else None
        name = value.get("path") if isinstance(value, dict) else None
        data = value.get("bytes") if isinstance(value, dict) else value
        if isinstance(data, bytes) and data:
            other = next((f"it holds {words}" for words, start in _OTHERS if start.match(data)), _PERHAPS)
            return "" if _VIDEOS.match(data) else other
        if data is None and isinstance(name, str) and name:
            other = "it names other files" if name.lower().endswith(_OTHER_NAMES) else _PERHAPS
            return "" if _is_video_name(name) and not name.lower().endswith(".gif") else other
    return f"its first {_LOOK_AT} rows are empty" if table.metadata.num_rows > _LOOK_AT else "it is empty"


def _only_names(table: pq.ParquetFile, field: pa.Field) -> bool:
    """Whether a column holds names alone, or its `bytes` are empty in every row by the table's own statistics."""
    if _is_file_name(field):
        return True
    if not pa.types.is_struct(field.type) or "path" not in {one.name for one in field.type}:
        return False
    meta = table.metadata
    for group in range(meta.num_row_groups):
        chunks = (meta.row_group(group).column(number) for number in range(meta.row_group(group).num_columns))
        chunk = next((chunk for chunk in chunks if chunk.path_in_schema == f"{field.name}.bytes"), None)
        if chunk is None or chunk.statistics is None or chunk.statistics.null_count != meta.row_group(group).num_rows:
            return False
    return bool(meta.num_rows)


def _is_file_name(field: pa.Field) -> bool:
    """Whether it is a column that names files, as the hub's folders of videos call it."""
    is_text = pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
    return bool(is_text and (field.name == "file_name" or field.name.endswith("_file_name")))


def _is_video_name(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def _names(path: Path, field: pa.Field) -> tuple[str, ...]:
    leaf = f"{field.name}.path" if pa.types.is_struct(field.type) else field.name
    try:
        with pq.ParquetFile(path, **LIMITS) as file:
            values = file.read(columns=[leaf], use_threads=False)[field.name].to_pylist()
    except ARROW_ERRORS as error:
        words = str(error).replace(str(path), "it")
        raise SourceFailure("corrupt", f"no readable Parquet table: {words}"[:200]) from None
    return tuple(str((value.get("path") if isinstance(value, dict) else value) or "") for value in values)


def _labels(path: Path, schema: pa.Schema, column: str, features: Mapping[str, Any]) -> tuple[str, ...]:
    kind = schema.field(column).type
    wanted = pa.string() if pa.types.is_string(kind) or pa.types.is_large_string(kind) else pa.int64()
    try:
        values = read_table(path, pa.schema([(column, wanted)]), error=SourceError)[column].to_pylist()
    except InputError as error:
        raise SourceError(
            error.found, expected="a text or a class number in every row", fix="set label_from to another column"
        ) from None
    feature = features.get(column)
    names = feature.get("names") if isinstance(feature, dict) else None
    if isinstance(names, list) and wanted == pa.int64():
        return tuple(str(names[value]) if 0 <= value < len(names) else str(value) for value in values)
    return tuple(map(str, values))
