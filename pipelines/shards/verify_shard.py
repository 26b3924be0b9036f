"""One shard against the index: members, streams, plain webdataset, decoding."""

from __future__ import annotations

import io
import math
import mmap
import tarfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from ipv_bench.bounded_arrays import read_header
from ipv_bench.bounded_json import parse_json
from ipv_bench.errors import InputError
from ipv_bench.segment_source import decode_frames
from ipv_bench.shard_set import STREAM_EXTENSION, Encoding, is_key
from ipv_bench.tracks import TRACKS_EXTENSION, TrackEntry, fault, parse_tracks

ShardFinding = tuple[Literal["tar", "frames", "tracks", "webdataset", "decode"], str]

_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


@dataclass
class ShardContents:
    """A shard file and what the index says about it.

    Attributes:
        path: the tar.
        rows: row numbers in samples.parquet of its samples, in storage order.
        table: these rows.
        frame_offsets: frames.npy.
        encoding: of the set.
        tracks: of the manifest.
        num_frames_decoded: counted while checking.
    """

    path: Path
    rows: np.ndarray
    table: pa.Table
    frame_offsets: np.ndarray
    encoding: Encoding
    tracks: Mapping[str, TrackEntry] = field(default_factory=dict)
    num_frames_decoded: int = 0

    @property
    def extensions(self) -> list[str]:
        """Of the members of each sample, in order."""
        return ["json", STREAM_EXTENSION[self.encoding], *([TRACKS_EXTENSION] if self.tracks else [])]


def check_shard(shard: ShardContents, decode: frozenset[int]) -> Iterator[ShardFinding]:
    """Defects of one shard.

    Args:
        shard: file and index.
        decode: rows of samples.parquet whose frames are decoded.
    """
    if not shard.path.stat().st_size:
        yield "tar", "it is empty"
        return
    with open(shard.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield from _check_tar(shard, data, decode)


def _check_tar(shard: ShardContents, data: mmap.mmap, decode: frozenset[int]) -> Iterator[ShardFinding]:
    samples = shard.table.to_pylist()
    try:
        members = _members(data)
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError, MemoryError, OSError) as error:
        yield "tar", f"it is no readable tar: {error or type(error).__name__}"
        return
    extensions = shard.extensions
    names = [f"{sample['key']}.{extension}" for sample in samples for extension in extensions]
    if [member.name for member in members] != names:
        yield "tar", _difference([member.name for member in members], names)
        return
    yield from _check_members(members)
    for number, (row, sample) in enumerate(zip(shard.rows.tolist(), samples, strict=True)):
        header, stream, *tracks = members[number * len(extensions) : (number + 1) * len(extensions)]
        yield from _check_sample(sample, data, header)
        wrong_place = _place_fault(stream, sample["stream_offset"], sample["stream_size"])
        if wrong_place:
            yield "tar", wrong_place
        else:
            yield from _check_stream(shard, sample, _payload(data, stream), row in decode)
        for member in tracks:
            yield from _check_tracks(shard, sample, member, _payload(data, member))
    yield from _check_webdataset(shard.path, data, members, extensions)


def _place_fault(member: tarfile.TarInfo, offset: int, size: int) -> str:
    if (member.offset_data, member.size) == (offset, size):
        return ""
    found = f"{member.name} is at offset {member.offset_data}, {member.size} bytes"
    return f"{found}, the index says offset {offset}, {size} bytes"


def _check_tracks(
    shard: ShardContents, sample: dict[str, Any], member: tarfile.TarInfo, payload: bytes
) -> Iterator[ShardFinding]:
    wrong_place = _place_fault(member, sample["tracks_offset"], sample["tracks_size"])
    if wrong_place:
        yield "tar", wrong_place
    try:
        arrays = parse_tracks(payload, shard.tracks, sample["num_frames"], member.name)
    except InputError as error:
        yield "tracks", f"{error.found}" + (f", expected {error.expected}" if error.expected else "")
        return
    wrong = fault(arrays, sample["clip_index"] == 0)
    if wrong:
        yield "tracks", f"{member.name}: {wrong}"


def _members(data: mmap.mmap) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=data, mode="r:") as tar:
        members = tar.getmembers()
    end = max((m.offset_data + -(-m.size // 512) * 512 for m in members), default=0)
    if len(data) < end + 1024 or data[end:].strip(b"\0"):
        raise tarfile.TarError("it does not end with two empty blocks")
    return members


def _difference(found: list[str], expected: list[str]) -> str:
    for number, name in enumerate(expected):
        if number >= len(found) or found[number] != name:
            there = found[number] if number < len(found) else "nothing"
            return f"member {number} is {there!r}, the index says {name!r}: the index is stale, or members are missing"
    return f"{len(found)} members, the index knows {len(expected)}: the index is stale"


def _check_members(members: list[tarfile.TarInfo]) -> Iterator[ShardFinding]:
    for member in members:
        if not is_key(member.name.partition(".")[0]):
            yield "tar", f"member {member.name!r} breaks the key rule [A-Za-z0-9_-]{{1,100}}"
        if (member.mtime, member.uid, member.gid, member.mode) != (0, 0, 0, 0o644) or not member.isreg():
            yield "tar", f"member {member.name!r} has another time, owner or mode than 0, 0:0, 0644"


def _check_sample(sample: dict[str, Any], data: mmap.mmap, header: tarfile.TarInfo) -> Iterator[ShardFinding]:
    try:
        facts = parse_json(data[header.offset_data : header.offset_data + header.size], header.name, expect=dict)
    except InputError as error:
        yield "tar", f"{error.found}" + (f", expected {error.expected}" if error.expected else "")
        return
    for name in sample.keys() & facts.keys():
        if facts[name] != sample[name]:
            yield "tar", f"{header.name}: {name} is {facts[name]!r}, the index says {sample[name]!r}"
    if "source_id" not in facts:
        yield "tar", f"{header.name} does not name its source_id"


def _check_stream(shard: ShardContents, sample: dict[str, Any], payload: bytes, decode: bool) -> Iterator[ShardFinding]:
    shape = (sample["num_frames"], sample["height"], sample["width"], 3)
    if shard.encoding == "raw":
        yield from _check_raw(shard, sample["key"], payload, shape, decode)
        return
    start = sample["frames_start"]
    offsets = shard.frame_offsets[start : start + shape[0]].astype(np.int64)
    bounds = [*offsets.tolist(), len(payload)]
    if len(bounds) != shape[0] + 1 or bounds[0] != 0 or np.any(np.diff(bounds) <= 0):
        yield "frames", f"sample {sample['key']}: its {shape[0]} frame offsets do not divide its stream"
        return
    for number in range(shape[0]):
        frame = payload[bounds[number] : bounds[number + 1]]
        if not frame.startswith(_JPEG_START) or not frame.endswith(_JPEG_END):
            yield "frames", f"sample {sample['key']}: no JPEG at the offset of frame {number}"
            return
    if decode:
        try:
            decode_frames(payload, bounds, np.empty(shape, np.uint8))
        except (ValueError, MemoryError) as error:
            yield "decode", f"sample {sample['key']}: {error}"
            return
        shard.num_frames_decoded += shape[0]


def _check_raw(
    shard: ShardContents, key: str, payload: bytes, shape: tuple[int, ...], decode: bool
) -> Iterator[ShardFinding]:
    file = io.BytesIO(payload)
    try:
        found, fortran, dtype = read_header(file, f"sample {key}")
    except InputError as error:
        yield "frames", error.found
        return
    size = file.tell() + math.prod(shape)
    if (found, fortran, dtype, len(payload)) != (shape, False, np.dtype(np.uint8), size):
        yield "frames", f"sample {key} holds {dtype} {found} in {len(payload)} bytes, expected uint8 {shape} in {size}"
        return
    if decode:
        shard.num_frames_decoded += shape[0]


def _check_webdataset(
    path: Path, data: mmap.mmap, members: list[tarfile.TarInfo], extensions: list[str]
) -> Iterator[ShardFinding]:
    """What a plain webdataset loop gets from this shard, against the tar's own bytes."""
    import webdataset

    step = len(extensions)
    expected = [members[place : place + step] for place in range(0, len(members), step)]
    count = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset 1.0 leaves its file to the garbage collector
        urls = [str(path.absolute())]  # in a text alone it would expand {a,b} and `::`, which folders may be called
        loop = webdataset.WebDataset(urls, shardshuffle=False, nodesplitter=None, empty_check=False)
        try:
            for found, sample in zip(loop, expected, strict=True):
                key = sample[0].name.removesuffix(".json")
                wanted = [key, *(_payload(data, member) for member in sample)]
                if [found["__key__"], *(found.get(extension) for extension in extensions)] != wanted:
                    yield "webdataset", f"plain webdataset reads another sample than {key} at place {count}"
                    return
                count += 1
        except (ValueError, tarfile.TarError, OSError) as error:
            yield "webdataset", f"plain webdataset reads {count} of {len(expected)} samples: {error}"


def _payload(data: mmap.mmap, member: tarfile.TarInfo) -> bytes:
    return data[member.offset_data : member.offset_data + member.size]
