"""LeRobot v3 data sets: many episodes in one mp4, actions and states in Parquet tables.

One episode and camera is one source item: a time range of a video file, or the pictures in rows of a table. Actions
become a track: LeRobot stores the action taken at frame t, a shard set the one that led into frame t, so they are
shifted by one, and so are rewards and successes. Tasks become labels.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from ipv_bench.errors import ConfigError, SourceError, UnknownNameError
from ipv_bench.tracks import ACTION, MAX_SIDES, MAX_VALUES
from pipelines.datasets.base import (
    Count,
    Inventory,
    SourceItem,
    SourceRow,
    TablePictures,
    TableRows,
    TrackRows,
    TrackSpec,
    VideoRange,
)
from pipelines.datasets.episode_tracks import UNITS
from pipelines.datasets.file_tree import refuse_passing
from pipelines.datasets.lerobot_meta import Camera, Episode, Feature, Meta, fault, read_meta
from pipelines.datasets.prepare_config import PrepareConfig

ALL_CAMERAS = "all"
KNOWN_TRACKS: Mapping[str, tuple[str, str, bool]] = {
    "action": (ACTION, "the robot's action, as the data set has it", True),
    "observation.state": ("state", "the robot's state, as the data set has it", False),
    "next.reward": ("reward", "the task's reward on arriving at the frame", True),
    "next.success": ("success", UNITS["success"], True),
    **{name: (name, UNITS[name], False) for name in ("discount", "is_first", "is_last", "is_terminal")},
}
"""Columns that are kept when they are there → track, unit, whether it is stored at the frame before. LeRobot itself has
the first four; the others are as `export --to lerobot` writes them."""
_TIMES = frozenset({"timestamp", "frame_index", "episode_index", "index", "task_index"})
_FLOATS = frozenset({"float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"})
_BYTES = frozenset({"bool", "uint8"})


class LeRobotConfig(PrepareConfig):
    """Fields of `prepare lerobot`."""

    camera: tuple[str, ...] = ()
    """Cameras to take, by the name of the feature or its last part; `all` takes each; none takes the only one."""
    tracks: tuple[str, ...] = Field(tuple(KNOWN_TRACKS), max_length=50)
    """Columns to keep beside the frames; the usual ones where they are there, others must be; `[]` keeps none."""

    @field_validator("camera", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class LeRobot:
    """See `pipelines.datasets.base.DataSet`."""

    name = "lerobot"
    config = LeRobotConfig
    profiles: Mapping[str, Mapping[str, Any]] = {"paper": {}}
    licence = "as the data set's own card says; it names none"
    help = (
        "point --source at a folder with meta/, data/ and videos/, such as "
        "`hf download --repo-type dataset <name> --local-dir <source>` makes (docs/datasets/lerobot.md)"
    )

    def inventory(self, source: Path, config: PrepareConfig) -> Inventory:
        """List the data set: one item per episode and camera."""
        assert isinstance(config, LeRobotConfig)
        if config.decoder != "pyav":
            raise ConfigError(
                f"decoder={config.decoder}", expected="decoder=pyav", fix="leave it: time ranges are read through PyAV"
            )
        meta = read_meta(source)
        cameras = choose_cameras(meta, config.camera)
        specs, columns, taken_at = _tracks(meta, config)
        layout = _Layout(source, meta, specs, columns, taken_at, len(cameras) > 1)
        items = [layout.item(episode, camera) for episode in meta.episodes for camera in cameras]
        ordered = tuple(sorted(items, key=lambda item: item.source_id))
        return Inventory(ordered, warnings=meta.warnings, tracks=specs, licence=meta.licence)

    def counts(self, inventory: Inventory, rows: Sequence[SourceRow], config: PrepareConfig) -> list[Count]:
        """Episodes and frames listed, taken and written."""
        written = [row for row in rows if row.status == "written"]
        kept = ", ".join(spec.name for spec in inventory.tracks) or "no tracks"
        note = next((f"each action {spec.note}" for spec in inventory.tracks if spec.name == ACTION), "")
        return [
            Count("episodes of the cameras taken, as meta/episodes lists them", len(rows)),
            Count(f"of them written, with {kept}", len(written), note=note),
            Count("frames of these", sum(row.num_frames_decoded for row in written)),
        ]


def choose_cameras(meta: Meta, wanted: Sequence[str]) -> list[Camera]:
    """The cameras that the config names.

    Raises:
        SourceError: the data set has none.
        ConfigError: it has several and none is named, a name fits several, or a camera's pictures are no colours.
        UnknownNameError: there is no such camera.
    """
    colour = [camera for camera in meta.cameras if not camera.is_depth]
    names = [camera.key for camera in colour]
    if not colour:
        raise SourceError(
            "the data set has no camera with colours", expected="a feature of dtype video or image", fix="take another"
        )
    if list(wanted) == [ALL_CAMERAS]:
        return colour
    if not wanted:
        if len(colour) > 1:
            raise ConfigError(
                f"the data set has {len(colour)} cameras: {', '.join(names)}",
                expected="which of them to take",
                fix=f"add `--set camera={colour[0].short}`, several as `--set 'camera=[a,b]'`, or `--set camera=all`",
            )
        return colour
    chosen: list[Camera] = []
    for name in dict.fromkeys(wanted):
        found = [camera for camera in meta.cameras if name == camera.key]
        found = found or [camera for camera in meta.cameras if name == camera.short]
        if not found:
            raise UnknownNameError("camera", name, names)
        if len(found) > 1 or found[0].is_depth:
            words = "several cameras: " + ", ".join(one.key for one in found) if len(found) > 1 else "a depth map"
            raise ConfigError(f"camera={name} names {words}", expected=f"one of {', '.join(names)}", fix="name one")
        if found[0] not in chosen:
            chosen.append(found[0])
    return chosen


def _tracks(meta: Meta, config: LeRobotConfig) -> tuple[tuple[TrackSpec, ...], tuple[str, ...], tuple[str, ...]]:
    """Specs, their columns, and the names of those that are shifted."""
    specs: list[TrackSpec] = []
    columns: list[str] = []
    taken_at: list[str] = []
    for column in dict.fromkeys(config.tracks):
        feature = meta.features.get(column)
        if feature is None or column in _TIMES:
            if column in KNOWN_TRACKS:
                continue
            raise UnknownNameError("column for a track", column, set(meta.features) - _TIMES)
        name, unit, shifts = KNOWN_TRACKS.get(column, (_track_name(column), "", False))
        earlier = {spec.name: kept for spec, kept in zip(specs, columns, strict=True)}
        if name in earlier:
            raise ConfigError(
                f"the columns {earlier[name]} and {column} would both become the track {name}",
                expected="one column for each track",
                fix="keep one: `--set 'tracks=[…]'`",
            )
        spec = _spec(name, column, feature, unit, shifts)
        specs, columns = [*specs, spec], [*columns, column]
        taken_at += [name] if shifts else []
    if specs and (config.frame_stride != 1 or config.fps is not None):
        raise ConfigError(
            f"frame_stride={config.frame_stride}, fps={config.fps} with the tracks "
            + ", ".join(spec.name for spec in specs),
            expected="every frame: an action leads from one frame to the next",
            fix="leave both at their defaults, or keep no tracks with `--set 'tracks=[]'`",
        )
    return tuple(specs), tuple(columns), tuple(taken_at)


def _track_name(column: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", column.removeprefix("observation."))[:100] or "track"


def _spec(name: str, column: str, feature: Feature, unit: str, shifts: bool) -> TrackSpec:
    shape = feature.shape if feature.shape != (1,) or name == ACTION else ()
    size = 1.0
    for side in shape:
        size *= side
    if feature.dtype not in _FLOATS | _BYTES or len(shape) > MAX_SIDES or size > MAX_VALUES:
        raise SourceError(
            f"the column {column} is {feature.dtype} {list(feature.shape)}",
            expected="numbers that fit a track",
            fix="leave it out: name the columns to keep with `--set 'tracks=[…]'`",
        )
    note = f"from the column {column}"
    if shifts:
        note = (
            f"led into its frame, zero at frame 0; shifted by one: the column {column} holds what was done at each "
            "frame, and its last entry is left out"
        )
    return TrackSpec(name, "uint8" if feature.dtype in _BYTES else "float32", shape, unit, note)


class _Layout:
    """Where episodes lie in files."""

    def __init__(
        self,
        source: Path,
        meta: Meta,
        specs: tuple[TrackSpec, ...],
        columns: tuple[str, ...],
        taken_at: tuple[str, ...],
        many_cameras: bool,
    ) -> None:
        self._source, self._meta, self._many = source, meta, many_cameras
        self._specs, self._columns, self._taken_at = specs, columns, taken_at
        self._sizes: dict[str, int | None] = {}
        self._first_index: dict[str, int] = {}
        self._frames_in: Counter[str] = Counter()
        for episode in meta.episodes:
            path = episode.data_path
            self._first_index[path] = min(episode.first_index, self._first_index.get(path, episode.first_index))
            for place in {path, *(span.path for span in episode.videos.values())}:
                self._frames_in[place] += max(episode.length, 0)

    def item(self, episode: Episode, camera: Camera) -> SourceItem:
        """The source item of one episode and camera."""
        path = episode.videos[camera.key].path if camera.is_video else episode.data_path
        size = self._size(path)
        problem = self._problem(episode, camera, path, size)
        frames = None if problem else self._frames(episode, camera)
        source_id = f"episode_{episode.index:06d}" + (f"/{camera.key}" if self._many else "")
        tracks = None
        if self._specs and not problem:
            tracks = TrackRows(self._rows(episode), self._specs, self._columns, self._taken_at, self._meta.fps)
        return SourceItem(
            source_id,
            path,
            round((size or 0) * episode.length / max(1, self._frames_in[path])),
            frames,
            "; ".join(episode.tasks),
            episode.split,
            fps=self._meta.fps,
            problem=problem,
            metadata={"episode_index": episode.index, "camera": camera.key},
            tracks=tracks,
        )

    def _problem(self, episode: Episode, camera: Camera, path: str, size: int | None) -> tuple[str, str] | None:
        wrong = fault(episode, self._meta.fps, camera.key)
        if wrong:
            return "bad_annotation", f"meta/episodes: {wrong}"
        if size is None:
            return "missing", "no such file"
        if self._specs and self._size(episode.data_path) is None:
            return "missing", f"no such file: {episode.data_path}"
        return None

    def _frames(self, episode: Episode, camera: Camera) -> VideoRange | TablePictures:
        if not camera.is_video:
            return TablePictures(self._rows(episode), camera.key)
        span = episode.videos[camera.key]
        return VideoRange(span.path, span.start_seconds, episode.length, self._meta.fps, self._size(span.path) or 0)

    def _rows(self, episode: Episode) -> TableRows:
        path = episode.data_path
        first = episode.first_index - self._first_index[path]
        return TableRows(path, first, episode.length, ("episode_index", episode.index), self._size(path) or 0)

    def _size(self, path: str) -> int | None:
        """Bytes of a file; None when there is none."""
        if path not in self._sizes:
            try:
                self._sizes[path] = (self._source / path).stat().st_size
            except OSError as error:
                refuse_passing(error, path)
                self._sizes[path] = None
        return self._sizes[path]


DATA_SET = LeRobot()
