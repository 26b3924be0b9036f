"""The tables and the manifest of a finished set, made from the sidecars of its shards."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib import format as npy_format

from ipv_bench.atomic_file import atomic_writer, write_bytes
from ipv_bench.errors import OutputError
from ipv_bench.shard_set import (
    FRAMES_FILE,
    QUARANTINE_FILE,
    SAMPLES_FILE,
    SOURCES_FILE,
    SOURCES_SCHEMA,
    Manifest,
    ShardEntry,
    file_sha256,
    samples_schema,
    write_manifest,
)
from ipv_bench.tracks import TrackEntry
from pipelines.datasets.base import DataSet, SourceRow, TrackSpec
from pipelines.shards.plan import Plan
from pipelines.shards.shard_writer import StoredShard, read_sidecar
from pipelines.shards.versions import refuse_mixed, versions


def write_tables(plan: Plan, data_set: DataSet, out: Path) -> Manifest:
    """Write sources.parquet, samples.parquet, frames.npy, quarantine.jsonl and, last, manifest.json.

    Raises:
        OutputError: a sidecar vanished meanwhile, or the folder cannot be written.
    """
    rows: list[SourceRow] = []
    schema = samples_schema(bool(plan.inventory.tracks))
    samples: dict[str, list[Any]] = {name: [] for name in schema.names}
    quarantine, machine_dependent, entries, num_frames = [], [], [], 0
    frame_offsets: list[np.ndarray] = []
    for task, shard in zip(plan.tasks, _stored(plan), strict=True):
        shard_samples = shard_frames = 0
        for item, outcome, block in zip(task.items, shard.outcomes, shard.offsets, strict=True):
            rows.append(outcome.row)
            if outcome.row.status == "quarantined":
                quarantine.append(_quarantine_line(outcome.row, not outcome.machine_dependent))
                machine_dependent += [item.source_id] if outcome.machine_dependent else []
            for sample in outcome.samples:
                values = asdict(sample) | {"source_id": item.source_id, "label": item.label, "split": item.split}
                offsets = np.asarray(values.pop("frame_offsets"), np.uint32)
                values |= {"shard": task.index, "frames_start": num_frames if len(offsets) else 0}
                values["stream_offset"] += block
                values["tracks_offset"] += block
                for name, column in samples.items():
                    column.append(values[name])
                frame_offsets.append(offsets)
                num_frames += len(offsets)
                shard_samples, shard_frames = shard_samples + 1, shard_frames + sample.num_frames
        entries.append(
            ShardEntry(
                file=shard.file, num_samples=shard_samples, num_frames=shard_frames,
                size_bytes=shard.size_bytes, sha256=shard.sha256,
            )
        )  # fmt: skip
    _write_parquet(out / SOURCES_FILE, SOURCES_SCHEMA, _source_columns(rows))
    _write_parquet(out / SAMPLES_FILE, schema, samples)
    _write_offsets(out / FRAMES_FILE, frame_offsets, num_frames)
    write_bytes(out / QUARANTINE_FILE, "".join(line + "\n" for line in quarantine).encode())
    status = Counter(row.status for row in rows)
    totals = {
        "num_sources": len(rows),
        "num_samples": sum(entry.num_samples for entry in entries),
        "num_frames": sum(entry.num_frames for entry in entries),
        "num_quarantined": status["quarantined"],
        "num_too_short": status["too_short"],
        "num_excluded": status["excluded"],
        "size_bytes": sum(entry.size_bytes for entry in entries),
    }
    tables = [SOURCES_FILE, SAMPLES_FILE, FRAMES_FILE, QUARANTINE_FILE, *(task.sidecar.name for task in plan.tasks)]
    manifest = Manifest(
        name=plan.name,
        profile=plan.profile,
        encoding=plan.config.encoding,
        options=plan.options,
        inventory_sha256=plan.inventory.sha256(),
        plan_sha256=plan.sha256(),
        versions=versions(plan.config),
        shards=entries,
        tables={name: file_sha256(out / name) for name in tables},
        totals=totals,
        counts=[asdict(count) for count in data_set.counts(plan.inventory, rows, plan.config)],
        known_anomalies=[asdict(anomaly) for anomaly in plan.inventory.anomalies],
        machine_dependent=machine_dependent,
        licence=plan.inventory.licence or data_set.licence,
        tracks={spec.name: _track_entry(spec) for spec in plan.inventory.tracks},
    )
    write_manifest(out, manifest)
    return manifest


def _track_entry(spec: TrackSpec) -> TrackEntry:
    values = asdict(spec) | {"shape": list(spec.shape)}
    del values["name"]
    return TrackEntry.model_validate(values)


def _stored(plan: Plan) -> Iterator[StoredShard]:
    current = versions(plan.config)
    for task in plan.tasks:
        shard = read_sidecar(task.sidecar)
        if shard is None:
            raise OutputError(
                f"{task.sidecar} vanished while the job ran",
                expected="a folder that nothing else changes",
                fix="run the same command again: that shard is made anew",
            )
        refuse_mixed(shard.file, shard.versions, current)
        yield shard


def _source_columns(rows: Sequence[SourceRow]) -> dict[str, list[Any]]:
    return {name: [getattr(row, name) for row in rows] for name in SOURCES_SCHEMA.names}


def _quarantine_line(row: SourceRow, deterministic: bool) -> str:
    names = ("source_id", "path", "reason", "message", "num_frames_decoded", "num_frames_header")
    values = {name: getattr(row, name) for name in names}
    return json.dumps(values | {"deterministic": deterministic}, ensure_ascii=False, sort_keys=True)


def _write_parquet(path: Path, schema: pa.Schema, columns: dict[str, list[Any]]) -> None:
    table = pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    write_bytes(path, buffer.getvalue().to_pybytes())


def _write_offsets(path: Path, offsets: list[np.ndarray], count: int) -> None:
    header = io.BytesIO()
    npy_format.write_array_header_1_0(header, {"descr": "<u4", "fortran_order": False, "shape": (count,)})
    with atomic_writer(path) as file:
        file.write(header.getvalue())
        for part in offsets:
            file.write(part.astype("<u4").tobytes())
