"""`verify`: whether a shard set is what its manifest says, byte for byte, and what other people's loaders will read.

Checked: the manifest's own checksum; the sha256 of every table and shard; that nothing is missing or left over; each
tar's members against the index (key rule, adjacency, offsets, sizes); the frame offsets against the JPEGs; every track
against the manifest (type, shape, length, finite, no action into frame 0); a walk by plain `webdataset.WebDataset`; and
the decoding of all or of some samples. `prepare_log.jsonl` says when and where the set was made; it is no part of the
set's identity and is not checked.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from ipv_bench.atomic_file import TEMPORARY_SUFFIX
from ipv_bench.bounded_arrays import read_npy
from ipv_bench.bounded_file import read_bytes
from ipv_bench.bounded_json import as_model, parse_json
from ipv_bench.bounded_tables import read_table
from ipv_bench.errors import ShardSetError, UsageError
from ipv_bench.progress import progress
from ipv_bench.shard_set import (
    CARD_FILE,
    FORMAT,
    FRAMES_FILE,
    LOG_FILE,
    MANIFEST_FILE,
    MAX_MANIFEST_BYTES,
    QUARANTINE_FILE,
    SAMPLES_FILE,
    SOURCES_FILE,
    SOURCES_SCHEMA,
    Manifest,
    file_sha256,
    manifest_text,
    parse_manifest,
    samples_schema,
)
from pipelines.shards.verify_shard import ShardContents, check_shard

FindingKind = Literal[
    "manifest", "missing", "checksum", "leftover", "table", "tar", "frames", "tracks", "webdataset", "decode", "source"
]

TABLES = (SOURCES_FILE, SAMPLES_FILE, FRAMES_FILE, QUARANTINE_FILE)


@dataclass(frozen=True)
class Finding:
    """One defect.

    Attributes:
        kind: what was checked.
        file: file of the set, relative to its folder.
        message: what was found, and what was expected.
        repair: what to do about it.
    """

    kind: FindingKind
    file: str
    message: str
    repair: str


@dataclass
class Verification:
    """What `verify` found, and how much it looked at.

    Attributes:
        num_sources_decoded: source items that were decoded again.
        num_sources_equal: those of them that gave frames, the same as are stored.
        not_compared: source items that this machine, or the one that made the set, could not decode within its limits:
            no defect, and no proof either.
    """

    folder: str
    findings: list[Finding] = field(default_factory=list)
    num_files: int = 0
    num_shards: int = 0
    num_samples: int = 0
    num_frames: int = 0
    num_frames_decoded: int = 0
    num_sources_decoded: int = 0
    num_sources_equal: int = 0
    not_compared: list[str] = field(default_factory=list)

    def add(self, kind: FindingKind, file: str, message: str, repair: str = "") -> None:
        """Note a defect."""
        self.findings.append(Finding(kind, file, message, repair or self.rebuild(file)))

    def rebuild(self, file: str) -> str:
        """How to repair a damaged file."""
        again = "run the same `ipv-bench prepare` command again"
        if re.search(r"-\d{6}\.(tar|json)$", file):
            return f"{again}: it finds damaged shards and makes them anew"
        return f"{again}: it writes the tables and the manifest anew"

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self) | {"ok": not self.findings}

    def lines(self) -> list[str]:
        """For people: one line per defect with its repair, then the sum."""
        found = []
        for finding in self.findings:
            found.append(f"{finding.kind}: {finding.file}: {finding.message}\n  to do:    {finding.repair}")
        found += [f"not compared: {line}" for line in self.not_compared]
        state = "ok" if not self.findings else f"{len(self.findings)} defects"
        looked_at = f"{self.num_shards} shards, {self.num_samples} samples, {self.num_frames} frames"
        decoded = f"{self.num_frames_decoded} frames decoded"
        if self.num_sources_decoded:
            decoded += f", {self.num_sources_decoded} source items decoded again"
        if self.not_compared:
            decoded += f", {len(self.not_compared)} not compared"
        return [*found, f"{self.folder}: {state} ({looked_at}, {decoded})"]


def verify(folder: str | Path, decode: Literal["all"] | int = 0) -> Verification:
    """Check a local shard set.

    Args:
        folder: the shard set.
        decode: decode the frames of all samples, or of this many, spread evenly over the set.

    Returns:
        All defects found. None means: every byte is as it was written, and readers get what the manifest says.

    Raises:
        ShardSetError: there is no shard set in `folder`, or one of a newer format version.
        UsageError: `decode` is negative, or `folder` is an address.
    """
    if "://" in str(folder):
        raise UsageError(f"{folder} is remote", expected="a local folder", fix="copy the set here, then verify it")
    if decode != "all" and decode < 0:
        raise UsageError(
            f"decode is {decode}",
            expected="'all', or a number of samples",
            fix="decode=0 checks bytes and tables alone",
        )
    folder = Path(folder)
    result = Verification(str(folder))
    manifest = _check_manifest(folder, result)
    if manifest is None:
        return result
    damaged = _check_files(folder, manifest, result)
    tables = _Tables.read(folder, manifest, damaged, result)
    if tables is not None:
        tables.check(manifest, result)
        _check_shards(folder, manifest, tables, damaged, decode, result)
    return result


def _check_manifest(folder: Path, result: Verification) -> Manifest | None:
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise ShardSetError(
            f"{folder} has no {MANIFEST_FILE}",
            expected="a complete shard set",
            fix="make it with `ipv-bench prepare`, or run the interrupted command again",
        )
    text = read_bytes(path, error=ShardSetError, limit=MAX_MANIFEST_BYTES, fix=result.rebuild(MANIFEST_FILE))
    result.num_files += 1
    values: dict[str, Any] = {}
    try:
        values = parse_json(text, str(path), error=ShardSetError, expect=dict)
        manifest = as_model(Manifest, values, str(path), error=ShardSetError)
        intact = manifest_text(manifest) == text
    except ShardSetError as error:
        if isinstance(values.get("format"), int) and values["format"] > FORMAT:
            parse_manifest(text, str(path))  # raises: a newer format may have other fields
        result.add("manifest", MANIFEST_FILE, f"it is damaged: {error.found}")
        return None
    if manifest.format > FORMAT and (intact or not manifest.checksum):
        parse_manifest(text, str(path))
    if not intact:
        result.add("manifest", MANIFEST_FILE, "its text does not fit its own checksum: a byte was changed")
        return None
    return manifest


def _check_files(folder: Path, manifest: Manifest, result: Verification) -> set[str]:
    """Sizes and sha256 of all files; returns the names of those that are missing or damaged."""
    expected = {name: (manifest.tables.get(name, ""), -1) for name in {*TABLES, *manifest.tables}}
    expected |= {shard.file: (shard.sha256, shard.size_bytes) for shard in manifest.shards}
    damaged = set()
    total = sum(shard.size_bytes for shard in manifest.shards)
    with progress("verify: sha256", total / 1e6, "MB") as bar:
        for name, (sha256, size) in sorted(expected.items()):
            path = folder / name  # a file name by the manifest's own rule
            result.num_files += 1
            if os.path.realpath(path) != os.path.join(os.path.realpath(folder), name) and path.exists():
                result.add("leftover", name, "it is a link", f"put the file itself in place of the link {path}")
            elif not path.is_file():
                result.add("missing", name, "the file is missing")
            elif size >= 0 and path.stat().st_size != size:
                result.add("checksum", name, f"it has {path.stat().st_size} bytes, expected {size}")
            elif (found := file_sha256(path)) != sha256:
                result.add("checksum", name, f"its sha256 is {found}, expected {sha256 or 'one in the manifest'}")
            else:
                bar.advance(max(size, 0) / 1e6)
                continue
            damaged.add(name)
    known = {*expected, MANIFEST_FILE, LOG_FILE, CARD_FILE}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and name not in known and not name.startswith(".") and not name.endswith(TEMPORARY_SUFFIX):
            result.add("leftover", name, "the manifest does not know this file", f"delete {path}")
    return damaged


@dataclass
class _Tables:
    sources: pa.Table
    samples: pa.Table
    frame_offsets: np.ndarray
    num_quarantine_lines: int

    @classmethod
    def read(cls, folder: Path, manifest: Manifest, damaged: set[str], result: Verification) -> _Tables | None:
        """The tables, or None when one of them is damaged."""
        if damaged & set(TABLES):
            return None
        try:
            sources = read_table(folder / SOURCES_FILE, SOURCES_SCHEMA, error=ShardSetError)
            samples = read_table(folder / SAMPLES_FILE, samples_schema(bool(manifest.tracks)), error=ShardSetError)
            offsets = read_npy(folder / FRAMES_FILE, error=ShardSetError, mapped=True)
            lines = read_bytes(folder / QUARANTINE_FILE, error=ShardSetError).count(b"\n")
        except ShardSetError as error:
            result.add("table", manifest.name, f"a table cannot be read: {error.found}")
            return None
        return cls(sources, samples, offsets, lines)

    def check(self, manifest: Manifest, result: Verification) -> None:
        """The tables against one another and against the manifest's totals."""
        status = Counter(self.sources["status"].to_pylist())
        num_frames = int(np.sum(self.samples["num_frames"].to_numpy(), dtype=np.int64))
        found = {
            "num_sources": len(self.sources),
            "num_quarantined": status["quarantined"],
            "num_too_short": status["too_short"],
            "num_excluded": status["excluded"],
            "num_samples": len(self.samples),
            "num_frames": num_frames,
            "size_bytes": sum(shard.size_bytes for shard in manifest.shards),
        }
        for name, value in found.items():
            if manifest.totals.get(name, value) != value:
                result.add("table", MANIFEST_FILE, f"{name} is {manifest.totals[name]}, the tables hold {value}")
        if self.num_quarantine_lines != status["quarantined"]:
            message = f"{self.num_quarantine_lines} lines for {status['quarantined']} quarantined sources"
            result.add("table", QUARANTINE_FILE, message)
        self._check_sources(result)
        expected = num_frames if manifest.encoding == "mjpeg" else 0
        if self.frame_offsets.dtype != np.uint32 or self.frame_offsets.shape != (expected,):
            message = f"it holds {self.frame_offsets.dtype} {self.frame_offsets.shape}, expected uint32 ({expected},)"
            result.add("table", FRAMES_FILE, message)
        result.num_samples, result.num_frames = len(self.samples), num_frames

    def _check_sources(self, result: Verification) -> None:
        ids = self.sources["source_id"].to_pylist()
        statuses = self.sources["status"].to_pylist()
        for source_id, count in Counter(ids).items():
            if count > 1:
                result.add("table", SOURCES_FILE, f"source {source_id!r} is listed {count} times")
        written = {source_id for source_id, status in zip(ids, statuses, strict=True) if status == "written"}
        stored = set(self.samples["source_id"].to_pylist())
        for source_id in sorted(written - stored)[:10]:
            result.add("table", SAMPLES_FILE, f"source {source_id!r} is written but has no sample")
        for source_id in sorted(stored - written)[:10]:
            result.add("table", SOURCES_FILE, f"a sample comes from {source_id!r}, which is not a written source")
        for key, count in Counter(self.samples["key"].to_pylist()).items():
            if count > 1:
                result.add("table", SAMPLES_FILE, f"key {key!r} is used {count} times")


def _check_shards(
    folder: Path,
    manifest: Manifest,
    tables: _Tables,
    damaged: set[str],
    decode: Literal["all"] | int,
    result: Verification,
) -> None:
    shard_of_row = tables.samples["shard"].to_numpy()
    if len(shard_of_row) and not (shard_of_row.min() >= 0 and shard_of_row.max() < len(manifest.shards)):
        result.add("table", SAMPLES_FILE, "a sample is in a shard that the manifest does not list")
        return
    chosen = _rows_to_decode(len(tables.samples), decode)
    with progress("verify: shards", len(manifest.shards), "shards") as bar:
        for number, shard in enumerate(manifest.shards):
            result.num_shards += 1
            rows = np.flatnonzero(shard_of_row == number)
            if shard.file not in damaged:
                contents = ShardContents(
                    folder / shard.file, rows, tables.samples.take(rows), tables.frame_offsets, manifest.encoding,
                    manifest.tracks,
                )  # fmt: skip
                _check_entry(shard.num_samples, shard.num_frames, contents, shard.file, result)
                for kind, message in check_shard(contents, chosen):
                    result.add(kind, shard.file, message)
                result.num_frames_decoded += contents.num_frames_decoded
            bar.advance(1, samples=len(rows))


def _check_entry(num_samples: int, num_frames: int, contents: ShardContents, file: str, result: Verification) -> None:
    found = len(contents.rows), int(np.sum(contents.table["num_frames"].to_numpy(), dtype=np.int64))
    if found != (num_samples, num_frames):
        message = (
            f"the manifest says {num_samples} samples and {num_frames} frames, the index {found[0]} and {found[1]}"
        )
        result.add("table", file, message)


def _rows_to_decode(num_samples: int, decode: Literal["all"] | int) -> frozenset[int]:
    if decode == "all" or decode >= num_samples:
        return frozenset(range(num_samples))
    return frozenset(np.linspace(0, num_samples - 1, decode).round().astype(int).tolist())
