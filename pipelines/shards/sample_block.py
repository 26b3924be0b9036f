"""One source item as bytes of a shard: its samples' tar members, and where everything lies in them.

A block is what one source item adds to its shard: for each sample the members `<key>.json`, `<key>.mjpeg` or
`<key>.npy`, and `<key>.tracks.npz` when the item has tracks, adjacent. Blocks do not know where in the shard they will
stand, so shards are put together by joining blocks: after a crash, after a retry, and for a damaged shard that is
repaired.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np

from ipv_bench.sample_encoding import STREAM_EXTENSION
from ipv_bench.tracks import TRACKS_EXTENSION, tracks_bytes
from pipelines.datasets.base import SourceItem, SourceRow
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.quarantine import MACHINE_DEPENDENT, SourceFailure
from pipelines.decoding.frames import FrameReader
from pipelines.decoding.item_tracks import ItemTracks
from pipelines.decoding.open_frames import open_frames
from pipelines.shards.clip_stream import ClipStream

TAR_BLOCK = 512


@dataclass(frozen=True)
class SampleEntry:
    """A sample within a block; offsets count from the start of the block."""

    key: str
    clip_index: int
    stream_offset: int
    stream_size: int
    num_frames: int
    height: int
    width: int
    first_source_frame: int
    frame_stride: int
    fps: float
    frame_offsets: array[int] = field(default_factory=lambda: array("I"))
    """Byte offset of each frame in the stream; empty for `raw`."""
    tracks_offset: int = 0
    tracks_size: int = 0
    """0 without tracks."""


@dataclass(frozen=True)
class Outcome:
    """What became of one source item.

    Attributes:
        row: its row of `sources.parquet`.
        samples: none unless it was written.
        size_bytes: of its block.
        machine_dependent: another machine might have another outcome; such an item is tried again.
    """

    row: SourceRow
    samples: tuple[SampleEntry, ...] = ()
    size_bytes: int = 0
    machine_dependent: bool = False


def without_frames(item: SourceItem) -> Outcome | None:
    """The outcome of an item that the inventory already decided, None for one that must be decoded."""
    row = SourceRow(item.source_id, item.path, "excluded", "rule", item.excluded)
    if item.problem:
        return failure_outcome(item, *item.problem)
    return Outcome(row) if item.excluded else None


def failure_outcome(item: SourceItem, reason: str, message: str, frames: int = 0) -> Outcome:
    """The outcome of an item that failed."""
    row = SourceRow(item.source_id, item.path, "quarantined", reason, message, num_frames_decoded=frames)
    return Outcome(row, machine_dependent=reason in MACHINE_DEPENDENT)


def without_place(message: str, source: Path) -> str:
    """A message for the tables of a set, which is passed on: libraries name files by where they lie on this disk."""
    if not source.is_absolute():
        return message
    return message.replace(f"{source}/", "").replace(str(source), "the release")


def write_block(
    item: SourceItem,
    key: str,
    source: Path,
    config: PrepareConfig,
    file: IO[bytes],
    tick: Callable[[], None],
) -> Outcome:
    """Decode an item and append its block to `file`; on failure nothing is appended.

    Args:
        item: with frames.
        key: of its sample (of its samples' common part with `clip_frames`).
        source: the folder that its paths are relative to.
        config: of the job.
        file: the unfinished shard, at its end.
        tick: called after each decoded frame, and at other signs of progress.
    """
    start = file.tell()
    reader = open_frames(item, source, config)
    info = reader.info
    row = SourceRow(item.source_id, item.path, "written")
    try:
        samples = _write_samples(_Writer(item, key, config, source, file, start), reader, tick)
    except SourceFailure as failure:
        file.truncate(start)
        file.seek(start)
        message = without_place(failure.message, source)
        row = replace(row, status="quarantined", reason=failure.reason, message=message)
        return Outcome(_with_info(row, info), machine_dependent=failure.reason in MACHINE_DEPENDENT)
    num_kept = sum(sample.num_frames for sample in samples)
    if num_kept < max(config.min_frames, 1):
        file.truncate(start)
        file.seek(start)
        message = f"{num_kept} selected frames, expected {max(config.min_frames, 1)} or more"
        return Outcome(_with_info(replace(row, status="too_short", reason="min_frames", message=message), info))
    return Outcome(_with_info(row, info), samples, file.tell() - start)


def _with_info(row: SourceRow, info: Any) -> SourceRow:
    values = {name: value for name, value in vars(info).items() if name not in ("kept_fps", "notes")}
    return replace(row, **values)


def _write_samples(writer: _Writer, reader: FrameReader, tick: Callable[[], None]) -> tuple[SampleEntry, ...]:
    entries: list[SampleEntry] = []
    with ClipStream(writer.folder, writer.config) as clip:
        for frame in reader:
            tick()
            if frame is None:
                continue
            if len(clip.positions) == writer.config.clip_frames:
                entries.append(writer.finish(clip, len(entries), reader))
                clip.clear()
            clip.add(frame)
        if clip.positions:
            entries.append(writer.finish(clip, len(entries), reader))
    if writer.tracks is not None:
        writer.tracks.check_length(reader.info.num_frames_decoded)
    return tuple(entries)


class _Writer:
    """Appends finished samples to the unfinished shard."""

    def __init__(
        self, item: SourceItem, key: str, config: PrepareConfig, source: Path, file: IO[bytes], start: int
    ) -> None:
        self.item, self.key, self.config, self.file, self._start = item, key, config, file, start
        self.folder = Path(file.name).parent
        self._source = source

    @cached_property
    def tracks(self) -> ItemTracks | None:
        """Of the item; read when the first sample is finished, so that what is wrong with the frames is said first."""
        return ItemTracks(self.item.tracks, self._source) if self.item.tracks is not None else None

    def finish(self, clip: ClipStream, index: int, reader: FrameReader) -> SampleEntry:
        """Write the members of one sample: JSON, stream, tracks."""
        key = self.key if self.config.clip_frames is None else clip_key(self.key, index)
        stride = _stride(clip.positions)
        fps = round(reader.info.kept_fps, 6)
        facts = {
            "source_id": self.item.source_id,
            "path": self.item.path,
            "label": self.item.label,
            "split": self.item.split,
            "clip_index": index,
            "num_frames": len(clip.positions),
            "height": clip.shape[0],
            "width": clip.shape[1],
            "first_source_frame": clip.positions[0],
            "frame_stride": stride,
            "fps": fps,
        }
        if not stride:
            facts["source_frames"] = clip.positions
        if self.config.fps is not None:
            facts["pts_seconds"] = [round(time, 6) for time in clip.times]
        if reader.info.notes:
            facts["notes"] = dict(reader.info.notes)
        if self.item.metadata:
            facts["metadata"] = dict(self.item.metadata)
        text = json.dumps(facts, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        self._whole_member(f"{key}.json", text.encode())
        size, pieces = clip.finish()
        offset = self._member(f"{key}.{STREAM_EXTENSION[self.config.encoding]}", size, pieces)
        tracks_offset, tracks_size = self._tracks(key, clip.positions, index == 0)
        return SampleEntry(
            key, index, offset, size, len(clip.positions), clip.shape[0], clip.shape[1],
            clip.positions[0], stride, fps, clip.offsets, tracks_offset, tracks_size,
        )  # fmt: skip

    def _tracks(self, key: str, positions: list[int], first: bool) -> tuple[int, int]:
        if self.tracks is None:
            return 0, 0
        data = tracks_bytes(self.tracks.of_frames(positions, first))
        return self._whole_member(f"{key}.{TRACKS_EXTENSION}", data), len(data)

    def _whole_member(self, name: str, data: bytes) -> int:
        return self._member(name, len(data), [data])

    def _member(self, name: str, size: int, pieces: Iterable[bytes]) -> int:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o644
        self.file.write(info.tobuf(tarfile.PAX_FORMAT))
        offset = self.file.tell() - self._start
        self.file.writelines(pieces)
        self.file.write(bytes(-size % TAR_BLOCK))
        return offset


def clip_key(key: str, index: int) -> str:
    """Key of clip `index` of a source item: a tail of fixed length, so that no two items can share one."""
    if len(key) > 93:
        key = f"{key[:60]}-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
    return f"{key}-{index:06d}"


def _stride(positions: list[int]) -> int:
    """The distance between frames, or 0 when it varies (resampled by time, gaps in the numbering)."""
    if len(positions) < 2:
        return 1
    steps = np.diff(positions)
    return int(steps[0]) if (steps == steps[0]).all() else 0
