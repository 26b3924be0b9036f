"""The videos of a shard set as episodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ipv_bench.errors import ShardSetError
from ipv_bench.exports.episodes import EpisodeFacts
from ipv_bench.exports.stored_times import StoredTimes
from ipv_bench.open_store import open_store
from ipv_bench.segment_source import SegmentSource

_AT_ONCE = 64
"""Frames that are decoded together."""


class SetEpisodes:
    """See `ipv_bench.exports.episodes.EpisodeSource`.

    Args:
        place: folder or address of a shard set.

    Raises:
        ShardSetError: it is unfinished or damaged, or its videos differ in size.
    """

    def __init__(self, place: str | Path) -> None:
        self._source = SegmentSource(open_store(place))
        self._times = StoredTimes(self._source)
        index, manifest = self._source.index, self._source.manifest
        self.location = self._source.store.location
        self.tracks, self.licence = manifest.tracks, manifest.licence
        self.left_out: list[str] = []
        rows = index.sample_rows[index.video_samples[:-1]]
        sizes = sorted(set(zip(index.columns["height"].tolist(), index.columns["width"].tolist(), strict=True)))
        if len(sizes) != 1:
            shown = ", ".join(f"{height}x{width}" for height, width in sizes[:5])
            raise ShardSetError(
                f"{self.location} has frames of {len(sizes)} sizes: {shown}",
                expected="one size for all videos of a data set",
                fix="prepare it with one size (`--set size=64x64`)",
            )
        self.size: tuple[int, int] = sizes[0]
        self.rates = sorted({max(round(float(rate), 6), 0.0) for rate in index.columns["fps"][rows]})
        self.episodes = [
            EpisodeFacts(video, index.video_id(video), int(length), index.label(video), index.split(video))
            for video, length in enumerate(index.video_frames)
        ]

    def frames(self, episode: EpisodeFacts) -> Iterator[np.ndarray]:
        """See `EpisodeSource.frames`."""
        for start in range(0, episode.length, _AT_ONCE):
            yield from self._source.frames(episode.number, start, min(_AT_ONCE, episode.length - start))

    def read_tracks(self, episode: EpisodeFacts) -> dict[str, np.ndarray]:
        """See `EpisodeSource.read_tracks`."""
        return self._source.tracks(episode.number, 0, episode.length, list(self.tracks)) if self.tracks else {}

    def read_times(self, episode: EpisodeFacts) -> np.ndarray | None:
        """See `EpisodeSource.read_times`."""
        return self._times.of(episode.number)
