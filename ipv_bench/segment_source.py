"""One shard set as frames and tracks: only what is asked for is read, one byte range per clip, and decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import simplejpeg

from ipv_bench.errors import ShardSetError
from ipv_bench.shard_index import ShardIndex
from ipv_bench.shard_set import FRAMES_FILE, MANIFEST_FILE, parse_manifest, read_manifest
from ipv_bench.shard_store import REPAIR, LocalStore, ShardStore
from ipv_bench.tracks import ACTION, parse_tracks, select_tracks


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
            "dataset": self.manifest.dataset,
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
                expected=f"room for {3 * length * height * width / 1e9:.3g} GB",
                fix="ask for shorter segments, or prepare smaller frames",
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
