"""Tiny SSv2 releases whose pictures show their frame numbers, encoded by the test."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ipv_bench.cli import run
from ipv_bench.shard_set import LOG_FILE, file_sha256
from pipelines.samples.frame_number import draw_number

LABELS = ("Holding something", "Moving something up", "Pushing something from left to right")
TEMPLATES = ("Holding [something]", "Moving [something] up", "Pushing [something] from left to right")
VIDEO_FOLDER = "20bn-something-something-v2"


def numbered_pictures(count: int, height: int = 48, width: int = 64, first: int = 0) -> list[np.ndarray]:
    """`count` grey pictures, each with its number in the middle."""
    pictures = []
    for number in range(first, first + count):
        picture = np.full((height, width, 3), 120, np.uint8)
        draw_number(picture, number)
        pictures.append(picture)
    return pictures


def write_video(
    path: Path,
    pictures: Iterable[np.ndarray],
    *,
    codec: str = "libvpx-vp9",
    pix_fmt: str = "yuv420p",
    fps: int = 12,
    pts: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encode a video; `pts` are times in milliseconds, for a variable frame rate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    defaults = {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b": "2M"} if codec == "libvpx-vp9" else {}
    with av.open(str(path), "w", options={"fflags": "+bitexact", **(container_options or {})}) as container:
        stream = None
        for number, picture in enumerate(pictures):
            if stream is None:
                stream = container.add_stream(codec, rate=fps, options=defaults | (options or {}))
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = pix_fmt
                stream.codec_context.thread_count = 1
                if pts is not None:
                    stream.codec_context.time_base = Fraction(1, 1000)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
            frame.pts = number if pts is None else pts[number]
            frame.time_base = Fraction(1, fps) if pts is None else Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_lists(source: Path, ids: Sequence[str], *, prefix: str = "", templates: Sequence[str] = TEMPLATES) -> None:
    """Label lists that name `ids`; every fifth one is in validation."""
    folder = source / "labels"
    folder.mkdir(parents=True, exist_ok=True)
    lists: dict[str, list] = {"train": [], "validation": []}
    for number, source_id in enumerate(ids):
        entry = {"id": source_id, "template": templates[number % len(templates)], "label": "x", "placeholders": ["x"]}
        lists["validation" if number % 5 == 4 else "train"].append(entry)
    for split, entries in lists.items():
        (folder / f"{prefix}{split}.json").write_text(json.dumps(entries))
    (folder / f"{prefix}test.json").write_text(json.dumps([{"id": "900001"}]))
    (folder / f"{prefix}labels.json").write_text(json.dumps({name: str(i) for i, name in enumerate(LABELS)}))


def make_release(source: Path, lengths: Sequence[int]) -> list[str]:
    """One video per length, with ids "1000", "1001", …"""
    ids = [str(1000 + number) for number in range(len(lengths))]
    for source_id, length in zip(ids, lengths, strict=True):
        write_video(source / VIDEO_FOLDER / f"{source_id}.webm", numbered_pictures(length))
    write_lists(source, ids)
    return ids


def prepare(source: Path, out: Path, *options: str, name: str = "ssv2", workers: int = 1) -> int:
    """Exit status of the `prepare` command."""
    arguments = ["prepare", name, "--source", str(source), "--out", str(out), "--workers", str(workers), *options]
    return run(arguments)


def file_hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file that belongs to the set's identity."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != LOG_FILE]
    return {str(path.relative_to(folder)): file_sha256(path) for path in paths}


def quarantine(out: Path) -> dict[str, dict]:
    """Source id → its line in quarantine.jsonl."""
    lines = (out / "quarantine.jsonl").read_text().splitlines()
    return {entry["source_id"]: entry for entry in map(json.loads, lines)}
