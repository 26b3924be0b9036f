"""Replay on disk: whole episodes as memory-mapped files, windows drawn uniformly over episodes.

    replay/index.jsonl           one line per stored episode, in order: file, steps, bytes, the environment's metadata
    replay/<episode>-<steps>.npy one structured array per episode, uncompressed, so that a window is one range of bytes
    replay/dropped/              episodes that a resumed run plays again (newer than its checkpoint)

Only the index is held in memory: 10⁶ steps need some megabytes. A file is open for the time of one read, so neither
the process's resident memory nor its number of open files grows with the replay. Where a record lies follows from the
sizes that were checked when the file was written or the run went on: reading the header again for each window took
three quarters of the time of a batch.

A run that goes on reads every listed file once: one that is gone, has another size, other contents than its sha256 in
the index says, or numbers that are not finite, is left out and counted. Names in the index are names; nothing outside
the folder is touched, and nothing is deleted or moved that is not called as this module calls its files.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, NonNegativeInt

from ipv_bench.atomic_file import TEMPORARY_SUFFIX, disk_errors, write_bytes
from ipv_bench.bounded_arrays import read_npy
from ipv_bench.bounded_file import is_disk_fault, reading_errors
from ipv_bench.bounded_json import as_model
from ipv_bench.config import Config
from ipv_bench.errors import ConfigError, RunError, TrainingError
from ipv_bench.file_names import FileName, folder_inside, path_inside
from ipv_bench.run_record import JsonlLog, read_jsonl
from models.finetuning.episode import FIELDS, Batch, is_finite, record_type
from models.training.checkpoint import count_of

INDEX_FILE, DROPPED_FOLDER = "index.jsonl", "dropped"

_FILE = re.compile(r"[0-9]{8,18}-[0-9]{1,12}\.npy")
_UNFINISHED = re.compile(r"\." + _FILE.pattern + r"\.[0-9a-f]+" + re.escape(TEMPORARY_SUFFIX))


class ReplayConfig(Config):
    """What is kept, and how windows are drawn."""

    capacity: int = Field(1_000_000, ge=1)
    """Agent steps kept on disk; the oldest episodes beyond it are dropped. 12 kB a step at 64x64."""
    batch_size: int = Field(50, ge=1)
    """Windows per update."""
    length: int = Field(50, ge=1)
    """Steps per window; shorter episodes are not stored, and counted (`dropped_short`). A method may fix it."""
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
        terminated: whether the task ended it, and not a time limit.
    """

    file: str
    num_records: int
    size_bytes: int
    line: int
    terminated: bool

    @property
    def num_steps(self) -> int:
        """Agent steps of the episode."""
        return self.num_records - 1


class _Line(BaseModel):
    """What is needed of a line of the index."""

    file: FileName
    num_records: NonNegativeInt
    size_bytes: NonNegativeInt
    sha256: str = ""
    """Of the file; empty in the index of a run made before this was written."""


class Replay:
    """Episodes of a run on disk, and windows drawn from them.

    Args:
        folder: the run's `replay/`; an existing one is continued as `state` says.
        config: capacity and windows.
        action_dim: size of an action.
        state: what `state()` returned at the checkpoint to continue from; None starts empty.
        lead: steps before each window that are read with it; see `MethodConfig.lead`.
        beyond: steps by which a window may reach beyond a terminal one; see `MethodConfig.beyond`.

    Attributes:
        damaged: files that were listed but are truncated or gone, by name.
        changed: files of the right size whose contents are not what was written, by name.
        not_finite: files with an action or reward that is not finite, by name.
        dropped: number of episodes moved to `dropped/` because they are newer than the checkpoint.
        short: episodes that were refused since they are shorter than a window.
    """

    def __init__(
        self,
        folder: str | Path,
        config: ReplayConfig,
        action_dim: int,
        state: Mapping[str, Any] | None = None,
        lead: int = 0,
        beyond: int = 0,
    ) -> None:
        self.folder, self.config, self.action_dim = Path(folder), config, action_dim
        self.lead, self.beyond = lead, beyond
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        folder_inside(self.folder.parent, self.folder, RunError)  # files are deleted and moved in it
        self._log = JsonlLog(self.folder / INDEX_FILE)
        self._episodes: list[StoredEpisode] = []
        self._evicted: list[StoredEpisode] = []
        self._first_line = count_of(state["first_line"]) if state else 0
        self._num_lines = 0
        self.short = count_of(state["short"]) if state else 0
        self.damaged: list[str] = []
        self.changed: list[str] = []
        self.not_finite: list[str] = []
        self._image_shape: tuple[int, ...] = ()
        self._log.cut(_checked_size(self._log.path, count_of(state["index_bytes"]) if state else 0))
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

    def losses(self) -> list[str]:
        """A sentence for each kind of loss that was found when the replay was opened, with the files' names."""
        kinds = {
            "truncated or gone": self.damaged,
            "not what was written (other contents at the same size)": self.changed,
            "not finite in an action or a reward": self.not_finite,
        }
        return [
            f"{len(files)} replay files are {kind}: {', '.join(files[:5])}" + (", …" if len(files) > 5 else "")
            for kind, files in kinds.items()
            if files
        ]

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
            TrainingError: an action or a reward is not finite.
        """
        num_records, terminated = len(episode["reward"]), bool(episode["is_terminal"][-1])
        if self._num_starts(num_records, terminated) < 1:
            self.short += 1
            return False
        self._image_shape = self._image_shape or episode["image"].shape[1:]
        records = np.empty(num_records, record_type(self._image_shape, self.action_dim))
        for name in FIELDS:
            records[name] = episode[name]
        if not is_finite(records):
            raise TrainingError(
                f"episode {number} has an action or a reward that is not finite",
                expected="numbers",
                fix="start the run again with a smaller learning rate; its replay and checkpoints are unharmed",
            )
        file = f"{number:08d}-{num_records - 1}.npy"
        # Through memory: numpy's own writing to a file ends in an OSError without a number when the disk is full.
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, records, allow_pickle=False)
        data = buffer.getbuffer()
        write_bytes(self.folder / file, data)
        stored = StoredEpisode(file, num_records, len(data), self._num_lines, terminated)
        line = {"file": file, "num_records": num_records, "size_bytes": len(data)}
        self._log.append({**info, **line, "sha256": hashlib.sha256(data).hexdigest()})
        self._num_lines += 1
        self._episodes.append(stored)
        self._evict()
        return True

    def sample(self, generator: np.random.Generator) -> Batch:
        """Draw a batch of windows: an episode uniformly, then a start uniformly.

        With `prioritize_ends`, `length` further starts all stand for the last window (as published).

        Returns:
            image (B, T, H, W, 3) uint8, action (B, T, A) float32, reward (B, T) float32, is_first and is_terminal
            (B, T) bool, with T = lead + length. `is_first` is set at the start of every window: the model's state is
            reset there. Lead steps from before an episode's start are copies of its first one, and steps beyond a
            terminal one are copies of that.

        Raises:
            RunError: a file vanished or was cut while the run was using it.
        """
        if not self._episodes:
            raise RunError(
                f"the replay in {self.folder} is empty",
                expected="at least one stored episode",
                fix=self._restore,
            )
        length = self.config.length
        windows = []
        for _ in range(self.config.batch_size):
            episode = self._episodes[int(generator.integers(len(self._episodes)))]
            last = self._num_starts(episode.num_records, episode.terminated) - 1
            starts = last + 1 + (length if self.config.prioritize_ends else 0)
            windows.append(self._window(episode, min(int(generator.integers(starts)), last)))
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

    def _window(self, episode: StoredEpisode, start: int) -> NDArray[Any]:
        """`lead` records, then `length` from `start` on."""
        missing = max(0, self.lead - start)
        after = max(0, start + self.config.length - episode.num_records)
        records = self._read(episode, start - self.lead + missing, self.lead - missing + self.config.length - after)
        if not missing and not after:
            return records
        return np.concatenate([*[records[:1]] * missing, records, *[records[-1:]] * after])

    def _num_starts(self, num_records: int, terminated: bool) -> int:
        """Starts of windows in an episode of so many records; below 1 where it is too short."""
        return num_records - self.config.length + (self.beyond if terminated else 0) + 1

    def _read(self, episode: StoredEpisode, start: int, length: int) -> NDArray[Any]:
        path, kind = self.folder / episode.file, record_type(self._image_shape, self.action_dim)
        records = np.empty(length, kind)
        try:
            _read_at(path, episode.size_bytes - (episode.num_records - start) * kind.itemsize, records.view(np.uint8))
        except OSError as error:
            raise RunError(
                f"the replay file {path} cannot be read: {error.strerror or error}",
                expected="the episode as it was stored",
                fix="run the same command again: it continues from the last checkpoint and skips that file",
            ) from error
        return records

    def _evict(self) -> None:
        total = self.num_steps
        while total > self.config.capacity and len(self._episodes) > 1:
            oldest = self._episodes.pop(0)
            self._evicted.append(oldest)
            self._first_line = self._episodes[0].line
            total -= oldest.num_steps

    @property
    def _restore(self) -> str:
        return f"restore the folder {self.folder}, or begin the run anew in another folder with --run"

    def _load_index(self) -> None:
        where = str(self._log.path)
        lines = [
            as_model(_Line, line, f"{where} line {number}", error=RunError, fix=self._restore)
            for number, line in enumerate(read_jsonl(self._log.path), start=1)
        ]
        self._num_lines = len(lines)
        for number, line in enumerate(lines):
            path = path_inside(self.folder, line.file, f"{where} line {number + 1}", RunError)
            if not _FILE.fullmatch(line.file):
                raise RunError(
                    f"{where} line {number + 1} names {line.file}",
                    expected="<episode>-<steps>.npy",
                    fix=self._restore,
                )
            if number < self._first_line:
                path.unlink(missing_ok=True)
            else:
                self._take_up(path, line, number)

    def _take_up(self, path: Path, line: _Line, number: int) -> None:
        """Add the episode of a listed file, or its name to the list that says why it cannot be used.

        Raises:
            RunError: the disk answers with an error: nobody knows whether the episode is lost.
        """
        with reading_errors(path, error=RunError):
            is_whole = path.is_file() and path.stat().st_size == line.size_bytes
            is_same = is_whole and not (line.sha256 and _sha256(path) != line.sha256)
        if not is_same:
            (self.changed if is_whole else self.damaged).append(line.file)
            return
        try:
            records = read_npy(path, error=RunError, mapped=True)
        except RunError as error:
            if is_disk_fault(error):
                raise
            self.changed.append(line.file)
            return
        if not self._has_our_layout(records, path) or len(records) != line.num_records:
            self.changed.append(line.file)
            return
        if not is_finite(records):
            self.not_finite.append(line.file)
            return
        terminated = bool(records[-1]["is_terminal"]) if len(records) else False
        if self._num_starts(line.num_records, terminated) >= 1:
            stored = StoredEpisode(line.file, line.num_records, line.size_bytes, number, terminated)
            self._episodes.append(stored)

    def _has_our_layout(self, records: NDArray[Any], path: Path) -> bool:
        """Refuse episodes of another action size; whether the rest is as this module writes it."""
        dtype = records.dtype
        if records.ndim != 1 or dtype.names != FIELDS or dtype["image"].ndim != 3 or dtype["action"].ndim != 1:
            return False
        found = dtype["action"].shape[0]
        if found != self.action_dim:
            raise ConfigError(
                f"the replay in {self.folder} holds actions of size {found} ({path.name})",
                expected=f"size {self.action_dim}, that of the environment",
                fix="continue the run with the task it was started with",
            )
        self._image_shape = self._image_shape or dtype["image"].shape
        return dtype == record_type(self._image_shape, self.action_dim)

    def _drop_unlisted(self) -> int:
        """Move episodes that the checkpoint does not know to `dropped/`; delete unfinished files.

        Files that are called otherwise are nobody's business here and stay.
        """
        known = {episode.file for episode in self._episodes} | {*self.damaged, *self.changed, *self.not_finite}
        aside = path_inside(self.folder, DROPPED_FOLDER, str(self.folder), RunError)
        dropped = 0
        with disk_errors(aside):
            for path in sorted(self.folder.iterdir()):
                if _UNFINISHED.fullmatch(path.name) and not path.is_dir():
                    path.unlink()
                elif _FILE.fullmatch(path.name) and path.name not in known:
                    aside.mkdir(exist_ok=True)
                    os.replace(path, aside / path.name)
                    dropped += 1
        return dropped


def read_index(folder: str | Path) -> Sequence[dict[str, Any]]:
    """The index of a replay folder, one mapping per stored episode (with the environment's metadata).

    Raises:
        RunError: it is absent or damaged.
    """
    return list(read_jsonl(Path(folder) / INDEX_FILE))


def _read_at(path: Path, offset: int, target: NDArray[np.uint8]) -> None:
    """Fill `target` with the bytes of a file from `offset` on.

    Raises:
        OSError: it cannot be opened, is no file that has places, or ends too early.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        done = 0
        while done < len(target):
            read = os.preadv(descriptor, [target.data[done:]], offset + done)
            if not read:
                raise OSError(f"it ends {len(target) - done} bytes before the end of a window")
            done += read
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checked_size(path: Path, size_bytes: int) -> int:
    found = path.stat().st_size
    if found < size_bytes:
        raise RunError(
            f"{path} has {found} bytes",
            expected=f"at least {size_bytes}, the length that the checkpoint recorded",
            fix="restore the file, or delete the run folder and start again",
        )
    return size_bytes
