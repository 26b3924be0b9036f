"""The episodes in the replay of a fine-tuning run.

replay/index.jsonl            one line per stored episode: file, num_records, size_bytes, sha256, what was noted
replay/<episode>-<steps>.npy  one structured array: image, action, reward, is_first, is_terminal
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ipv_bench.bounded_arrays import read_npy
from ipv_bench.bounded_file import reading_errors
from ipv_bench.errors import RunError
from ipv_bench.exports.episodes import EpisodeFacts
from ipv_bench.file_names import path_inside
from ipv_bench.run_record import read_jsonl, read_record
from ipv_bench.tracks import TrackEntry

REPLAY_FOLDER, INDEX_FILE = "replay", "index.jsonl"
_FLAGS = ("is_first", "is_terminal")


class ReplayEpisodes:
    """See `ipv_bench.exports.episodes.EpisodeSource`.

    Args:
        run: folder of a finished fine-tuning run.

    Raises:
        RunError: it is no such run, is unfinished, or its replay holds no episode.
    """

    def __init__(self, run: Path) -> None:
        record = read_record(run)
        if record.kind != "finetune":
            raise RunError(
                f"{run} is a {record.kind} run, which has no replay",
                expected="a fine-tuning run, or a shard set",
                fix="name one; a model is exported with `--to hf`",
            )
        if record.status != "finished":
            raise RunError(
                f"{run} is {record.status}", expected="a finished run", fix="run its `ipv-bench finetune` command again"
            )
        self.location, self._folder = str(run), run / REPLAY_FOLDER
        self.licence = ""
        self.rates: list[float] = []
        self.left_out: list[str] = []
        self.episodes: list[EpisodeFacts] = []
        self._files: dict[int, str] = {}
        self._find(f"{record.suite}/{record.task}")
        if not self.episodes:
            raise RunError(
                f"{self._folder} holds no episode that can be read" + "".join(f"; {words}" for words in self.left_out),
                expected="the replay of a fine-tuning run",
                fix="keep the run's replay/ folder with it",
            )
        first = self._records(self.episodes[0])
        shapes = {name: first.dtype[name].shape for name in first.dtype.names or ()}
        if set(shapes) != {"image", "action", "reward", *_FLAGS} or len(shapes["image"]) != 3:
            raise RunError(
                f"{self._folder / self._files[0]} holds {first.dtype}",
                expected="records of a replay of this version",
                fix="export with the version of ipv-bench that made the run (run.json names it)",
            )
        self.size: tuple[int, int] = shapes["image"][:2]
        self._dtype = first.dtype
        self.tracks = {
            "action": TrackEntry(dtype="float32", shape=list(shapes["action"]), unit="the environment's action"),
            "reward": TrackEntry(dtype="float32", shape=[], unit="the task's reward on arriving at the frame"),
            **{name: TrackEntry(dtype="uint8", shape=[], unit="1 or 0") for name in _FLAGS},
        }

    def frames(self, episode: EpisodeFacts) -> Iterator[np.ndarray]:
        """See `EpisodeSource.frames`."""
        for record in self._records(episode)["image"]:
            yield np.ascontiguousarray(record)

    def read_tracks(self, episode: EpisodeFacts) -> dict[str, np.ndarray]:
        """See `EpisodeSource.read_tracks`."""
        records = self._records(episode)
        return {name: np.array(records[name], entry.dtype) for name, entry in self.tracks.items()}

    def read_times(self, episode: EpisodeFacts) -> None:
        """See `EpisodeSource.read_times`."""

    def _find(self, task: str) -> None:
        """Fill `episodes`: files that are gone before the first that is there were dropped when the replay was full."""
        gone, damaged = 0, list[str]()
        for number, line in enumerate(read_jsonl(self._folder / INDEX_FILE), start=1):
            where = f"{self._folder / INDEX_FILE} line {number}"
            path = path_inside(self._folder, line.get("file"), where, RunError)
            with reading_errors(path, error=RunError):
                is_there = path.is_file()
                is_whole = is_there and _is_whole(path, line)
            if not is_there:
                gone += 1
                continue
            if not is_whole:
                damaged.append(path.name)
                continue
            place = len(self.episodes)
            self._files[place] = path.name
            self.episodes.append(EpisodeFacts(place, path.stem, int(line["num_records"]), task, ""))
        if gone:
            self.left_out.append(f"{gone} older episodes are no longer in the replay")
        if damaged:
            self.left_out.append(f"{len(damaged)} replay files are damaged: {', '.join(damaged[:5])}")

    def _records(self, episode: EpisodeFacts) -> np.ndarray:
        path = self._folder / self._files[episode.number]
        records: np.ndarray = read_npy(path, mapped=True, error=RunError, fix="restore the run's replay/ folder")
        expected = getattr(self, "_dtype", records.dtype)
        if records.shape != (episode.length,) or records.dtype != expected:
            raise RunError(
                f"{path} holds {records.dtype} {records.shape}",
                expected=f"{expected} ({episode.length},), as the index and the first file say",
                fix="export the replay of one run",
            )
        return records


def _is_whole(path: Path, line: dict[str, Any]) -> bool:
    if path.stat().st_size != line.get("size_bytes") or type(line.get("num_records")) is not int:
        return False
    with open(path, "rb") as file:
        return not line.get("sha256") or hashlib.file_digest(file, "sha256").hexdigest() == line["sha256"]
