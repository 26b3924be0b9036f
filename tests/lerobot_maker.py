"""Small LeRobot v3 data sets written with PyAV and pyarrow, as the lerobot package lays them out.

Frames show in black and white bars which episode and frame they are, so that a lossy codec cannot confuse them; the
action taken at frame t of episode e is (100 e + t + 1, -(t + 1)), the state (100 e + t, 0, 0).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg

HEIGHT, WIDTH = 48, 64
TASKS = ("pick the cube", "open the drawer")
ENCODERS = {"h264": "libx264", "av1": "libsvtav1"}


def marked_frame(episode: int, frame: int, shade: int = 0) -> np.ndarray:
    """(48, 64, 3): upper half the bits of `frame`, lower half those of `episode`, 8 bars of 8 pixels each."""
    bits = np.array([[number >> bit & 1 for bit in range(8)] for number in (frame, episode)], np.uint8)
    picture = np.repeat(np.repeat(bits * 180 + 30, HEIGHT // 2, 0), WIDTH // 8, 1)[..., None].repeat(3, 2)
    picture[..., 2] = np.minimum(255, picture[..., 2] + shade)
    return picture


def read_marks(frames: np.ndarray) -> list[tuple[int, int]]:
    """(episode, frame) of each of (T, H, W, 3), of any size."""
    height, width = frames.shape[1:3]
    columns = (np.arange(8) * 2 + 1) * width // 16
    rows = [[(frames[:, height * part // 4, columns, 0] > 120) @ (1 << np.arange(8))] for part in (3, 1)]
    return [(int(e), int(f)) for e, f in zip(rows[0][0], rows[1][0], strict=True)]


def write_video(
    path: Path, frames: Sequence[np.ndarray], fps: int, codec: str = "h264", more: dict[str, str] | None = None
) -> None:
    """An mp4 with a key frame every second frame, as lerobot writes them, unless `more` options say otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"g": "2", "crf": "18", "preset": "ultrafast" if codec == "h264" else "12"}
    options |= more or {}
    if codec == "av1":
        options["svtav1-params"] = "lp=1"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(ENCODERS[codec], rate=fps, options=options)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def make_lerobot(
    folder: Path,
    lengths: Sequence[int] = (6, 9, 5),
    *,
    codec: str = "h264",
    cameras: Sequence[str] = ("top",),
    fps: int = 10,
    per_file: int = 2,
    one_row_group: bool = False,
) -> Path:
    """Write a data set; episode n has the task n % 2 and lies in file n // per_file. `codec="png"` is an image set."""
    keys = [f"observation.images.{camera}" for camera in cameras]
    info: dict[str, Any] = {
        "codebase_version": "v3.0", "robot_type": "toy", "total_episodes": len(lengths), "total_frames": sum(lengths),
        "total_tasks": len(TASKS), "chunks_size": 1000, "data_files_size_in_mb": 100, "video_files_size_in_mb": 200,
        "fps": fps, "splits": {"train": f"0:{len(lengths) - 1}", "test": f"{len(lengths) - 1}:{len(lengths)}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": _features(keys, codec, fps),
    }  # fmt: skip
    rows = _episode_rows(lengths, keys if codec != "png" else [], fps, per_file)
    (folder / "meta").mkdir(parents=True)
    (folder / "meta/info.json").write_text(json.dumps(info, indent=4))
    (folder / "meta/stats.json").write_text("{}")
    table = pa.table({"task_index": [0, 1], "__index_level_0__": list(TASKS)})
    pq.write_table(table, folder / "meta/tasks.parquet")
    _write(folder / "meta/episodes/chunk-000/file-000.parquet", [pa.Table.from_pylist(rows)])
    for first in range(0, len(lengths), per_file):
        episodes = range(first, min(first + per_file, len(lengths)))
        number = first // per_file
        tables = [_data(episode, lengths, fps, keys if codec == "png" else []) for episode in episodes]
        parts = [pa.concat_tables(tables)] if one_row_group else tables
        _write(folder / f"data/chunk-000/file-{number:03d}.parquet", parts)
        for shade, key in enumerate(keys if codec != "png" else []):
            frames = [marked_frame(e, f, 20 * shade) for e in episodes for f in range(lengths[e])]
            write_video(folder / f"videos/{key}/chunk-000/file-{number:03d}.mp4", frames, fps, codec)
    return folder


def change_info(folder: Path, **values: Any) -> None:
    """Change entries of `meta/info.json`; None takes one out."""
    path = folder / "meta/info.json"
    info = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in info.items() if value is not None}))


def change_episodes(folder: Path, **columns: Any) -> None:
    """Replace columns of the table of episodes (`videos__top__to` is not spelt out: pass a dict with `**`)."""
    path = folder / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    for name, values in columns.items():
        table = table.set_column(table.schema.names.index(name), name, pa.array(values))
    pq.write_table(table, path)


def _features(keys: Sequence[str], codec: str, fps: int) -> dict[str, Any]:
    scalars = ("timestamp", "frame_index", "episode_index", "index", "task_index")
    features: dict[str, Any] = {
        "action": {"dtype": "float32", "shape": [2], "names": ["x", "y"]},
        "observation.state": {"dtype": "float32", "shape": [3], "names": None},
        "next.reward": {"dtype": "float32", "shape": [1], "names": None},
        "next.done": {"dtype": "bool", "shape": [1], "names": None},
    }
    for key in keys:
        kind = {"dtype": "image" if codec == "png" else "video", "shape": [HEIGHT, WIDTH, 3]}
        features[key] = kind | {"names": ["height", "width", "channels"], "info": {"video.fps": float(fps)}}
    for name in scalars:
        features[name] = {"dtype": "float32" if name == "timestamp" else "int64", "shape": [1], "names": None}
    return features


def _episode_rows(lengths: Sequence[int], keys: Sequence[str], fps: int, per_file: int) -> list[dict[str, Any]]:
    rows = []
    for number, length in enumerate(lengths):
        before, in_file = sum(lengths[:number]), sum(lengths[number // per_file * per_file : number])
        row: dict[str, Any] = {
            "episode_index": number, "tasks": [TASKS[number % 2]], "length": length,
            "data/chunk_index": 0, "data/file_index": number // per_file,
            "dataset_from_index": before, "dataset_to_index": before + length,
        }  # fmt: skip
        for key in keys:
            row |= {f"videos/{key}/chunk_index": 0, f"videos/{key}/file_index": number // per_file}
            row |= {f"videos/{key}/from_timestamp": in_file / fps}
            row |= {f"videos/{key}/to_timestamp": (in_file + length) / fps}
        rows.append(row)
    return rows


def _data(episode: int, lengths: Sequence[int], fps: int, image_keys: Sequence[str]) -> pa.Table:
    count, before = lengths[episode], sum(lengths[:episode])
    frame = np.arange(count)
    columns = {
        "action": [[100.0 * episode + t + 1, -(t + 1.0)] for t in range(count)],
        "observation.state": [[100.0 * episode + t, 0.0, 0.0] for t in range(count)],
        "next.reward": pa.array(frame / 8, pa.float32()),
        "next.done": frame == count - 1,
        "timestamp": pa.array(frame / fps, pa.float32()),
        "frame_index": frame,
        "episode_index": np.full(count, episode),
        "index": before + frame,
        "task_index": np.full(count, episode % 2),
    }
    vector = pa.list_(pa.float32())
    columns["action"] = pa.array(columns["action"], vector)
    columns["observation.state"] = pa.array(columns["observation.state"], vector)
    for key in image_keys:
        cells = [{"bytes": _picture(episode, t), "path": f"frame-{t:06d}.jpg"} for t in range(count)]
        columns[key] = pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    return pa.table(columns)


def _picture(episode: int, frame: int) -> bytes:
    data: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(marked_frame(episode, frame)), 95, "RGB", "444")
    return data


def _write(path: Path, tables: Sequence[pa.Table]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
