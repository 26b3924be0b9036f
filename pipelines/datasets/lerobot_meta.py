"""`meta/` of a LeRobot v3 data set: what is in it, and whether its files agree.

    meta/info.json                             version, fps, features, path templates, totals, splits
    meta/tasks.parquet                         task texts and their numbers
    meta/episodes/chunk-000/file-000.parquet   per episode: length, tasks, where its rows and its video frames lie

The files are read with pyarrow alone.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ipv_bench.bounded_file import LASTING, reading_errors
from ipv_bench.bounded_json import read_json
from ipv_bench.bounded_tables import column_names, read_table
from ipv_bench.errors import SourceError
from ipv_bench.file_names import relative_path_inside, shown
from pipelines.datasets.lerobot_splits import INFO_FILE, Split, read_splits, split_doubts

TASKS_FILE, EPISODES_FOLDER = "meta/tasks.parquet", "meta/episodes"
LAYOUT = "a LeRobot v3 data set: meta/info.json, meta/tasks.parquet, meta/episodes/, data/, videos/"
CONVERT = (
    "convert a copy with the lerobot package: `python -m lerobot.scripts.convert_dataset_v21_to_v30` "
    "(older releases: `lerobot.datasets.v30.convert_dataset_v21_to_v30`); docs/datasets/lerobot.md"
)
_DOWNLOAD = "download the whole of meta/ again, from one revision of the data set"
_PLACEHOLDER = re.compile(r"\{(video_key|chunk_index|file_index)(?::0([1-9])d)?\}")
_TASK_COLUMNS = ("task", "__index_level_0__")
CARD_FILE = "README.md"
_CARD_BYTES = 100_000
_LICENCE = re.compile(r"^license:[ \t]*([A-Za-z0-9.-]{1,60})[ \t]*$", re.MULTILINE)
_TEXTS = ("string", "language")
_DEPTH_WORDS = ("is_depth_map", "video.is_depth_map")


@dataclass(frozen=True)
class Camera:
    """A feature with pictures.

    Attributes:
        key: name of the feature, such as `observation.images.top`.
        is_video: its frames are in mp4 files; else in the data table.
        is_depth: its values are distances, not colours.
    """

    key: str
    is_video: bool
    is_depth: bool

    @property
    def short(self) -> str:
        """The last part of the key."""
        return self.key.rpartition(".")[2]


@dataclass(frozen=True)
class Feature:
    """A column of numbers in the data table: its type and the shape of one frame's entry."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class VideoSpan:
    """Where an episode lies in a video file, in seconds."""

    path: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class Episode:
    """One episode.

    Attributes:
        index: its number.
        length: in frames.
        tasks: in words.
        split: name of the split, empty where none is named.
        data_path: the table that holds its rows.
        first_index, end_index: of its frames in the whole data set.
        videos: camera key → where its frames are.
    """

    index: int
    length: int
    tasks: tuple[str, ...]
    split: str
    data_path: str
    first_index: int
    end_index: int
    videos: Mapping[str, VideoSpan]


@dataclass(frozen=True)
class Meta:
    """All that `meta/` says.

    Attributes:
        fps: frames per second of all episodes and cameras.
        cameras: in the order of `info.json`.
        features: columns of numbers.
        episodes: by number.
        totals: what `info.json` states: episodes, frames, tasks; -1 where it says nothing.
        warnings: lines for the user.
        licence: of the data set's card, in words; empty without one.
    """

    fps: float
    cameras: tuple[Camera, ...]
    features: Mapping[str, Feature]
    episodes: tuple[Episode, ...]
    totals: Mapping[str, int]
    warnings: tuple[str, ...]
    licence: str


def read_meta(source: Path) -> Meta:
    """Read and compare the files of `meta/`.

    Raises:
        SourceError: it is no LeRobot data set, another version, a file is missing or damaged, two of them disagree, or
            the disk answers with an error.
    """
    with reading_errors(source, error=SourceError, fix="change the permissions of that file or folder"):
        return _meta(source)


def _meta(source: Path) -> Meta:
    info = _info(source)
    where = str(source / INFO_FILE)
    fps = _positive(info, "fps", where)
    features = _features(info, where)
    cameras = tuple(_camera(key, values, fps, where) for key, values in features.items() if _is_camera(values))
    numbers = {
        key: Feature(str(values.get("dtype")), _shape(values, key, where))
        for key, values in features.items() if not _is_camera(values) and values.get("dtype") not in _TEXTS
    }  # fmt: skip
    tasks = _tasks(source)
    splits = read_splits(info, where)
    episodes = _episodes(source, info, [camera.key for camera in cameras if camera.is_video], splits)
    totals = {name: _total(info, f"total_{name}") for name in ("episodes", "frames", "tasks")}
    _compare(source, totals, episodes)
    warnings = (
        *_doubts(tasks, totals, episodes),
        *split_doubts(info, splits, {one.index: one.split for one in episodes}),
    )
    return Meta(fps, cameras, numbers, episodes, totals, warnings, _licence(source))


def _licence(source: Path) -> str:
    """What the field `license` at the top of the card says; cards are for people, so an odd one says nothing."""
    try:
        with open(source / CARD_FILE, "rb") as file:
            text = file.read(_CARD_BYTES).decode(errors="replace")
    except OSError as error:
        if error.errno not in LASTING:  # the set would state no licence for good
            raise
        return ""
    top = text.split("\n---", 1)[0] if text.startswith("---\n") else ""
    found = _LICENCE.search(top)
    return f"{found[1]}, as the data set's card says" if found and found[1] != "other" else ""


def _info(source: Path) -> dict[str, Any]:
    if not (source / INFO_FILE).is_file():
        raise SourceError(
            f"{source} has no {INFO_FILE}",
            expected=LAYOUT,
            fix="point --source at the folder that holds meta/, data/ and videos/",
        )
    info: dict[str, Any] = read_json(source / INFO_FILE, error=SourceError, expect=dict, nan=True, fix=_DOWNLOAD)
    version = info.get("codebase_version")
    found = re.fullmatch(r"v?(\d+)\.(\d+).*", version) if isinstance(version, str) and len(version) < 30 else None
    if found is None or found[1] != "3":
        words = f"is a LeRobot data set of version {shown(version)}" if version else "names no codebase_version"
        older = found is not None and int(found[1]) < 3
        fix = CONVERT if older else "update ipv-bench, or convert the data set to v3.0"
        raise SourceError(f"{source / INFO_FILE} {words}", expected="version v3.0", fix=fix)
    return info


def _features(info: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    features = info.get("features")
    if not isinstance(features, dict) or not all(isinstance(values, dict) for values in features.values()):
        raise SourceError(f"{where} has no table of features", expected="name → dtype, shape", fix=_DOWNLOAD)
    return features


def _is_camera(values: Mapping[str, Any]) -> bool:
    return values.get("dtype") in ("video", "image")


def _camera(key: str, values: Mapping[str, Any], fps: float, where: str) -> Camera:
    facts: dict[str, Any] = {}
    for name in ("info", "video_info"):
        facts |= values.get(name) or {} if isinstance(values.get(name), dict) else {}
    rate = facts.get("video.fps")
    if isinstance(rate, int | float) and not isinstance(rate, bool) and abs(rate - fps) > 1e-3 * fps:
        raise SourceError(
            f"{where}: the camera {key} has {rate:g} frames per second, the data set {fps:g}",
            expected="one frame of each camera for each row of the data table",
            fix="write the data set anew at one rate",
        )
    return Camera(key, values.get("dtype") == "video", any(bool(facts.get(word)) for word in _DEPTH_WORDS))


def _shape(values: Mapping[str, Any], key: str, where: str) -> tuple[int, ...]:
    shape = values.get("shape")
    if not isinstance(shape, list) or not all(type(side) is int and 0 <= side < 1 << 31 for side in shape):
        raise SourceError(f"{where}: the shape of {key} is {shown(shape)}", expected="a list of sides", fix=_DOWNLOAD)
    return tuple(shape)


def _positive(info: Mapping[str, Any], name: str, where: str) -> float:
    value = info.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1000:
        raise SourceError(f"{where}: {name} is {shown(value)}", expected="a number in (0, 1000]", fix=_DOWNLOAD)
    return float(value)


def _total(info: Mapping[str, Any], name: str) -> int:
    value = info.get(name)
    return value if type(value) is int and value >= 0 else -1


def _tasks(source: Path) -> frozenset[str]:
    path = source / TASKS_FILE
    if not path.is_file():
        jsonl = (source / "meta/tasks.jsonl").is_file()
        raise SourceError(
            f"{source} has no {TASKS_FILE}" + (", but a tasks.jsonl, as older versions have" if jsonl else ""),
            expected=LAYOUT,
            fix=CONVERT if jsonl else _DOWNLOAD,
        )
    names = column_names(path, error=SourceError, fix=_DOWNLOAD)
    column = next((name for name in _TASK_COLUMNS if name in names), _TASK_COLUMNS[0])
    schema = pa.schema([(column, pa.string()), ("task_index", pa.int64())])
    return frozenset(read_table(path, schema, error=SourceError, fix=_DOWNLOAD)[column].to_pylist())


def _episodes(
    source: Path, info: Mapping[str, Any], video_keys: Sequence[str], splits: Sequence[Split]
) -> tuple[Episode, ...]:
    paths = sorted((source / EPISODES_FOLDER).glob("*/*.parquet"))
    if not paths:
        raise SourceError(f"{source} has no {EPISODES_FOLDER}/…/….parquet", expected=LAYOUT, fix=_DOWNLOAD)
    columns = [
        ("episode_index", pa.int64()), ("length", pa.int64()), ("tasks", pa.list_(pa.string())),
        ("data/chunk_index", pa.int64()), ("data/file_index", pa.int64()),
        ("dataset_from_index", pa.int64()), ("dataset_to_index", pa.int64()),
    ]  # fmt: skip
    for key in video_keys:
        columns += [(f"videos/{key}/{name}_index", pa.int64()) for name in ("chunk", "file")]
        columns += [(f"videos/{key}/{name}_timestamp", pa.float64()) for name in ("from", "to")]
    rows: list[dict[str, Any]] = []
    for path in paths:
        rows += read_table(path, pa.schema(columns), error=SourceError, fix=_DOWNLOAD).to_pylist()
    episodes = sorted((_episode(source, info, row, video_keys, splits) for row in rows), key=lambda one: one.index)
    twice = [index for index, count in Counter(episode.index for episode in episodes).items() if count > 1]
    if twice:
        raise SourceError(
            f"{source / EPISODES_FOLDER} lists episode {twice[0]} twice", expected="each once", fix=_DOWNLOAD
        )
    return tuple(episodes)


def _episode(
    source: Path,
    info: Mapping[str, Any],
    row: Mapping[str, Any],
    video_keys: Sequence[str],
    splits: Sequence[Split],
) -> Episode:
    index: int = row["episode_index"]
    data = _path(source, info, "data_path", row["data/chunk_index"], row["data/file_index"])
    videos = {}
    for key in video_keys:
        chunk_index, file_index = (row[f"videos/{key}/{name}_index"] for name in ("chunk", "file"))
        start, end = (row[f"videos/{key}/{name}_timestamp"] for name in ("from", "to"))
        videos[key] = VideoSpan(_path(source, info, "video_path", chunk_index, file_index, key), start, end)
    return Episode(
        index,
        row["length"],
        tuple(filter(None, row["tasks"])),
        next((name for name, first, end in splits if first <= index < end), ""),
        data,
        row["dataset_from_index"],
        row["dataset_to_index"],
        videos,
    )


def _path(source: Path, info: Mapping[str, Any], name: str, chunk_index: int, file_index: int, key: str = "") -> str:
    """A path that a template of `info.json` gives; of Python's format language only what the layout uses is known."""
    template, where = info.get(name), f"{source / INFO_FILE}: {name}"
    values: dict[str, Any] = {"video_key": key, "chunk_index": chunk_index, "file_index": file_index}
    plain = _PLACEHOLDER.sub("", template) if isinstance(template, str) else "{"
    if "{" in plain or "}" in plain or not 0 <= chunk_index < 1 << 31 or not 0 <= file_index < 1 << 31:
        raise SourceError(
            f"{where} is {shown(template)}, for chunk {chunk_index}, file {file_index}",
            expected="a path with {chunk_index:03d}, {file_index:03d} and, for videos, {video_key}",
            fix=_DOWNLOAD,
        )
    path = _PLACEHOLDER.sub(lambda found: str(values[found[1]]).zfill(int(found[2] or 0)), str(template))
    relative_path_inside(source, path, where, SourceError, links=True)
    return path


def _compare(source: Path, totals: Mapping[str, int], episodes: Sequence[Episode]) -> None:
    ours = {"episodes": len(episodes), "frames": sum(episode.length for episode in episodes)}
    for name, count in ours.items():
        if totals[name] not in (-1, count):
            raise SourceError(
                f"{source / INFO_FILE} states {totals[name]:,} {name}, {EPISODES_FOLDER} lists {count:,}",
                expected="meta files of one revision",
                fix=_DOWNLOAD,
            )


def _doubts(tasks: frozenset[str], totals: Mapping[str, int], episodes: Sequence[Episode]) -> list[str]:
    warnings = []
    unknown = sorted({task for episode in episodes for task in episode.tasks} - tasks)
    if unknown:
        warnings.append(f"{TASKS_FILE} does not know {len(unknown)} tasks of the episodes, the first is {unknown[0]!r}")
    if totals["tasks"] not in (-1, len(tasks)):
        warnings.append(f"{INFO_FILE} states {totals['tasks']} tasks, {TASKS_FILE} lists {len(tasks)}")
    return warnings


def fault(episode: Episode, fps: float, camera: str) -> str:
    """What in the tables contradicts the length of an episode, in words; empty when nothing does."""
    if episode.length < 1:
        return f"its length is {episode.length}"
    if episode.end_index - episode.first_index != episode.length:
        return f"rows {episode.first_index} to {episode.end_index} for {episode.length} frames"
    span = episode.videos.get(camera)
    if span is None:
        return ""
    if not (math.isfinite(span.start_seconds) and math.isfinite(span.end_seconds) and span.start_seconds >= 0):
        return f"it lies from {span.start_seconds} to {span.end_seconds} s in its video"
    if abs((span.end_seconds - span.start_seconds) * fps - episode.length) >= 1:
        return (
            f"it lies from {span.start_seconds:.3f} to {span.end_seconds:.3f} s in its video: "
            f"no {episode.length} frames at {fps:g} per second"
        )
    return ""
