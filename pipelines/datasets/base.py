"""What a data set is to `prepare`: an inventory of source items, a config with profiles, and words about the release.

Adding a data set is one file with a class that follows `DataSet`, an instance of it named `DATA_SET`, and its line in
`ipv_bench.plugins.OURS` (or an entry point of another package). Decoding, geometry, sharding, supervision, resume and
tables are the same for all of them: a data set only says which items there are, where their frames lie, and which
frames and which part of each picture are kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from ipv_bench.plugins import find_plugin
from pipelines.datasets.prepare_config import Crop, PrepareConfig

if TYPE_CHECKING:  # decoder processes import this module, and they need not load pyarrow
    from ipv_bench.shard_set import SourceStatus

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels of the full picture; right and bottom are exclusive."""


@dataclass(frozen=True)
class VideoFile:
    """Frames in a video file, numbered from 0 in decoded order.

    Attributes:
        path: relative to the source folder.
    """

    path: str


@dataclass(frozen=True)
class ImageFiles:
    """Frames in picture files (JPEG, PNG, ...).

    Attributes:
        folder: relative to the source folder.
        names: file names below `folder`, in frame order; only those that the profile selects.
        numbers: the source frame number of each, increasing.
        sizes: size of each file in bytes; part of the inventory's hash.
        width: that the pictures have, in pixels, where boxes depend on it; 0 where any will do.
    """

    folder: str
    names: tuple[str, ...]
    numbers: tuple[int, ...]
    sizes: tuple[int, ...] = ()
    width: int = 0


@dataclass(frozen=True)
class ArrayFile:
    """Frames in one array of an `.npz` file, uint8 (T, H, W, 3).

    Attributes:
        path: relative to the source folder.
        field: name of the array.
    """

    path: str
    field: str = "image"


@dataclass(frozen=True)
class VideoRange:
    """Consecutive frames of a video file that holds many episodes, found by their times.

    Attributes:
        path: relative to the source folder.
        start_seconds: time of the first frame in the file.
        num_frames: how many.
        fps: frames per second; frame i lies at `start_seconds + i / fps`.
        file_bytes: size of the whole file; part of the inventory's hash.
    """

    path: str
    start_seconds: float
    num_frames: int
    fps: float
    file_bytes: int = 0


@dataclass(frozen=True)
class TableRows:
    """Consecutive rows of a Parquet file.

    Attributes:
        path: relative to the source folder.
        first, count: the rows.
        key: (column, value): what that column holds in each of these rows; ("", 0) without such a column.
        file_bytes: size of the whole file; part of the inventory's hash.
    """

    path: str
    first: int
    count: int
    key: tuple[str, int] = ("", 0)
    file_bytes: int = 0


@dataclass(frozen=True)
class TablePictures:
    """Frames in a column of a Parquet file, one picture file (JPEG, PNG, ...) in each row."""

    rows: TableRows
    column: str


@dataclass(frozen=True)
class TableVideo:
    """Frames of a whole video file that a row of a Parquet file holds; `rows` is that one row."""

    rows: TableRows
    column: str


@dataclass(frozen=True)
class TrackSpec:
    """One track that every sample of the set gets; see `ipv_bench.tracks`.

    Attributes:
        name: in the set, and of the array in the source.
        dtype: stored type, "float32" or "uint8".
        shape: of one frame's entry.
        unit: in words, for the manifest.
        note: how it came to be, for the manifest.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    unit: str = ""
    note: str = ""


@dataclass(frozen=True)
class TrackFile:
    """Where the tracks of an item are: arrays of an `.npz` file, one entry per decoded frame.

    Attributes:
        path: relative to the source folder.
        specs: what is stored of it.
        taken_at: names of the arrays that hold what was done at frame t, and so led into frame t + 1: shifted by one.
    """

    path: str
    specs: tuple[TrackSpec, ...]
    taken_at: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrackRows:
    """Tracks in columns of a Parquet file, one row per frame.

    Attributes:
        rows: of the item.
        specs: what is stored.
        columns: the column of each of `specs`.
        taken_at: names of tracks that hold what was done at frame t, and so led into frame t + 1: shifted by one.
        fps: when set, the column `timestamp` must hold i / fps, and `frame_index` i, in row i of the item.
    """

    rows: TableRows
    specs: tuple[TrackSpec, ...]
    columns: tuple[str, ...]
    taken_at: tuple[str, ...] = ()
    fps: float = 0.0


@dataclass(frozen=True)
class FrameSelection:
    """Which frames of a source item are kept, as 0-based positions in decoded (or listed) order.

    Attributes:
        first: first position that may be kept.
        stride: distance between kept positions.
        fps: when set, frames are picked by their timestamps instead: for each k ≥ 0, the first frame whose time since
            position `first` lies in [k / fps, (k + 1) / fps). A source slower than `fps` never has a frame twice.
        positions: when set, exactly these positions, increasing; `first`, `stride` and `fps` are then not used.
    """

    first: int = 0
    stride: int = 1
    fps: float | None = None
    positions: tuple[int, ...] | None = None


Frames = VideoFile | VideoRange | ImageFiles | ArrayFile | TablePictures | TableVideo


@dataclass(frozen=True)
class SourceItem:
    """One video (or scenario, episode, folder of frames) of a release; it becomes one sample unless `clip_frames` cuts.

    Attributes:
        source_id: unique in the release; any text.
        path: what identifies it on disk, relative to the source folder.
        size_bytes: of its files.
        frames: where the frames are; None when `excluded` or `problem` says that there are none to read.
        label: class or action name, empty without one.
        split: "train", "validation", ...; empty without one.
        selection: which frames are kept; None takes `skip_frames`, `frame_stride` and `fps` from the config.
        crop: cut before scaling; None takes the config's.
        boxes: one box per kept frame of an `ImageFiles` item, used in place of `crop`.
        fps: frames per second of picture files and arrays before selection; 0 where unknown (videos know theirs).
        excluded: why this item is left out by rule ("test split has no labels"); empty when it is not.
        problem: (reason, message) when it is known to be unusable before decoding; see
            `pipelines.datasets.quarantine.REASONS`.
        metadata: what else goes into the sample's JSON; JSON values only.
        tracks: arrays beside the frames; None without any. Every frame of such an item is kept from the first kept one
            on: a track's entry belongs to one step.
    """

    source_id: str
    path: str
    size_bytes: int
    frames: Frames | None
    label: str = ""
    split: str = ""
    selection: FrameSelection | None = None
    crop: Crop | None = None
    boxes: tuple[Box, ...] | None = None
    fps: float = 0.0
    excluded: str = ""
    problem: tuple[str, str] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tracks: TrackFile | TrackRows | None = None


def item_text(item: SourceItem) -> bytes:
    """All that is known about an item as one line of JSON, for the hashes of inventory and plan."""
    return _ENCODER.encode(item).encode()


def _facts(value: object) -> dict[str, Any]:
    """The fields of a dataclass, and a mapping, as JSON takes them.

    `dataclasses.asdict` copies every name and number of an item; for the 220,847 of Something-Something-v2, hashed four
    times, that took a minute.
    """
    if isinstance(value, Mapping):
        return dict(value)
    kind: type = type(value)
    if not is_dataclass(kind):
        raise TypeError(f"a {kind.__name__} has no place in an inventory")
    facts = {name: getattr(value, name) for name in _names(kind)}
    if isinstance(value, SourceItem) and value.tracks is None:
        del facts["tracks"]  # hashes of what has none are what they were before there were tracks
    return facts


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=_facts)


@dataclass(frozen=True)
class Anomaly:
    """Something odd about a release that is known and fine, printed as such and kept in the manifest."""

    source_id: str
    note: str


@dataclass(frozen=True)
class Count:
    """A count, the rule that gave it, and what others state.

    Attributes:
        rule: in words ("listed in train and validation, at least 25 decoded frames").
        ours: what this run counted.
        paper: what the paper says, None where it says nothing.
        official: what the published lists or code give, None where unknown.
        note: how the difference comes about.
    """

    rule: str
    ours: int
    paper: int | None = None
    official: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Inventory:
    """Everything found in a release, before decoding.

    Attributes:
        items: sorted by source id; ids are unique (a second item of the same id gets the problem `duplicate_id` and
            an id that says so).
        anomalies: known oddities that were met.
        warnings: lines for the user: what is missing or unexpected, and what was done about it.
        notes: lines for the user that are no warnings: what was taken for granted, and how to say otherwise.
        archive: pieces of the split archive that holds the items' files, in order; the items' paths are then those
            that its members get once they are laid out. Where the files lay is no part of the inventory's hash.
        replaced: paths that the archive holds more than once → members before the last, which is taken; as `archive`.
        tracks: that every written item has; none for unlabelled sets.
        licence: what the release itself says of its licence; empty takes the data set's words. No part of the hash.
    """

    items: tuple[SourceItem, ...]
    anomalies: tuple[Anomaly, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    archive: tuple[str, ...] = ()
    replaced: Mapping[str, int] = field(default_factory=dict)
    tracks: tuple[TrackSpec, ...] = ()
    licence: str = ""

    def sha256(self) -> str:
        """Hash of all that is known about the items, in order: ids, paths, sizes, labels, selection, boxes, tracks."""
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        digest = hashlib.sha256()
        for item in self.items:
            digest.update(item_text(item))
        return digest.hexdigest()


@dataclass(frozen=True)
class SourceRow:
    """Outcome of one source item: a row of `sources.parquet`, and what `DataSet.counts` counts."""

    source_id: str
    path: str
    status: SourceStatus
    reason: str = ""
    message: str = ""
    num_frames_decoded: int = 0
    num_frames_header: int = -1
    fps: float = 0.0
    height: int = 0
    width: int = 0
    codec: str = ""


class DataSet(Protocol):
    """A data set that `prepare` can read.

    Attributes:
        name: as on the command line; shards are `<name>-000000.tar`.
        config: the config class with this data set's defaults (the `paper` profile).
        profiles: profile name → fields that differ from the defaults; has "paper", and may have "official-code".
        licence: one or two sentences for the manifest.
        redistribution: optional: why its videos may not be passed on; `export --to hf` refuses a public target then.
        refuse_unheeded: optional: method that takes the config and raises ConfigError for fields that this data set
            does not heed, as they would stand in the manifest and be false. `prepare` asks it; `verify --source` does
            not: what a set was made with cannot be changed any more.
        help: where one applies for the release, and how its files must be laid out; shown when files are missing.
    """

    name: str
    config: type[PrepareConfig]
    profiles: Mapping[str, Mapping[str, Any]]
    licence: str
    help: str

    def inventory(self, source: Path, config: PrepareConfig) -> Inventory:
        """List the release.

        Raises:
            SourceError: the folder is not this release, or parts of it are missing.
        """

    def counts(self, inventory: Inventory, rows: Sequence[SourceRow], config: PrepareConfig) -> list[Count]:
        """Which rule gave which count, once every item has its outcome (`rows` are in inventory order)."""


Profile = Literal["paper", "official-code"]


MEMBERS = ("name", "config", "profiles", "licence", "help", "inventory", "counts")


def data_set(name: str) -> DataSet:
    """The data set called `name`.

    Raises:
        UnknownNameError: there is none.
        PluginError: it belongs to another package and does not work.
    """
    return cast(DataSet, find_plugin("datasets", name).load(MEMBERS))
