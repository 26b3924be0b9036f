"""The index of one shard set as arrays: its samples, and the source videos that they make up."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ipv_bench.bounded_tables import read_table
from ipv_bench.errors import ShardSetError, UnknownNameError
from ipv_bench.shard_set import FRAMES_FILE, SAMPLES_FILE, TRACK_FIELDS, Manifest, samples_schema
from ipv_bench.shard_store import REPAIR, ShardStore
from ipv_bench.tracks import largest_size

_NUMBERS = (
    "clip_index",
    "shard",
    "stream_offset",
    "stream_size",
    "num_frames",
    "height",
    "width",
    "first_source_frame",
    "frame_stride",
    "frames_start",
    "fps",
)


MAX_SIDE = 65_535
"""Pixels; JPEG has no larger pictures."""

_WITHOUT = {
    "split": "leave the split out (`analyze`: split=all takes all videos), or prepare the set with splits",
    "label": "leave the labels out, or prepare the set with labels",
}
"""What is asked for of a set that has none → what to do."""


class ShardIndex:
    """Samples and videos of one set, without a Python object per row (SSv2 has 186,000).

    A video is one source item: the samples that share a source id, in clip order, so that a set whose long sources
    were cut into clips has the same videos as one where they were not. Videos are ordered by the bytes of their id:
    the order does not depend on how the set was stored.

    Attributes:
        video_ids: (num_videos,) source ids.
        video_frames: (num_videos,) frames of each video.
        video_samples: (num_videos + 1,) where each video's samples begin in `sample_rows`.
        sample_rows: (num_samples,) rows of samples.parquet, video by video, in clip order.
        sample_starts: (num_samples,) first frame of each of these within its video.
        columns: the number columns of samples.parquet.
        frame_offsets: memory-mapped frames.npy.
    """

    def __init__(self, store: ShardStore, manifest: Manifest) -> None:
        self._where = store.location
        table = _read_samples(store, manifest)
        numbers = [*_NUMBERS, *(name for name, _ in TRACK_FIELDS if manifest.tracks)]
        self.columns = {name: table[name].to_numpy() for name in numbers}
        self._fps = table["fps"].to_numpy()
        _check_numbers(self.columns, manifest, store.location)
        self._splits = table["split"].combine_chunks().dictionary_encode()
        self._labels = table["label"].combine_chunks().dictionary_encode()
        self._group(table["source_id"].combine_chunks())
        self.frame_offsets = store.array(FRAMES_FILE)
        self._check_frame_offsets(manifest)

    def _group(self, source_ids: pa.StringArray) -> None:
        encoded = source_ids.dictionary_encode()
        order = pc.sort_indices(encoded.dictionary).to_numpy()
        self.video_ids = encoded.dictionary.take(pa.array(order))
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order), dtype=order.dtype)
        video_of_row = rank[encoded.indices.to_numpy()]
        self.sample_rows = np.lexsort((self.columns["clip_index"], video_of_row))
        counts = np.bincount(video_of_row.astype(np.int64), minlength=len(order))  # numpy 1 refuses uint64
        self.video_samples = np.concatenate([[0], np.cumsum(counts)])
        ends = np.cumsum(self.columns["num_frames"][self.sample_rows], dtype=np.int64)
        before_video = np.concatenate([[0], ends])[self.video_samples]
        self.video_frames = np.diff(before_video)
        starts = ends - self.columns["num_frames"][self.sample_rows]
        self.sample_starts = starts - np.repeat(before_video[:-1], counts)

    def _check_frame_offsets(self, manifest: Manifest) -> None:
        expected = int(self.columns["num_frames"].sum(dtype=np.int64)) if manifest.encoding == "mjpeg" else 0
        if len(self.frame_offsets) != expected or self.frame_offsets.dtype != np.uint32:
            raise ShardSetError(
                f"{self._where}: {FRAMES_FILE} holds {len(self.frame_offsets)} {self.frame_offsets.dtype} offsets",
                expected=f"{expected} uint32, as {SAMPLES_FILE} says",
                fix=REPAIR,
            )

    def video_id(self, video: int) -> str:
        """Source id of a video."""
        name: str = self.video_ids[video].as_py()
        return name

    def label(self, video: int) -> str:
        """Label of a video, empty without one."""
        return self._text(self._labels, video)

    def split(self, video: int) -> str:
        """Split of a video, empty without one."""
        return self._text(self._splits, video)

    def _text(self, column: pa.DictionaryArray, video: int) -> str:
        text: str = column[int(self.sample_rows[self.video_samples[video]])].as_py()
        return text

    def select(
        self,
        length: int,
        num_videos: int | None = None,
        split: str | None = None,
        labels: Sequence[str] | None = None,
        every_seconds: float | None = None,
        every_frames: int = 1,
    ) -> np.ndarray:
        """Videos to draw from, ascending.

        Args:
            length: videos with fewer frames are left out.
            every_seconds, every_frames: from one of these frames to the next; see `strides`.
            num_videos: keep this many, the first in the order of their ids' hashes: 1,500 are among the 15,000.
            split: keep this split only.
            labels: keep these labels only.

        Raises:
            UnknownNameError: the set has no such split or label.
            ShardSetError: no video is left, or fewer than `num_videos`; the set has no time stamps.
        """
        first_rows = self.sample_rows[self.video_samples[:-1]]
        keep = self.video_frames > (length - 1) * self.strides(every_seconds, every_frames)
        if split is not None:
            keep &= self._has(self._splits, first_rows, [split], "split")
        if labels is not None:
            keep &= self._has(self._labels, first_rows, labels, "label")
        videos = np.flatnonzero(keep)
        if not len(videos) or (num_videos is not None and num_videos > len(videos)):
            raise ShardSetError(
                f"{self._where} has {len(videos)} videos of {length} frames or more"
                f"{_apart(every_seconds, every_frames)} in this selection",
                expected=f"{num_videos or 'at least one'}",
                fix="ask for fewer videos, shorter segments or another split",
            )
        return videos if num_videos is None else self.first_by_hash(videos, num_videos)

    def strides(self, every_seconds: float | None, every_frames: int = 1) -> np.ndarray:
        """(num_videos,) stored frames from one frame of a segment to the next, at least 1.

        Args:
            every_seconds: to the frame that is nearest to so much time later; None: by number.
            every_frames: the number.

        Raises:
            ShardSetError: a video's frame rate is not known, or so low that no other frame is near.
        """
        if every_seconds is None:
            return np.full(len(self.video_frames), every_frames, np.int64)
        fps = self._fps[self.sample_rows[self.video_samples[:-1]]]
        unknown = ~(np.isfinite(fps) & (fps > 0))
        if unknown.any():
            raise ShardSetError(
                f"{self._where} does not say how fast its frames follow one another "
                f"({int(unknown.sum())} of {len(fps)} videos have no frame rate)",
                expected=f"time stamps, to find frames {every_seconds} s apart",
                fix="say it in frames: data.every_seconds=null, data.every_frames=N",
            )
        slow = every_seconds * fps < 0.5
        if slow.any():
            raise ShardSetError(
                f"{self._where} has videos of {fps.min():.3g} frames a second ({int(slow.sum())} of {len(fps)} are too "
                f"slow): the next frame comes after {1 / fps.min():.3g} s, and {every_seconds} s are nearer to none",
                expected=f"at least {0.5 / every_seconds:.3g} frames a second for frames {every_seconds} s apart",
                fix="set a longer data.every_seconds, or say it in frames: data.every_seconds=null, "
                "data.every_frames=1",
            )
        # beyond the longest video there is no frame anyway
        found: np.ndarray = np.rint(np.clip(every_seconds * fps, 1, 1 << 31)).astype(np.int64)
        return found

    def _has(self, column: pa.DictionaryArray, rows: np.ndarray, names: Sequence[str], kind: str) -> np.ndarray:
        known = column.dictionary.to_pylist()
        for name in names:
            if name not in known:
                there = [text for text in known if text]
                raise UnknownNameError(f"{kind} in {self._where}:", name, there, without=_WITHOUT[kind])
        codes = [known.index(name) for name in names]
        found: np.ndarray = np.isin(column.indices.to_numpy()[rows], codes)
        return found

    def splits(self) -> list[str]:
        """Names of the set's splits; empty when it has none."""
        return sorted(name for name in self._splits.dictionary.to_pylist() if name)

    def first_by_hash(self, videos: np.ndarray, count: int) -> np.ndarray:
        """The first `count` of `videos` in the order of their ids' hashes, ascending: 1,500 are among the 15,000."""
        digests = (hashlib.sha256(self.video_id(int(video)).encode()).digest()[:8] for video in videos)
        hashes = np.fromiter((int.from_bytes(digest, "big") for digest in digests), np.uint64, len(videos))
        return np.sort(videos[np.argsort(hashes, kind="stable")[:count]])

    def sizes(self, videos: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each sample of `videos`: the video, and height and width of its frames in pixels."""
        counts = np.diff(self.video_samples)
        owner = np.repeat(np.arange(len(counts)), counts)
        kept = np.isin(owner, videos)
        rows = self.sample_rows[kept]
        return owner[kept], self.columns["height"][rows], self.columns["width"][rows]

    def clips(self, video: int, start: int, length: int) -> list[tuple[int, int, int]]:
        """The parts of samples that hold frames `start` … `start + length - 1` of a video.

        Returns:
            (row of samples.parquet, first frame within the sample, number of frames), in order.
        """
        low, high = int(self.video_samples[video]), int(self.video_samples[video + 1])
        position = low + int(np.searchsorted(self.sample_starts[low:high], start, side="right")) - 1
        parts = []
        while length > 0:
            row = int(self.sample_rows[position])
            first = start - int(self.sample_starts[position])
            count = min(length, int(self.columns["num_frames"][row]) - first)
            if count > 0:
                parts.append((row, first, count))
                start, length = start + count, length - count
            position += 1
        return parts


def _apart(every_seconds: float | None, every_frames: int) -> str:
    if every_seconds is not None:
        return f", {every_seconds} s apart,"
    return f", {every_frames} frames apart," if every_frames > 1 else ""


def _read_samples(store: ShardStore, manifest: Manifest) -> pa.Table:
    data = store.read(SAMPLES_FILE)
    expected = manifest.tables.get(SAMPLES_FILE)
    if hashlib.sha256(data).hexdigest() != expected:
        raise ShardSetError(
            f"{store.location}: {SAMPLES_FILE} is not the file that the manifest describes",
            expected=f"sha256 {expected}",
            fix=REPAIR,
        )
    schema = samples_schema(bool(manifest.tracks))
    return read_table(data, schema, f"{store.location}: {SAMPLES_FILE}", error=ShardSetError, fix=REPAIR)


def _check_numbers(columns: dict[str, np.ndarray], manifest: Manifest, where: str) -> None:
    """Refuse an index whose numbers lead nowhere: everything that reads frames trusts them."""
    last_frames = columns["frames_start"] + (columns["num_frames"] if manifest.encoding == "mjpeg" else 0)
    num_frames = columns["num_frames"].sum(dtype=np.int64)
    wrong = {
        "shard": (columns["shard"] < 0) | (columns["shard"] >= len(manifest.shards)),
        "clip_index": columns["clip_index"] < 0,
        "num_frames": columns["num_frames"] < 1,
        "height": (columns["height"] < 1) | (columns["height"] > MAX_SIDE),
        "width": (columns["width"] < 1) | (columns["width"] > MAX_SIDE),
        "stream_offset": columns["stream_offset"] < 0,
        "stream_size": columns["stream_size"] < columns["num_frames"],
        "frames_start": (columns["frames_start"] < 0) | (last_frames > num_frames),
    }
    if manifest.tracks:
        # as floats: num_frames is int32, and a product of it could pass that
        largest = largest_size(manifest.tracks, 1)
        wrong["tracks_offset"] = columns["tracks_offset"] < 0
        wrong["tracks_size"] = (columns["tracks_size"] < 1) | (
            columns["tracks_size"] > columns["num_frames"].astype(np.float64) * largest
        )
    for name, rows in wrong.items():
        if rows.any():
            row = int(rows.argmax())
            raise ShardSetError(
                f"{where}: {SAMPLES_FILE} row {row}: {name} is {columns[name][row]}",
                expected="numbers that fit the manifest and the other columns",
                fix=REPAIR,
            )
