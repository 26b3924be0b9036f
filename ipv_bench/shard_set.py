"""Shard set, format 1: the folder that `prepare` writes and everything else reads.

    manifest.json  sources.parquet  samples.parquet  frames.npy  <name>-000000.tar …
    quarantine.jsonl  prepare_log.jsonl

A sample is `<key>.json` and `<key>.mjpeg` (concatenated JPEGs) or `<key>.npy` (uint8, (T, H, W, 3)), and in labelled
sets `<key>.tracks.npz` (`ipv_bench.tracks`), adjacent in one tar that plain `webdataset.WebDataset` reads. `frames.npy`
is a flat uint32 array: for each sample its `num_frames` byte offsets, relative to the stream's start (empty for `.npy`
samples, whose frames have equal size).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, NonNegativeInt, field_validator

from ipv_bench.atomic_file import write_bytes
from ipv_bench.bounded_file import read_bytes
from ipv_bench.bounded_json import MAX_LINE_BYTES, as_model, parse_json
from ipv_bench.errors import InputError, ShardSetError
from ipv_bench.file_names import FileName, Name, is_name, shown
from ipv_bench.sample_encoding import STREAM_EXTENSION as STREAM_EXTENSION
from ipv_bench.sample_encoding import Encoding as Encoding
from ipv_bench.tracks import TrackEntry

FORMAT = 1
MANIFEST_FILE, SOURCES_FILE, SAMPLES_FILE, FRAMES_FILE = (
    "manifest.json",
    "sources.parquet",
    "samples.parquet",
    "frames.npy",
)
QUARANTINE_FILE, LOG_FILE = "quarantine.jsonl", "prepare_log.jsonl"
SOURCE_EVENT = "source_folder"
"""Event in the log that says where the release lies: {event, path}."""
CARD_FILE = "README.md"
"""What `export --to hf` adds: for people, no part of the set's identity."""
_MAKE_ANEW = "run the same `ipv-bench prepare` command again"
MAX_MANIFEST_BYTES = 256 << 20
"""A shard takes about 250 bytes of it."""

SourceStatus = Literal["written", "too_short", "quarantined", "excluded"]

SOURCES_SCHEMA = pa.schema(
    [
        ("source_id", pa.string()),
        ("path", pa.string()),  # relative to --source
        ("status", pa.string()),
        ("reason", pa.string()),  # typed reason, empty when written
        ("message", pa.string()),  # the decoder's words
        ("num_frames_decoded", pa.int64()),
        ("num_frames_header", pa.int64()),  # -1 where the header says nothing
        ("fps", pa.float64()),  # 0 where unknown
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("codec", pa.string()),
    ]
)
"""One row per source item, also those not written, in inventory order."""

SAMPLES_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("source_id", pa.string()),
        ("clip_index", pa.int32()),  # 0 unless `clip_frames` cuts long sources
        ("shard", pa.int32()),
        ("stream_offset", pa.int64()),  # of the .mjpeg or .npy member's data in the tar
        ("stream_size", pa.int64()),
        ("num_frames", pa.int32()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("first_source_frame", pa.int64()),
        ("frame_stride", pa.int32()),
        ("fps", pa.float64()),  # of the stored frames; 0 where unknown
        ("label", pa.string()),
        ("split", pa.string()),
        ("frames_start", pa.int64()),  # index of the first frame offset in frames.npy
    ]
)
"""One row per sample, in storage order."""

TRACK_FIELDS = [
    ("tracks_offset", pa.int64()),  # of the .tracks.npz member's data in the tar
    ("tracks_size", pa.int64()),
]
"""More columns of samples.parquet in sets with tracks; sets without do not have them."""

_KEY = re.compile(r"[A-Za-z0-9_-]{1,100}")


def sample_keys(source_ids: Sequence[str]) -> list[str]:
    """The keys of source items, unique within the list.

    Bytes other than letters, digits, `_` and `-` are written `_xx` (webdataset cuts member names at the first dot, so
    ids that differ only after a dot would merge). Keys over 100 characters, and the rare ids that would still share a
    key, end in a hash of the id.

    Args:
        source_ids: distinct ids of the set's source items.
    """
    keys = [_escape(source_id) for source_id in source_ids]
    seen = Counter(keys)
    return [
        key
        if len(key) <= 100 and seen[key] == 1
        else f"{key[:67]}-{hashlib.sha256(source_id.encode()).hexdigest()[:32]}"
        for key, source_id in zip(keys, source_ids, strict=True)
    ]


def _escape(source_id: str) -> str:
    return re.sub(rb"[^A-Za-z0-9_-]", lambda match: b"_%02x" % match[0][0], source_id.encode()).decode()


def is_key(text: str) -> bool:
    """Whether `text` fits the key rule `[A-Za-z0-9_-]{1,100}`."""
    return _KEY.fullmatch(text) is not None


def shard_name(name: str, index: int) -> str:
    """File name of shard `index` of the set `name`."""
    return f"{name}-{index:06d}.tar"


def samples_schema(with_tracks: bool) -> pa.Schema:
    """Columns of samples.parquet in a set with or without tracks."""
    return pa.schema([*SAMPLES_SCHEMA, *(pa.field(*field) for field in TRACK_FIELDS if with_tracks)])


class ShardEntry(BaseModel):
    """One shard in the manifest."""

    model_config = ConfigDict(extra="forbid")

    file: FileName
    num_samples: NonNegativeInt
    num_frames: NonNegativeInt
    size_bytes: NonNegativeInt
    sha256: str


def called(name: str, dataset: str) -> str:
    """For people: a set's name, and what it is a set of where that is not the same."""
    return name if name == dataset else f"{name}, a set of {dataset}"


class Manifest(BaseModel):
    """The contents of `manifest.json`: facts that the input and the options determine, nothing else."""

    model_config = ConfigDict(extra="allow")

    format: int = FORMAT
    name: Name
    """Of the set: that of its data set, such as "ssv2", unless another was chosen; shards are `<name>-000000.tar`."""
    profile: str
    encoding: Encoding
    options: dict[str, Any]
    """The resolved prepare config, every field that determines bytes."""
    inventory_sha256: str
    """Hash of the sorted inventory: ids, relative paths and sizes of the source items."""
    plan_sha256: str
    """Hash of inventory and options: another plan in the same folder is refused."""
    versions: dict[str, str]
    """ipv-bench, decoder, codec and scaler versions."""
    shards: list[ShardEntry]
    tables: dict[FileName, str]
    """File → sha256 of sources.parquet, samples.parquet, frames.npy and quarantine.jsonl."""
    totals: dict[str, int]
    """num_sources, num_samples, num_frames, num_quarantined, num_too_short, num_excluded, size_bytes."""
    counts: list[dict[str, Any]] = []
    """Which rule gave which count, with the paper's and the official lists' counts beside ours."""
    known_anomalies: list[dict[str, Any]] = []
    machine_dependent: list[str] = []
    """Source ids quarantined for a reason that depends on the machine; identity is relative to this set."""
    licence: str = ""
    tracks: dict[Name, TrackEntry] = {}
    """Name → what each sample's track of that name is; absent from the file of a set without tracks."""

    @field_validator("options")
    @classmethod
    def _of_a_data_set(cls, value: dict[str, Any]) -> dict[str, Any]:
        if "data_set" in value and not is_name(value["data_set"]):
            raise ValueError(f"options.data_set is {shown(value['data_set'])}, which is no name")
        return value

    checksum: str = ""
    """sha256 of this file's text with `checksum` empty, so that `verify` finds a changed byte here too."""

    @property
    def dataset(self) -> str:
        """The data set whose layout and rules it was made by."""
        return str(self.options.get("data_set", self.name))

    @property
    def called(self) -> str:
        """For people: the name, and what it is a set of where that is not the same."""
        return called(self.name, self.dataset)


def manifest_text(manifest: Manifest) -> bytes:
    """The bytes of `manifest.json`: the one way to write this manifest, its checksum filled in."""

    def text(checksum: str) -> bytes:
        values = manifest.model_copy(update={"checksum": checksum}).model_dump(mode="json")
        if not manifest.tracks:  # as it was before there were tracks
            del values["tracks"]
        return (json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()

    return text(hashlib.sha256(text("")).hexdigest())


def write_manifest(folder: str | Path, manifest: Manifest) -> None:
    """Write `manifest.json`, complete or not at all; it comes last, when everything it describes is in place."""
    write_bytes(Path(folder) / MANIFEST_FILE, manifest_text(manifest))


def read_manifest(folder: str | Path) -> Manifest:
    """Read and check `manifest.json`.

    Raises:
        ShardSetError: absent (the set is incomplete), damaged, or of a newer format version.
    """
    path = Path(folder) / MANIFEST_FILE
    if not os.path.lexists(path):
        raise ShardSetError(
            f"{folder} has no {MANIFEST_FILE}",
            expected="a complete shard set",
            fix="make it with `ipv-bench prepare`, or run the interrupted command again",
        )
    return parse_manifest(read_bytes(path, error=ShardSetError, limit=MAX_MANIFEST_BYTES, fix=_MAKE_ANEW), str(path))


class NewerSetError(ShardSetError):
    """A shard set of a format that this version does not know: it may be whole."""


def parse_manifest(text: str | bytes, where: str) -> Manifest:
    """Check the text of a manifest that was read from `where`.

    Raises:
        NewerSetError: of a newer format version.
        ShardSetError: damaged.
    """
    values = parse_json(text, where, error=ShardSetError, expect=dict, fix=_MAKE_ANEW)
    version = values.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise NewerSetError(
            f"{where} has shard set format {version}", expected=f"format {FORMAT}", fix="update ipv-bench"
        )
    return as_model(Manifest, values, where, error=ShardSetError, fix=_MAKE_ANEW)


def noted_source(folder: str | Path) -> str:
    """Where the release lay that a local set was made from, as its log has it last; empty where the log says nothing.

    A fact of the machine that made the set, so it stands outside of the manifest; lines that are no such thing are
    passed over.
    """
    found, path = "", Path(folder) / LOG_FILE
    if not path.is_file():  # a pipe of that name would wait for a writer
        return found
    try:
        with open(path, "rb") as log:
            while line := log.readline(MAX_LINE_BYTES):
                if f'"{SOURCE_EVENT}"'.encode() in line:
                    found = _source_of(line) or found
    except OSError:
        return ""
    return found


def _source_of(line: bytes) -> str:
    try:
        values = parse_json(line, LOG_FILE, expect=dict)
    except InputError:
        return ""
    path = values.get("path") if values.get("event") == SOURCE_EVENT else None
    return path if isinstance(path, str) else ""


def file_sha256(path: str | Path) -> str:
    """sha256 of a file's bytes, as hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
