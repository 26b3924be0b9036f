"""`export --to lerobot`: a shard set, or the replay of a fine-tuning run, as a LeRobot v3 data set.

    meta/info.json  meta/stats.json  meta/tasks.parquet  meta/episodes/chunk-000/file-000.parquet
    data/chunk-000/file-000.parquet  videos/observation.images.main/chunk-000/file-000.mp4  README.md

Written with pyarrow and PyAV alone, into a folder that gets its name when it is complete.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ipv_bench.errors import ShardSetError
from ipv_bench.exports.card import lerobot_card
from ipv_bench.exports.config import LeRobotExportConfig
from ipv_bench.exports.episodes import EpisodeFacts, EpisodeSource
from ipv_bench.exports.lerobot_columns import DONE, INDEX_COLUMNS, Column, as_taken, lost, track_columns
from ipv_bench.exports.running_statistics import RunningStatistics
from ipv_bench.exports.video_file import EpisodeVideo
from ipv_bench.progress import progress

VERSION = "v3.0"
CHUNK_FILES = 1000
DEFAULT_SPLIT = "train"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_STATISTICS_OF = 100
"""Frames of an episode, evenly spread, whose pixels enter the statistics."""

_STEP_TOLERANCE = 0.25
"""Of a frame's duration, by which the time from one frame to the next may differ from it without a word."""


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        num_episodes, num_frames, num_tasks: counts.
        warnings: sentences for the user.
    """

    num_episodes: int
    num_frames: int
    num_tasks: int
    warnings: list[str] = field(default_factory=list)


def frame_rate(source: EpisodeSource, config: LeRobotExportConfig) -> float:
    """The one frame rate of the data set.

    Raises:
        ShardSetError: the videos state none, or several, or some of them state none.
    """
    if config.fps is not None:
        return config.fps
    stated = [rate for rate in source.rates if rate]
    if len(source.rates) == len(stated) == 1:
        return stated[0]
    shown = ", ".join(f"{rate:g}" for rate in stated[:5])
    found = f"its videos have {len(stated)} frame rates: {shown}" if stated else "it states no frame rate"
    if stated and len(stated) < len(source.rates):
        found += "; and some state none"
    raise ShardSetError(
        f"{source.location}: {found}",
        expected="one rate: a LeRobot data set has one for all episodes",
        fix="say it with `--set fps=30`" + _way_to_a_rate(source),
    )


def _way_to_a_rate(source: EpisodeSource) -> str:
    """How `prepare` gives the set one rate: `fps` picks frames, which sets with tracks refuse; a replay has no way."""
    if not source.rates:
        return ""
    name = "source_fps" if source.tracks or 0.0 in source.rates else "fps"
    return f", or prepare the set anew with `--set {name}=…`"


def write_lerobot(source: EpisodeSource, folder: Path, config: LeRobotExportConfig) -> Written:
    """Write the data set into a new folder.

    Raises:
        ShardSetError, RunError: the source is damaged, or does not fit the layout.
        OutputError: the disk is full, or there is no such encoder.
    """
    writer = _Writer(source, folder, config, frame_rate(source, config))
    # Splits are ranges of episode numbers, so those of one split come together.
    order = sorted(source.episodes, key=lambda episode: (episode.split or DEFAULT_SPLIT, episode.number))
    try:
        with progress("export", len(order), "episodes") as bar:
            for episode in order:
                writer.add(episode)
                bar.advance(1)
        return writer.finish(order)
    except BaseException:
        writer.abandon()
        raise


class _Writer:
    def __init__(self, source: EpisodeSource, folder: Path, config: LeRobotExportConfig, fps: float) -> None:
        self._source, self._folder, self._config, self._fps = source, folder, config, fps
        self._exact_fps = Fraction(fps).limit_denominator(1001)
        self._key = f"observation.images.{config.camera}"
        self._columns = track_columns(source.tracks)
        self._tasks: dict[str, int] = {}
        self._rows: list[dict[str, Any]] = []
        self._statistics = {name: RunningStatistics() for name in (self._key, *self._columns)}
        self._warnings: dict[str, int] = {}
        self._odd_steps: list[tuple[float, float]] = []
        self._num_frames = 0
        self._video: EpisodeVideo | None = None
        self._data: pq.ParquetWriter | None = None
        self._video_file = self._data_file = -1
        self._data_path = folder
        self._pixel_format = ""

    def add(self, episode: EpisodeFacts) -> None:
        """Append one episode to the video file and the data table."""
        if self._video is None:
            self._video_file += 1
            path = self._folder / VIDEO_PATH.format(video_key=self._key, **_place(self._video_file))
            self._video = EpisodeVideo(path, self._source.size, self._exact_fps, self._config)
            self._pixel_format = self._video.pixel_format
        first = self._video.num_frames
        step = max(1, episode.length // _STATISTICS_OF)
        pixels = []
        for number, picture in enumerate(self._source.frames(episode)):
            self._video.add(picture, begins=number == 0)
            if number % step == 0:
                pixels.append(picture)
        self._statistics[self._key].add(np.stack(pixels).reshape(-1, 3) / 255.0)
        self._add_rows(episode)
        self._compare_times(episode)
        self._rows.append(self._row(episode, first))
        self._num_frames += episode.length
        self._close_full_files()

    def _add_rows(self, episode: EpisodeFacts) -> None:
        count = np.arange(episode.length)
        task = self._tasks.setdefault(episode.label, len(self._tasks))
        values: dict[str, pa.Array] = {}
        for name, found in self._source.read_tracks(episode).items():
            if lost(name, found):
                self._warnings[name] = self._warnings.get(name, 0) + 1
            column, taken = self._columns[name], as_taken(name, found)
            self._statistics[name].add(taken.reshape(episode.length, *column.shape))
            values[column.name] = column.array(taken)
        values[DONE] = pa.array(count == episode.length - 1)
        numbers = (count / self._fps, count, np.full_like(count, len(self._rows)), self._num_frames + count,
                   np.full_like(count, task))  # fmt: skip
        for name, found in zip(INDEX_COLUMNS, numbers, strict=True):
            values[name] = pa.array(found, pa.float32() if name == "timestamp" else pa.int64())
        table = pa.table(values)
        if self._data is None:
            self._data_file += 1
            self._data_path = self._folder / DATA_PATH.format(**_place(self._data_file))
            self._data_path.parent.mkdir(parents=True, exist_ok=True)
            self._data = pq.ParquetWriter(self._data_path, table.schema, compression="snappy")
        self._data.write_table(table)  # one row group per episode

    def _compare_times(self, episode: EpisodeFacts) -> None:
        """Note the shortest and the longest step of an episode whose frames do not follow one another at the rate."""
        times = self._source.read_times(episode)
        steps = np.diff(times) if times is not None else np.empty(0)
        if np.any(np.abs(steps * self._fps - 1) > _STEP_TOLERANCE):
            self._odd_steps.append((float(steps.min()), float(steps.max())))

    def _row(self, episode: EpisodeFacts, first: int) -> dict[str, Any]:
        video, data = _place(self._video_file), _place(self._data_file)
        return {
            "episode_index": len(self._rows),
            "tasks": [episode.label],
            "length": episode.length,
            "data/chunk_index": data["chunk_index"],
            "data/file_index": data["file_index"],
            "dataset_from_index": self._num_frames,
            "dataset_to_index": self._num_frames + episode.length,
            f"videos/{self._key}/chunk_index": video["chunk_index"],
            f"videos/{self._key}/file_index": video["file_index"],
            f"videos/{self._key}/from_timestamp": float(first / self._exact_fps),
            f"videos/{self._key}/to_timestamp": float((first + episode.length) / self._exact_fps),
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
            "source_id": episode.source_id,
        }

    def _close_full_files(self) -> None:
        if self._video is not None and _size(self._video.path) > self._config.video_file_megabytes << 20:
            self._video.close()
            self._video = None
        if self._data is not None and _size(self._data_path) > self._config.data_file_megabytes << 20:
            self._data.close()
            self._data = None

    def abandon(self) -> None:
        """Close what is open; the folder is of no use."""
        if self._video is not None:
            self._video.abandon()
        if self._data is not None:
            self._data.close()

    def finish(self, order: list[EpisodeFacts]) -> Written:
        """Close the files and write `meta/` and the card."""
        if self._video is not None:
            self._video.close()
        if self._data is not None:
            self._data.close()
        self._video = self._data = None
        meta = self._folder / "meta"
        (meta / "episodes/chunk-000").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self._rows), meta / "episodes/chunk-000/file-000.parquet")
        # Readers take the task texts as the index of a pandas table.
        index = pd.Index(list(self._tasks), name="task")
        pd.DataFrame({"task_index": list(self._tasks.values())}, index=index).to_parquet(meta / "tasks.parquet")
        columns = {name: column.name for name, column in self._columns.items()}
        stats = {columns.get(name, name): found.as_json() for name, found in self._statistics.items() if found.count}
        for name in ("min", "max", "mean", "std"):
            stats[self._key][name] = [[[value]] for value in stats[self._key][name]]  # (3, 1, 1)
        (meta / "stats.json").write_text(json.dumps(stats, indent=4))
        info = self._info(order)
        (meta / "info.json").write_text(json.dumps(info, indent=4))
        warnings = [
            f"{count} episodes have a {name} at frame 0, before which there is no frame: it is left out"
            for name, count in self._warnings.items()
        ]
        written = Written(
            len(order), self._num_frames, len(self._tasks), [*self._source.left_out, *warnings, *self._time_warnings()]
        )
        (self._folder / "README.md").write_text(lerobot_card(self._source, info, list(columns)))
        return written

    def _time_warnings(self) -> list[str]:
        if not self._odd_steps:
            return []
        low, high = min(low for low, _ in self._odd_steps), max(high for _, high in self._odd_steps)
        return [
            f"{len(self._odd_steps)} videos have gaps or shifts in time that LeRobot cannot hold: "
            f"steps of {low:.3g} to {high:.3g} s are written as {1 / self._fps:.3g} s"
        ]

    def _info(self, order: list[EpisodeFacts]) -> dict[str, Any]:
        fps = int(self._fps) if self._fps == int(self._fps) else self._fps
        height, width = self._source.size
        camera = {
            "dtype": "video",
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": height, "video.width": width, "video.codec": self._config.codec,
                "video.pix_fmt": self._pixel_format, "video.is_depth_map": False, "video.fps": fps,
                "video.channels": 3, "has_audio": False,
            },
        }  # fmt: skip
        features: dict[str, Any] = {self._key: camera}
        features |= {column.name: column.feature for column in self._columns.values()}
        features[DONE] = Column(DONE, "bool", (1,)).feature
        for name in INDEX_COLUMNS:
            features[name] = Column(name, "float32" if name == "timestamp" else "int64", (1,)).feature
        return {
            "codebase_version": VERSION,
            "robot_type": self._config.robot_type,
            "total_episodes": len(order),
            "total_frames": self._num_frames,
            "total_tasks": len(self._tasks),
            "chunks_size": CHUNK_FILES,
            "data_files_size_in_mb": self._config.data_file_megabytes,
            "video_files_size_in_mb": self._config.video_file_megabytes,
            "fps": fps,
            "splits": _splits(order),
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH,
            "features": features,
        }


def _place(number: int) -> dict[str, int]:
    return {"chunk_index": number // CHUNK_FILES, "file_index": number % CHUNK_FILES}


def _size(path: Path) -> int:
    """Bytes so far; an encoder that looks ahead begins its file later."""
    return path.stat().st_size if path.exists() else 0


def _splits(order: list[EpisodeFacts]) -> dict[str, str]:
    """Name → range of episode numbers; episodes of no split count as for training."""
    splits: dict[str, list[int]] = {}
    for number, episode in enumerate(order):
        splits.setdefault(episode.split or DEFAULT_SPLIT, []).append(number)
    return {name: f"{numbers[0]}:{numbers[-1] + 1}" for name, numbers in splits.items()}
