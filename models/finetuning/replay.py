"""Replay on disk: whole episodes as memory-mapped files, windows drawn uniformly over episodes.

    replay/index.jsonl           one line per stored episode, in order: file, steps, bytes, the environment's metadata
    replay/<episode>-<steps>.npy one structured array per episode, uncompressed, so that a window is one range of bytes
    replay/dropped/              episodes that a resumed run plays again (newer than its checkpoint)

Only the index is held in memory: 10⁶ steps need some megabytes. A file is mapped for the time of one read, so neither
the process's resident memory nor its number of open files grows with the replay.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipv_bench.atomic_file import TEMPORARY_SUFFIX, atomic_writer
from ipv_bench.config import Config
from ipv_bench.errors import ConfigError, RunError
from ipv_bench.run_record import JsonlLog, read_jsonl

INDEX_FILE, DROPPED_FOLDER = "index.jsonl", "dropped"
FIELDS = ("image", "action", "reward", "is_first", "is_terminal")

Batch = dict[str, NDArray[Any]]


class ReplayConfig(Config):
    """What is kept, and how windows are drawn."""

    capacity: int = 2_000_000
    """Agent steps kept on disk; the oldest episodes beyond it are dropped. 12 kB a step at 64x64."""
    batch_size: int = 50
    """Windows per update."""
    length: int = 50
    """Steps per window; shorter episodes are not stored."""
    prioritize_ends: bool = True
    """Draw the last window of an episode `length` times as often as any other."""


@dataclass(frozen=True)
class StoredEpisode:
    """One episode on disk.

    Attributes:
        file: name inside the replay folder.
        num_records: stored time steps; agent steps + 1, since the first record is the reset's observation.
        size_bytes: size of the file, by which a truncated one is found.
        line: its line in the index.
    """

    file: str
    num_records: int
    size_bytes: int
    line: int

    @property
    def num_steps(self) -> int:
        """Agent steps of the episode."""
        return self.num_records - 1


class EpisodeBuilder:
    """Collects the steps of a running episode.

    Record t holds the frame, and the action and reward that led to it; the first record has a zero action and reward.
    """

    def __init__(self, image: NDArray[np.uint8], action_dim: int) -> None:
        self._images = [image]
        self._actions = [np.zeros(action_dim, np.float32)]
        self._rewards, self._terminal = [0.0], [False]

    def add(self, image: NDArray[np.uint8], action: NDArray[np.float32], reward: float, terminated: bool) -> None:
        """Append one agent step."""
        self._images.append(image)
        self._actions.append(np.asarray(action, np.float32))
        self._rewards.append(float(reward))
        self._terminal.append(bool(terminated))

    @property
    def num_steps(self) -> int:
        """Agent steps so far."""
        return len(self._rewards) - 1

    @property
    def episode_return(self) -> float:
        """Sum of the rewards so far."""
        return float(np.sum(np.asarray(self._rewards, np.float64)))

    def arrays(self) -> Batch:
        """The episode: image (T, H, W, 3) uint8, action (T, A) float32, reward (T,) float32, is_first and
        is_terminal (T,) bool, with T = agent steps + 1."""
        first = np.zeros(len(self._rewards), bool)
        first[0] = True
        return {
            "image": np.stack(self._images),
            "action": np.stack(self._actions),
            "reward": np.asarray(self._rewards, np.float32),
            "is_first": first,
            "is_terminal": np.asarray(self._terminal),
        }


class Replay:
    """Episodes of a run on disk, and windows drawn from them.

    Args:
        folder: the run's `replay/`; an existing one is continued as `state` says.
        config: capacity and windows.
        action_dim: size of an action.
        state: what `state()` returned at the checkpoint to continue from; None starts empty.

    Attributes:
        damaged: files that were listed but are truncated or gone, by name.
        dropped: number of episodes moved to `dropped/` because they are newer than the checkpoint.
        short: episodes that were refused since they are shorter than a window.
    """

    def __init__(
        self, folder: str | Path, config: ReplayConfig, action_dim: int, state: Mapping[str, Any] | None = None
    ) -> None:
        self.folder, self.config, self.action_dim = Path(folder), config, action_dim
        self.folder.mkdir(parents=True, exist_ok=True)
        self._log = JsonlLog(self.folder / INDEX_FILE)
        self._episodes: list[StoredEpisode] = []
        self._evicted: list[StoredEpisode] = []
        self._first_line = int(state["first_line"]) if state else 0
        self._num_lines = 0
        self.short = int(state["short"]) if state else 0
        self.damaged: list[str] = []
        self._log.cut(_checked_size(self._log.path, int(state["index_bytes"]) if state else 0))
        self._load_index()
        self.dropped = self._drop_unlisted()

    @property
    def num_steps(self) -> int:
        """Agent steps stored."""
        return sum(episode.num_steps for episode in self._episodes)

    @property
    def num_episodes(self) -> int:
        """Episodes stored."""
        return len(self._episodes)

    def add(self, episode: Batch, number: int, info: Mapping[str, Any]) -> bool:
        """Store an episode, complete or not at all, and drop the oldest ones beyond the capacity.

        Args:
            episode: as `EpisodeBuilder.arrays` returns it.
            number: the run's number of this episode; part of the file's name.
            info: what to write into the index beside it (seed, return, success, visual factors).

        Returns:
            False if the episode is shorter than a window and was not stored.

        Raises:
            OutputError: the disk is full.
        """
        num_records = len(episode["reward"])
        if num_records < self.config.length:
            self.short += 1
            return False
        records = np.empty(num_records, _record_type(episode["image"].shape[1:], self.action_dim))
        for name in FIELDS:
            records[name] = episode[name]
        file = f"{number:08d}-{num_records - 1}.npy"
        with atomic_writer(self.folder / file) as output:
            np.lib.format.write_array(output, records, allow_pickle=False)
        stored = StoredEpisode(file, num_records, (self.folder / file).stat().st_size, self._num_lines)
        self._log.append({"file": file, "num_records": num_records, "size_bytes": stored.size_bytes, **info})
        self._num_lines += 1
        self._episodes.append(stored)
        self._evict()
        return True

    def sample(self, generator: np.random.Generator) -> Batch:
        """Draw a batch of windows: an episode uniformly, then a start uniformly.

        With `prioritize_ends`, `length` further starts all stand for the last window (as published).

        Returns:
            image (B, T, H, W, 3) uint8, action (B, T, A) float32, reward (B, T) float32, is_first and is_terminal
            (B, T) bool. `is_first` is set at the start of every window: the model's state is reset there.

        Raises:
            RunError: a file vanished or was cut while the run was using it.
        """
        if not self._episodes:
            raise RunError(f"the replay in {self.folder} is empty", expected="at least one stored episode")
        length = self.config.length
        windows = []
        for _ in range(self.config.batch_size):
            episode = self._episodes[int(generator.integers(len(self._episodes)))]
            last = episode.num_records - length
            starts = last + 1 + (length if self.config.prioritize_ends else 0)
            windows.append(self._read(episode, min(int(generator.integers(starts)), last), length))
        batch: Batch = {name: np.stack([window[name] for window in windows]) for name in FIELDS}
        batch["is_first"][:, 0] = True
        return batch

    def frames(self, limit: int) -> NDArray[np.uint8]:
        """At most `limit` frames (N, H, W, 3) uint8, evenly spaced over what is stored."""
        total = sum(episode.num_records for episode in self._episodes)
        stride = max(1, -(-total // limit))
        chosen, position = [], 0
        for episode in self._episodes:
            start = -position % stride
            chosen.append(self._read(episode, 0, episode.num_records)["image"][start::stride])
            position += episode.num_records
        return np.concatenate(chosen)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; makes the index durable."""
        return {"index_bytes": self._log.size_bytes(), "first_line": self._first_line, "short": self.short}

    def forget_evicted(self) -> None:
        """Delete the files of dropped episodes; called once a checkpoint without them is complete.

        Until then an interrupted run needs them: it goes back to a checkpoint that still lists them.
        """
        for episode in self._evicted:
            (self.folder / episode.file).unlink(missing_ok=True)
        self._evicted.clear()

    def close(self) -> None:
        """Close the index."""
        self._log.close()

    def _read(self, episode: StoredEpisode, start: int, length: int) -> NDArray[Any]:
        path = self.folder / episode.file
        try:
            records = np.load(path, mmap_mode="r", allow_pickle=False)
            return np.array(records[start : start + length])
        except (OSError, ValueError) as error:
            raise RunError(
                f"the replay file {path} cannot be read: {error}",
                fix="run the same command again: it continues from the last checkpoint and skips that file",
            ) from error

    def _evict(self) -> None:
        total = self.num_steps
        while total > self.config.capacity and len(self._episodes) > 1:
            oldest = self._episodes.pop(0)
            self._evicted.append(oldest)
            self._first_line = self._episodes[0].line
            total -= oldest.num_steps

    def _load_index(self) -> None:
        lines = list(read_jsonl(self._log.path))
        self._num_lines = len(lines)
        for line in lines[: self._first_line]:
            (self.folder / line["file"]).unlink(missing_ok=True)
        for number, line in enumerate(lines[self._first_line :], start=self._first_line):
            episode = StoredEpisode(line["file"], int(line["num_records"]), int(line["size_bytes"]), number)
            path = self.folder / episode.file
            if path.is_file() and path.stat().st_size == episode.size_bytes:
                self._check_action_dim(path)
                self._episodes.append(episode)
            else:
                self.damaged.append(episode.file)

    def _check_action_dim(self, path: Path) -> None:
        """Refuse episodes of another action size; the first file speaks for all."""
        if self._episodes:
            return
        found = np.load(path, mmap_mode="r", allow_pickle=False).dtype["action"].shape[0]
        if found != self.action_dim:
            raise ConfigError(
                f"the replay in {self.folder} holds actions of size {found}",
                expected=f"size {self.action_dim}, that of the environment",
                fix="continue the run with the task it was started with",
            )

    def _drop_unlisted(self) -> int:
        """Move episodes that the checkpoint does not know to `dropped/`; delete unfinished files."""
        known = {episode.file for episode in self._episodes} | set(self.damaged)
        dropped = 0
        for path in sorted(self.folder.iterdir()):
            if path.name.endswith(TEMPORARY_SUFFIX):
                path.unlink()
            elif path.suffix == ".npy" and path.name not in known:
                (self.folder / DROPPED_FOLDER).mkdir(exist_ok=True)
                os.replace(path, self.folder / DROPPED_FOLDER / path.name)
                dropped += 1
        return dropped


def read_index(folder: str | Path) -> Sequence[dict[str, Any]]:
    """The index of a replay folder, one mapping per stored episode (with the environment's metadata)."""
    path = Path(folder) / INDEX_FILE
    try:
        return list(read_jsonl(path))
    except (OSError, json.JSONDecodeError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error


def _record_type(image_shape: tuple[int, ...], action_dim: int) -> np.dtype[Any]:
    return np.dtype(
        [
            ("image", np.uint8, image_shape),
            ("action", np.float32, (action_dim,)),
            ("reward", np.float32),
            ("is_first", np.bool_),
            ("is_terminal", np.bool_),
        ]
    )


def _checked_size(path: Path, size_bytes: int) -> int:
    found = path.stat().st_size
    if found < size_bytes:
        raise RunError(
            f"{path} has {found} bytes",
            expected=f"at least {size_bytes}, the length that the checkpoint recorded",
            fix="restore the file, or delete the run folder and start again",
        )
    return size_bytes
