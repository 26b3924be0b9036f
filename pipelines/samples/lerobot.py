"""A tiny LeRobot v3 data set: the episodes of `moving-blob`, whose actions are known exactly, in one mp4."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ipv_bench.exports.config import LeRobotExportConfig
from ipv_bench.exports.episodes import EpisodeFacts
from ipv_bench.exports.lerobot import write_lerobot
from ipv_bench.tracks import TrackEntry
from pipelines.samples.moving_blob import LENGTH, SIDE, blob_episode

FPS = 10
TASK = "move the blob"


def write_sample(folder: Path, videos: int, seed: int) -> None:
    """Write the data set.

    Args:
        folder: of the release.
        videos: number of episodes, of 50 frames.
        seed: of colours and motion.
    """
    write_lerobot(_Blobs(videos, seed), folder, LeRobotExportConfig(camera="top"))


class _Blobs:
    """See `ipv_bench.exports.episodes.EpisodeSource`."""

    def __init__(self, videos: int, seed: int) -> None:
        self.location, self.licence, self._seed = "moving-blob", "Drawn by ipv-bench; free to use.", seed
        self.size, self.rates, self.left_out = (SIDE, SIDE), [float(FPS)], list[str]()
        self.episodes = [EpisodeFacts(number, f"{number:06d}", LENGTH, TASK, "") for number in range(videos)]
        entry = TrackEntry(dtype="float32", shape=[2])
        self.tracks = {"action": entry, "state": entry}

    def frames(self, episode: EpisodeFacts) -> Iterator[np.ndarray]:
        """See `EpisodeSource.frames`."""
        yield from blob_episode(episode.number, self._seed, False)["image"]

    def read_tracks(self, episode: EpisodeFacts) -> dict[str, np.ndarray]:
        """See `EpisodeSource.read_tracks`."""
        arrays = blob_episode(episode.number, self._seed, False)
        return {name: arrays[name] for name in self.tracks}

    def read_times(self, episode: EpisodeFacts) -> None:
        """See `EpisodeSource.read_times`."""
