"""Small shard sets of format 1 whose frames say which frame they are, written without a video decoder."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg

from ipv_bench.shard_set import (
    FRAMES_FILE,
    QUARANTINE_FILE,
    SAMPLES_FILE,
    SAMPLES_SCHEMA,
    SOURCES_FILE,
    SOURCES_SCHEMA,
    Manifest,
    file_sha256,
    sample_keys,
    shard_name,
    write_manifest,
)


@dataclass(frozen=True)
class Video:
    """A source video to be stored."""

    source_id: str
    num_frames: int
    split: str = "train"
    label: str = ""
    size: tuple[int, int] = (64, 64)


def numbered_frames(number: int, count: int, size: tuple[int, int] = (64, 64), first: int = 0) -> np.ndarray:
    """(count, H, W, 3): the left half shows the frame's number / 4, the right half the video's number * 8."""
    frames = np.zeros((count, *size, 3), np.uint8)
    frames[:, :, : size[1] // 2] = (np.arange(first, first + count) // 4 % 256).astype(np.uint8)[:, None, None, None]
    frames[:, : size[0] // 2, : size[1] // 2] = (np.arange(first, first + count) % 4 * 80)[:, None, None, None]
    frames[:, :, size[1] // 2 :] = number * 8 % 256
    return frames


def read_numbers(frames: np.ndarray) -> tuple[list[int], list[int]]:
    """The frame numbers and the video numbers that `frames` show."""
    height, width = frames.shape[1:3]
    fours = frames[:, height * 3 // 4, width // 4, 0].astype(int)
    rest = np.rint(frames[:, height // 4, width // 4, 0] / 80).astype(int)
    videos = np.rint(frames[:, height // 2, width * 3 // 4, 0] / 8).astype(int)
    return (fours * 4 + rest).tolist(), videos.tolist()


def make_shard_set(
    folder: Path,
    videos: list[Video],
    *,
    name: str = "numbers",
    encoding: str = "mjpeg",
    clip_frames: int | None = None,
    samples_per_shard: int = 4,
) -> Path:
    """Write a complete set; video number `n` is `videos[n]`."""
    folder.mkdir(parents=True)
    keys = sample_keys([video.source_id for video in videos])
    pieces = []
    for number, (video, key) in enumerate(zip(videos, keys, strict=True)):
        step = clip_frames or video.num_frames
        for clip, first in enumerate(range(0, video.num_frames, step)):
            count = min(step, video.num_frames - first)
            frames = numbered_frames(number, count, video.size, first)
            pieces.append((video, key if clip_frames is None else f"{key}-{clip}", clip, first, frames))
    rows, offsets, shards = [], [], []
    for index in range(0, -(-len(pieces) // samples_per_shard)):
        path = folder / shard_name(name, index)
        taken = pieces[index * samples_per_shard : (index + 1) * samples_per_shard]
        frames_before = len(offsets)
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            for video, key, clip, first, frames in taken:
                stream, starts = _encode(frames, encoding)
                _add(tar, f"{key}.json", json.dumps({"source_id": video.source_id, "num_frames": len(frames)}).encode())
                offset = _add(tar, f"{key}.{'mjpeg' if encoding == 'mjpeg' else 'npy'}", stream)
                height, width = video.size
                row = (
                    key,
                    video.source_id,
                    clip,
                    index,
                    offset,
                    len(stream),
                    len(frames),
                    height,
                    width,
                    first,
                    1,
                    12.0,
                )
                rows.append((*row, video.label, video.split, len(offsets)))
                offsets += starts
        num_frames = sum(len(frames) for *_, frames in taken)
        assert encoding != "mjpeg" or num_frames == len(offsets) - frames_before
        entry = {"file": path.name, "num_samples": len(taken), "num_frames": num_frames}
        shards.append(entry | {"size_bytes": path.stat().st_size, "sha256": file_sha256(path)})
    _write_tables(folder, videos, rows, offsets)
    _write_manifest(folder, name, encoding, shards, len(videos))
    return folder


def _encode(frames: np.ndarray, encoding: str) -> tuple[bytes, list[int]]:
    if encoding == "raw":
        buffer = io.BytesIO()
        np.save(buffer, frames)
        return buffer.getvalue(), []
    images = [simplejpeg.encode_jpeg(np.ascontiguousarray(f), quality=95, colorsubsampling="444") for f in frames]
    return b"".join(images), [sum(map(len, images[:number])) for number in range(len(images))]


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    offset = tar.offset + 512
    tar.addfile(member, io.BytesIO(data))
    return offset


def _write_tables(folder: Path, videos: list[Video], rows: list[tuple], offsets: list[int]) -> None:
    columns = [list(column) for column in zip(*rows, strict=True)]
    pq.write_table(pa.table(columns, schema=SAMPLES_SCHEMA), folder / SAMPLES_FILE)
    sources = [
        (v.source_id, v.source_id, "written", "", "", v.num_frames, v.num_frames, 12.0, *v.size, "vp9") for v in videos
    ]
    table = pa.table([list(column) for column in zip(*sources, strict=True)], schema=SOURCES_SCHEMA)
    pq.write_table(table, folder / SOURCES_FILE)
    np.save(folder / FRAMES_FILE, np.array(offsets, np.uint32))
    (folder / QUARANTINE_FILE).write_bytes(b"")


def _write_manifest(folder: Path, name: str, encoding: str, shards: list[dict], num_sources: int) -> None:
    totals = {
        "num_sources": num_sources,
        "num_samples": sum(entry["num_samples"] for entry in shards),
        "num_frames": sum(entry["num_frames"] for entry in shards),
        "num_quarantined": 0,
        "num_too_short": 0,
        "num_excluded": 0,
        "size_bytes": sum(entry["size_bytes"] for entry in shards),
    }
    tables = (SOURCES_FILE, SAMPLES_FILE, FRAMES_FILE, QUARANTINE_FILE)
    manifest = {
        "format": 1,
        "name": name,
        "profile": "paper",
        "encoding": encoding,
        "options": {"encoding": encoding},
        "inventory_sha256": hashlib.sha256(name.encode()).hexdigest(),
        "plan_sha256": hashlib.sha256(encoding.encode()).hexdigest(),
        "versions": {"ipv-bench": "test"},
        "shards": shards,
        "tables": {table: file_sha256(folder / table) for table in tables},
        "totals": totals,
    }
    write_manifest(folder, Manifest.model_validate(manifest))
