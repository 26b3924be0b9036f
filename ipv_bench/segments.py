"""Segments: fixed-length pieces of video, drawn at random from shard sets.

Segment `i` of seed `s` is a pure function of (shard sets, weights, s, i): data set by weight, source video uniformly,
start uniformly, as the papers sample. So training resumes from a counter, and any number of workers and ranks sees the
same sequence. Only the frames needed are read, one byte range per clip, and decoded.
"""

from __future__ import annotations

import copy
import json
import math
import operator
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np

from ipv_bench.errors import ConfigError, ShardSetError
from ipv_bench.open_store import open_store
from ipv_bench.seeding import derive_seed
from ipv_bench.segment_source import SegmentSource
from ipv_bench.tracks import select_tracks

_SEED_RANGE = 1 << 63  # derive_seed gives 63 bits
_NO_WEIGHTS = "leave the weights out: all sets are drawn equally often"


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


class OddSize(NamedTuple):
    """Videos of a shard set whose frames do not have a size that is wanted.

    Attributes:
        location: folder or address of the set.
        videos: how many they are.
        total: of how many that may be drawn.
        video: source id of one of them.
        height, width: of its frames, in pixels.
    """

    location: str
    videos: int
    total: int
    video: str
    height: int
    width: int


class TrackedSegment(NamedTuple):
    """A segment of a labelled set.

    Attributes:
        frames: uint8 (T, H, W, 3).
        tracks: name → (T, …), float32 or uint8, as stored: `action[t]` led into frame t. The first one of a segment
            led into its first frame from one that the segment does not hold (zero where the video begins).
    """

    frames: np.ndarray
    tracks: dict[str, np.ndarray]


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

    def cropped(self, side: int | None) -> Segments:
        """The same segments, of each of which a square of `side` pixels is cut at a random place; None: whole frames.

        Raises:
            ShardSetError: frames of a video that may be drawn are smaller.
        """
        odd = None if side is None else self.odd_size(lambda height, width: (height >= side) & (width >= side))
        if odd is not None and side is not None:
            raise ShardSetError(
                f"{odd.location}: {odd.videos} of {odd.total} videos are smaller than the crop of {side}x{side} pixels "
                f"({odd.video} has {odd.width}x{odd.height})",
                expected=f"at least {side}x{side}",
                fix=f"prepare it anew in larger frames (`ipv-bench prepare … --set size=short:{side * 8 // 7}`; of "
                f"recorded episodes `ipv-bench record … --set env.image_size={side}`), or take whole frames: "
                "data.crop=null",
            )
        found = copy.copy(self)
        found._crop = side
        return found

    def odd_size(self, fits: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> OddSize | None:
        """Of the first set with videos that may be drawn and whose heights and widths do not all fit; None: all do."""
        for source, share in zip(self.sources, np.diff([0.0, *self._bounds]), strict=True):
            owner, height, width = source.index.sizes(source.videos if share > 0 else source.videos[:0])
            odd = np.flatnonzero(~fits(height, width))
            if len(odd):
                at, where, total = int(odd[0]), source.store.location, len(source.videos)
                name = source.index.video_id(int(owner[at]))
                return OddSize(where, len(np.unique(owner[odd])), total, name, int(height[at]), int(width[at]))
        return None

    def stride(self, number: int, video: int) -> int:
        """Stored frames from one frame of a segment to the next, in a video of set `number`."""
        return int(self._strides[number][video])

    def count_steps(self) -> int:
        """Different steps from one frame of a segment to the next in the videos that may be drawn, crops apart."""
        total = 0
        for source, each in zip(self.sources, self._strides, strict=True):
            frames, stride = source.index.video_frames[source.videos], each[source.videos]
            starts = frames - (self.length - 1) * stride
            # Steps of neighbouring starts overlap; with fewer starts than frames in a step, none is met twice.
            total += int(np.where(starts < stride, starts * (self.length - 1), frames - stride).sum())
        return total

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
            raise ShardSetError(
                f"segment {i} has {height}x{width} pixels",
                expected=f"at least {crop}x{crop} to crop",
                fix=f"crop at most {min(height, width)} pixels",
            )
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

    def count_steps(self) -> int:
        """See `Segments.count_steps`."""
        return self.segments.count_steps()


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
            videos differ in size (Ego4D) need it to be batched. None of them may be smaller.
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
        raise ConfigError(
            f"every_seconds is {every_seconds}",
            expected="a time above 0",
            fix="leave it out for frames one after another",
        )
    sources = [SegmentSource(open_store(place, cache)) for place in places]
    for source in sources:
        source.videos = source.index.select(length, num_videos, split, labels, every_seconds, every_frames)
    segments = Segments(sources, length, seed, weights, None, every_seconds, every_frames).cropped(crop)
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
        raise ConfigError("no shard set is given", expected="one or several", fix="name at least one with --data")
    for name, value, low in (
        ("length", length, 1),
        ("seed", seed, 0),
        ("num_videos", num_videos, 1),
        ("crop", crop, 1),
        ("every_frames", every_frames, 1),
    ):
        if value is not None and value < low:
            raise ConfigError(f"{name} is {value}", expected=f"{low} or more", fix=f"set {name} to such a number")
    if len(weights) != len(places):
        raise ConfigError(
            f"{len(weights)} weights for {len(places)} shard sets", expected="one for each", fix=_NO_WEIGHTS
        )
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or sum(weights) <= 0:
        raise ConfigError(
            f"weights {json.dumps(list(weights))}", expected="numbers ≥ 0, at least one above 0", fix=_NO_WEIGHTS
        )
