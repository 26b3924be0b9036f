"""Segments: fixed-length pieces of video, drawn at random from shard sets.

Segment `i` of seed `s` is a pure function of (shard sets, weights, s, i): data set by weight, source video uniformly,
start uniformly, as the papers sample. So training resumes from a counter, and any number of workers and ranks sees the
same sequence. Only the frames needed are read, one byte range per clip, and decoded.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import operator
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import simplejpeg

from ipv_bench.errors import ConfigError, ShardSetError
from ipv_bench.open_store import open_store
from ipv_bench.seeding import derive_seed
from ipv_bench.shard_index import ShardIndex
from ipv_bench.shard_set import FRAMES_FILE, MANIFEST_FILE, parse_manifest, read_manifest
from ipv_bench.shard_store import REPAIR, LocalStore, ShardStore
from ipv_bench.tracks import ACTION, parse_tracks, select_tracks

_SEED_RANGE = 1 << 63  # derive_seed gives 63 bits


@dataclass(frozen=True)
class SegmentOrigin:
    """Where a segment came from.

    Attributes:
        data_set: name of the shard set ("ssv2").
        location: folder or address of the shard set.
        source_id: id of the source video.
        start_frame: first frame, counted in stored frames of the source video.
        source_frame: the same frame, counted in frames of the raw source; None where frames were picked by time or
            across gaps, so that their distance varies.
        crop: (top, left) of the random crop, None without one.
    """

    data_set: str
    location: str
    source_id: str
    start_frame: int
    source_frame: int | None
    crop: tuple[int, int] | None


class TrackedSegment(NamedTuple):
    """A segment of a labelled set.

    Attributes:
        frames: uint8 (T, H, W, 3).
        tracks: name → (T, …), float32 or uint8, as stored: `action[t]` led into frame t. The first one of a segment
            led into its first frame from one that the segment does not hold (zero where the video begins).
    """

    frames: np.ndarray
    tracks: dict[str, np.ndarray]


class SegmentSource:
    """One shard set: its videos that may be drawn, and how to read frames of them."""

    def __init__(self, store: ShardStore) -> None:
        if isinstance(store, LocalStore):
            read_manifest(store.folder)  # for its message when the set is absent or unfinished
        text = store.read(MANIFEST_FILE)
        self.manifest = parse_manifest(text, f"{store.location}/{MANIFEST_FILE}")
        self.manifest_sha256 = hashlib.sha256(text).hexdigest()
        store.expect(self.manifest)
        self.store, self.index = store, ShardIndex(store, self.manifest)
        self.videos = np.empty(0, np.int64)

    def record(self) -> dict[str, Any]:
        """What `RunRecord.shard_sets` keeps of this set."""
        totals = self.manifest.totals
        return {
            "name": self.manifest.name,
            "path": self.store.location,
            "manifest_sha256": self.manifest_sha256,
            "inventory_sha256": self.manifest.inventory_sha256,
            "num_samples": totals.get("num_samples", len(self.index.sample_rows)),
            "num_frames": totals.get("num_frames", int(self.index.video_frames.sum())),
            "num_videos": len(self.videos),
        }

    def frames(self, video: int, start: int, length: int, stride: int = 1) -> np.ndarray:
        """Frames `start`, `start + stride`, … of a video, uint8 (length, H, W, 3)."""
        if stride > 1:
            return np.concatenate([self.frames(video, start + k * stride, 1) for k in range(length)])
        parts = self.index.clips(video, start, length)
        columns, row = self.index.columns, parts[0][0]
        out = self._room(length, int(columns["height"][row]), int(columns["width"][row]))
        done = 0
        for row, first, count in parts:
            self._read_clip(row, first, out[done : done + count])
            done += count
        return out

    def tracks(
        self, video: int, start: int, length: int, names: Sequence[str], stride: int = 1
    ) -> dict[str, np.ndarray]:
        """Entries `start`, `start + stride`, … of a video's tracks, name → (length, …).

        Where `stride` is above 1, `action` is what was done since the entry before, all steps joined (length,
        stride · A); of the first one, whose steps are not read, zeros.

        Raises:
            ShardSetError: the set has no such track, or it is damaged.
        """
        names = select_tracks(self.manifest.tracks, names, self.store.location, ShardSetError)
        if not names:  # also of a set that has none
            return {}
        pieces = []
        for row, first, count in self.index.clips(video, start, (length - 1) * stride + 1):
            stored = self._read_tracks(row)
            pieces.append({name: stored[name][first : first + count] for name in names})
        found = {name: np.concatenate([piece[name] for piece in pieces]) for name in names}
        if stride == 1:
            return found
        return {name: _joined(values, stride) if name == ACTION else values[::stride] for name, values in found.items()}

    def _read_tracks(self, row: int) -> dict[str, np.ndarray]:
        columns = self.index.columns
        shard = self.manifest.shards[int(columns["shard"][row])].file
        data = self.store.read_range(shard, int(columns["tracks_offset"][row]), int(columns["tracks_size"][row]))
        where = f"{self.store.location}: the tracks of sample {row} in {shard}"
        entries, num_frames = self.manifest.tracks, int(columns["num_frames"][row])
        return parse_tracks(data, entries, num_frames, where, error=ShardSetError, fix=REPAIR)

    def _room(self, length: int, height: int, width: int) -> np.ndarray:
        try:
            return np.empty((length, height, width, 3), np.uint8)
        except MemoryError:
            raise ShardSetError(
                f"{self.store.location}: {length} frames of {height}x{width} pixels do not fit into memory",
                fix="ask for shorter segments",
            ) from None

    def _read_clip(self, row: int, first: int, out: np.ndarray) -> None:
        shard = self.manifest.shards[int(self.index.columns["shard"][row])].file
        offset = int(self.index.columns["stream_offset"][row])
        size = int(self.index.columns["stream_size"][row])
        if self.manifest.encoding == "raw":
            frame_size = out[0].nbytes
            header = size - int(self.index.columns["num_frames"][row]) * frame_size
            if header < 0:
                raise self._no_frames(row, shard)
            data = self.store.read_range(shard, offset + header + first * frame_size, out.nbytes)
            out.reshape(-1)[:] = np.frombuffer(data, np.uint8)
            return
        begin = int(self.index.columns["frames_start"][row])
        last = begin + int(self.index.columns["num_frames"][row])
        ends = self.index.frame_offsets[begin + first : min(begin + first + len(out) + 1, last)].tolist()
        if len(ends) == len(out):  # the clip's last frame ends with its stream
            ends.append(size)
        if any(end <= start for start, end in pairwise(ends)) or ends[-1] > size:
            raise self._no_frames(row, shard)
        data = self.store.read_range(shard, offset + ends[0], ends[-1] - ends[0])
        try:
            decode_frames(data, [end - ends[0] for end in ends], out)
        except ValueError as error:
            raise ShardSetError(
                f"{self.store.location}: a frame of sample {row} in {shard} cannot be decoded: {error}",
                expected=f"JPEG frames at the offsets in {FRAMES_FILE}",
                fix=REPAIR,
            ) from error

    def _no_frames(self, row: int, shard: str) -> ShardSetError:
        return ShardSetError(
            f"{self.store.location}: the frames of sample {row} in {shard} do not divide its stream",
            expected=f"frame sizes and offsets that fit ({FRAMES_FILE})",
            fix=REPAIR,
        )


def _joined(action: np.ndarray, stride: int) -> np.ndarray:
    """Actions (1 + (T - 1) stride, A) that led into each frame, to those between every `stride`-th: (T, stride · A)."""
    between = action[1:].reshape(-1, stride * int(np.prod(action.shape[1:], dtype=np.int64)))
    return np.concatenate([np.zeros_like(between, shape=(1, between.shape[1])), between])


def decode_frames(stream: bytes, bounds: Sequence[int], out: np.ndarray) -> None:
    """Decode concatenated JPEGs.

    Args:
        stream: the JPEG files, one after another.
        bounds: where each begins, and where the last one ends; one more than there are frames.
        out: (T, H, W, 3) uint8 that receives the frames.

    Raises:
        ValueError: a frame is damaged or of another size.
    """
    view = memoryview(stream)
    for number, frame in enumerate(out):
        decoded = simplejpeg.decode_jpeg(view[bounds[number] : bounds[number + 1]], "RGB", buffer=frame)
        if decoded.shape != frame.shape:
            raise ValueError(f"a frame has shape {decoded.shape} instead of {frame.shape}")


class Segments:
    """An endless sequence of segments; `segments[i]` is uint8 (T, H, W, 3).

    It can be sent to worker processes. Attributes:
        length: T.
        shard_sets: one record per shard set, for `RunRecord.shard_sets`.
    """

    def __init__(
        self, sources: Sequence[SegmentSource], length: int, seed: int, weights: Sequence[float], crop: int | None,
        every_seconds: float | None = None, every_frames: int = 1,
    ) -> None:  # fmt: skip
        self.sources, self.length, self.seed, self._crop = list(sources), length, seed, crop
        self._every = every_seconds, every_frames
        self._count: int | None = None
        self._strides = [source.index.strides(every_seconds, every_frames) for source in self.sources]
        total = math.fsum(weights)
        self._bounds = [bound / total for bound in accumulate(weights)]
        self._last = max(number for number, weight in enumerate(weights) if weight > 0)
        self.shard_sets = [source.record() for source in self.sources]

    def __getitem__(self, i: int) -> np.ndarray:
        return self._frames(i, *self._draw(i))

    def _frames(self, i: int, number: int, video: int, start: int) -> np.ndarray:
        frames = self.sources[number].frames(video, start, self.length, self.stride(number, video))  # (T, H, W, 3)
        if self._crop is None:
            return frames
        top, left = self._corner(i, frames.shape[1], frames.shape[2])
        return np.ascontiguousarray(frames[:, top : top + self._crop, left : left + self._crop])

    def of(self, sources: Sequence[SegmentSource], weights: Sequence[float]) -> Segments:
        """The same kind of segments of other sets."""
        return Segments(sources, self.length, self.seed, weights, self._crop, *self._every)

    def of_first(self, count: int) -> Segments:
        """The same kind of segments of which only `count` places are ever read: segment i has the frames of segment
        i mod `count`. Where segments are cropped, each is cropped anew."""
        found = copy.copy(self)
        found._count = count
        return found

    def stride(self, number: int, video: int) -> int:
        """Stored frames from one frame of a segment to the next, in a video of set `number`."""
        return int(self._strides[number][video])

    def common_stride(self) -> int | None:
        """The stride of all videos that may be drawn; None where they differ."""
        found = [np.unique(each[source.videos]) for source, each in zip(self.sources, self._strides, strict=True)]
        distinct = np.unique(np.concatenate(found))
        return int(distinct[0]) if len(distinct) == 1 else None

    def describe(self, i: int) -> SegmentOrigin:
        """Data set, source id and start frame of segment `i`, without reading frames."""
        number, video, start = self._draw(i)
        source = self.sources[number]
        row, first, _ = source.index.clips(video, start, 1)[0]
        columns = source.index.columns
        stride = int(columns["frame_stride"][row])
        source_frame = int(columns["first_source_frame"][row]) + first * stride if stride else None
        crop = self._corner(i, int(columns["height"][row]), int(columns["width"][row])) if self._crop else None
        name, where = source.manifest.name, source.store.location
        return SegmentOrigin(name, where, source.index.video_id(video), start, source_frame, crop)

    def _draw(self, i: int) -> tuple[int, int, int]:
        i = operator.index(i)
        if i < 0:
            raise IndexError(f"segments are numbered from 0, found {i}")
        if self._count is not None:
            i %= self._count
        share = derive_seed(self.seed, i, "segment data set") / _SEED_RANGE
        number = min(bisect_right(self._bounds, share), self._last)
        source = self.sources[number]
        video = int(source.videos[_below(len(source.videos), self.seed, i, "segment video")])
        starts = int(source.index.video_frames[video]) - (self.length - 1) * self.stride(number, video)
        return number, video, _below(starts, self.seed, i, "segment start")

    def _corner(self, i: int, height: int, width: int) -> tuple[int, int]:
        crop = self._crop or 0
        if height < crop or width < crop:
            raise ShardSetError(f"segment {i} has {height}x{width} pixels", expected=f"at least {crop}x{crop} to crop")
        top = _below(height - crop + 1, self.seed, i, "segment crop top")
        return top, _below(width - crop + 1, self.seed, i, "segment crop left")


class TrackedSegments:
    """An endless sequence of segments with their tracks; `segments[i]` is a `TrackedSegment`.

    Frames and draws are those of the `Segments` that it wraps; it can be sent to worker processes as well.
    """

    def __init__(self, segments: Segments, tracks: Sequence[str]) -> None:
        self.segments, self.tracks = segments, tuple(tracks)
        self.length, self.seed, self.sources = segments.length, segments.seed, segments.sources
        self.shard_sets = segments.shard_sets

    def __getitem__(self, i: int) -> TrackedSegment:
        number, video, start = self.segments._draw(i)
        frames = self.segments._frames(i, number, video, start)
        stride = self.segments.stride(number, video)
        return TrackedSegment(frames, self.sources[number].tracks(video, start, self.length, self.tracks, stride))

    def describe(self, i: int) -> SegmentOrigin:
        """Data set, source id and start frame of segment `i`, without reading frames."""
        return self.segments.describe(i)


def _below(count: int, seed: int, i: int, purpose: str) -> int:
    """A uniform draw from 0 … count - 1, in whole numbers: the same on every machine and numpy version."""
    return derive_seed(seed, i, purpose) * count // _SEED_RANGE


@overload
def open_segments(
    data: str | Path | Sequence[str | Path],
    length: int,
    seed: int,
    *,
    weights: Sequence[float] | None = None,
    num_videos: int | None = None,
    split: str | None = None,
    labels: Sequence[str] | None = None,
    cache: str | Path | None = None,
    crop: int | None = None,
    every_seconds: float | None = None,
    every_frames: int = 1,
    tracks: None = None,
) -> Segments: ...


@overload
def open_segments(
    data: str | Path | Sequence[str | Path],
    length: int,
    seed: int,
    *,
    weights: Sequence[float] | None = None,
    num_videos: int | None = None,
    split: str | None = None,
    labels: Sequence[str] | None = None,
    cache: str | Path | None = None,
    crop: int | None = None,
    every_seconds: float | None = None,
    every_frames: int = 1,
    tracks: Sequence[str],
) -> TrackedSegments: ...


def open_segments(
    data: str | Path | Sequence[str | Path],
    length: int,
    seed: int,
    *,
    weights: Sequence[float] | None = None,
    num_videos: int | None = None,
    split: str | None = None,
    labels: Sequence[str] | None = None,
    cache: str | Path | None = None,
    crop: int | None = None,
    every_seconds: float | None = None,
    every_frames: int = 1,
    tracks: Sequence[str] | None = None,
) -> Segments | TrackedSegments:
    """Open shard sets for reading random segments.

    Args:
        data: a shard set or several: folders, `s3://bucket/prefix` or `https://…` addresses.
        length: T, frames per segment; shorter videos are left out.
        seed: of the draws, ≥ 0.
        weights: how often each set is drawn; None draws all equally often ("Assembled").
        num_videos: draw from this many videos of each set, chosen by a hash of their ids: 1,500 are among the 15,000.
        split: draw from this split only ("train", "validation").
        labels: draw from videos with these labels only.
        cache: folder in which whole shards of remote sets are kept; None reads byte ranges.
        crop: side of a square cut at a random place of each segment, in pixels; None keeps whole frames. Sets whose
            videos differ in size (Ego4D) need it to be batched.
        every_seconds: frames are this far apart, by the set's frame rate and to the nearest frame; None: one after
            another, or `every_frames` apart.
        every_frames: frames are so many stored frames apart; ignored with `every_seconds`.
        tracks: names of tracks to read beside the frames (`("action",)`); None reads frames alone.

    Returns:
        `[i]` → uint8 (T, H, W, 3); with `tracks`, a `TrackedSegment` (frames, {name: (T, …)}) for the same draws.

    Raises:
        ConfigError: a length, weight or crop is out of range; a track of another shape in each of several sets.
        ShardSetError: a set is absent, unfinished or damaged, holds no such videos, or has no such track.
        UnknownNameError: no such split or label.
    """
    places = [data] if isinstance(data, str | Path) else list(data)
    weights = [1.0] * len(places) if weights is None else [float(weight) for weight in weights]
    _check(places, length, seed, weights, num_videos, crop, every_frames)
    if every_seconds is not None and not (math.isfinite(every_seconds) and every_seconds > 0):
        raise ConfigError(f"every_seconds is {every_seconds}", expected="a time above 0")
    sources = [SegmentSource(open_store(place, cache)) for place in places]
    for source in sources:
        source.videos = source.index.select(length, num_videos, split, labels, every_seconds, every_frames)
    segments = Segments(sources, length, seed, weights, crop, every_seconds, every_frames)
    if tracks is None:
        return segments
    check_tracks(sources, [tracks] if isinstance(tracks, str) else list(tracks))
    return TrackedSegments(segments, [tracks] if isinstance(tracks, str) else tracks)


def check_tracks(sources: Sequence[SegmentSource], names: Sequence[str]) -> None:
    """Refuse sets that do not all have the tracks, of one type and shape: they are to be batched.

    Raises:
        ShardSetError: a set has no such track.
        ConfigError: their types or shapes differ.
    """
    first: dict[str, tuple[str, list[int], str]] = {}
    for source in sources:
        entries, where = source.manifest.tracks, source.store.location
        for name in select_tracks(entries, names, where, ShardSetError):
            entry = entries[name]
            dtype, shape, there = first.setdefault(name, (entry.dtype, entry.shape, where))
            if (entry.dtype, entry.shape) != (dtype, shape):
                raise ConfigError(
                    f"the track {name!r} is {entry.dtype} {entry.shape} in {where} and {dtype} {shape} in {there}",
                    expected="one type and one shape in all sets",
                    fix="read these sets one at a time",
                )


def _check(
    places: Sequence[str | Path],
    length: int,
    seed: int,
    weights: Sequence[float],
    num_videos: int | None,
    crop: int | None,
    every_frames: int,
) -> None:
    if not places:
        raise ConfigError("no shard set is given", fix="name at least one with --data")
    for name, value, low in (
        ("length", length, 1),
        ("seed", seed, 0),
        ("num_videos", num_videos, 1),
        ("crop", crop, 1),
        ("every_frames", every_frames, 1),
    ):
        if value is not None and value < low:
            raise ConfigError(f"{name} is {value}", expected=f"{low} or more")
    if len(weights) != len(places):
        raise ConfigError(f"{len(weights)} weights for {len(places)} shard sets", expected="one for each")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or sum(weights) <= 0:
        raise ConfigError(f"weights {json.dumps(list(weights))}", expected="numbers ≥ 0, at least one above 0")
