"""`export --to lerobot`: what `prepare lerobot` reads back is what was exported, and the layout is LeRobot's."""

from __future__ import annotations

import json
import os
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ipv_bench.cli import run
from ipv_bench.errors import ShardSetError
from ipv_bench.exports import video_file
from ipv_bench.exports.lerobot_columns import track_columns
from ipv_bench.segment_source import SegmentSource
from ipv_bench.shard_store import LocalStore
from ipv_bench.tracks import TrackEntry
from pipelines.samples.encode_video import write_h264
from tests.lerobot_maker import marked_frame, read_marks
from tests.shard_set_maker import Video, make_shard_set

LENGTHS = (7, 12, 5)
KEY = "observation.images.main"
LEROBOT_PYTHON = os.environ.get("IPV_BENCH_LEROBOT_PYTHON")
"""A Python in which the lerobot package is installed; the test with it is skipped without."""


def write_release(folder: Path, **changes: np.ndarray) -> Path:
    """Episode files in two folders (their labels), with an action that led into each frame."""
    for number, length in enumerate(LENGTHS):
        t = np.arange(length, dtype=np.float32)
        action = np.stack([t, np.full(length, number + 1, np.float32)], 1)
        action[0] = 0
        arrays = {
            "image": np.stack([marked_frame(number, frame) for frame in range(length)]),
            "action": action,
            "state": np.stack([t, -t, t * t], 1),
            "reward": t / 4,
            "success": t == length - 1,
            "is_first": t == 0,
        }
        path = folder / ("push" if number % 2 else "pull") / f"e{number}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **(arrays | {key: value[:length] for key, value in changes.items()}))
    return folder


def prepare(name: str, source: Path, out: Path, *options: str) -> Path:
    command = ["prepare", name, "--source", str(source), "--out", str(out), "--workers", "1", "--quiet", "--strict"]
    assert run([*command, "--set", "size=native", "--set", "encoding=raw", *options]) == 0
    return out


def contents(folder: Path) -> dict[str, tuple[np.ndarray, dict[str, np.ndarray], str, float]]:
    """Source id → frames, tracks, label, frames per second."""
    source = SegmentSource(LocalStore(folder))
    index = source.index
    found = {}
    for video, length in enumerate(index.video_frames.tolist()):
        tracks = source.tracks(video, 0, length, list(source.manifest.tracks)) if source.manifest.tracks else {}
        fps = float(index.columns["fps"][index.sample_rows[index.video_samples[video]]])
        found[index.video_id(video)] = (source.frames(video, 0, length), tracks, index.label(video), fps)
    return found


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("export")
    return prepare("episodes", write_release(root / "raw"), root / "set")


@pytest.fixture(scope="module")
def exported(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lerobot") / "toy"
    assert run(["export", str(labelled), "--to", "lerobot", "--out", str(out), "--set", "fps=20", "--quiet"]) == 0
    return out


def test_what_comes_back_is_what_was_exported(labelled: Path, exported: Path, tmp_path: Path) -> None:
    before = list(contents(labelled).values())
    after = list(contents(prepare("lerobot", exported, tmp_path / "back")).values())
    assert len(before) == len(after) == 3
    for (frames, tracks, label, _), (frames_back, tracks_back, label_back, fps) in zip(before, after, strict=True):
        assert label == label_back
        assert fps == 20
        assert read_marks(frames_back) == read_marks(frames)
        assert np.abs(frames_back.astype(int) - frames).mean() < 3
        assert tracks.keys() == tracks_back.keys()
        assert all(np.array_equal(tracks[name], tracks_back[name]) for name in tracks)
        assert all(tracks[name].dtype == tracks_back[name].dtype for name in tracks)


def test_the_layout_is_lerobots(exported: Path) -> None:
    info = json.loads((exported / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"], info["fps"]) == (3, 24, 2, 20)
    assert info["features"]["action"] == {"dtype": "float32", "shape": [2], "names": None}
    assert info["features"]["next.success"]["dtype"] == "bool"
    assert info["features"][KEY]["shape"] == [48, 64, 3]
    assert info["splits"] == {"train": "0:3"}
    tasks = pd.read_parquet(exported / "meta/tasks.parquet")
    assert dict(zip(tasks.index, tasks["task_index"], strict=True)) == {"pull": 0, "push": 1}
    episodes = pq.read_table(exported / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    order = (7, 5, 12)  # by id: pull/e0, pull/e2, push/e1
    assert [row["length"] for row in episodes] == list(order)
    data = pq.read_table(exported / info["data_path"].format(chunk_index=0, file_index=0))
    assert set(data.schema.names) == set(info["features"]) - {KEY}
    frames, begin = [], 0
    path = exported / info["video_path"].format(video_key=KEY, chunk_index=0, file_index=0)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = [(float(frame.pts * stream.time_base), frame.key_frame) for frame in container.decode(stream)]
    for number, (row, length) in enumerate(zip(episodes, order, strict=True)):
        part = data.slice(begin, length)
        assert (row["dataset_from_index"], row["dataset_to_index"]) == (begin, begin + length)
        assert part["episode_index"].to_pylist() == [number] * length
        assert part["frame_index"].to_pylist() == list(range(length))
        assert part["index"].to_pylist() == list(range(begin, begin + length))
        assert part["task_index"].to_pylist() == [tasks.loc[row["tasks"][0], "task_index"]] * length
        assert part["next.done"].to_pylist() == [False] * (length - 1) + [True]
        # the action that led into frame 1 was taken at frame 0; none is taken at the last
        assert part["action"].to_pylist()[0][0] == 1.0
        assert part["action"].to_pylist()[-1] == [0.0, 0.0]
        at = row[f"videos/{KEY}/from_timestamp"]
        for frame, timestamp in enumerate(part["timestamp"].to_pylist()):
            # lerobot's loader takes the frame nearest to this time, and none further away than 1e-4 s
            assert min(abs(time - (at + timestamp)) for time, _ in times) < 1e-4
            frames.append(frame)
        assert times[begin][1], "an episode begins with a key frame"
        begin += length
    stats = json.loads((exported / "meta/stats.json").read_text())
    assert np.shape(stats[KEY]["mean"]) == (3, 1, 1)
    action = np.array(data["action"].to_pylist())
    assert np.allclose(stats["action"]["mean"], action.mean(0))
    assert np.allclose(stats["action"]["std"], action.std(0))
    assert stats["action"]["count"] == [24]
    card = (exported / "README.md").read_text()
    assert card.startswith("---\nlicense: other\n")
    assert "next.done" in card


def test_full_files_and_av1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ipv_bench.exports.lerobot._size", lambda path: 1 << 40)  # every file is full after an episode
    folder = tmp_path / "videos"
    for number, split in enumerate(("b", "a", "b")):
        pictures = [np.kron(marked_frame(number, f), np.ones((2, 2, 1), np.uint8)) for f in range(6)]
        write_h264(folder / split / f"v{number}.mp4", pictures, 10)
    shards = prepare("folder", folder, tmp_path / "set", "--set", "label_from=folder")
    out = tmp_path / "out"
    options = ["--set", "codec=av1", "--set", "camera=top", "--quiet"]
    assert run(["export", str(shards), "--to", "lerobot", "--out", str(out), *options]) == 0
    info = json.loads((out / "meta/info.json").read_text())
    assert info["features"]["observation.images.top"]["info"]["video.codec"] == "av1"
    assert len(list(out.glob("videos/observation.images.top/chunk-000/file-00[012].mp4"))) == 3
    assert len(list(out.glob("data/chunk-000/file-00[012].parquet"))) == 3
    back = list(contents(prepare("lerobot", out, tmp_path / "back")).values())
    before = list(contents(shards).values())
    assert [video[2] for video in back] == [video[2] for video in before] == ["a", "b", "b"]
    assert all(video[3] == 10 for video in back)  # the videos' own rate
    assert [read_marks(video[0]) for video in back] == [read_marks(video[0]) for video in before]


def write_film(path: Path, number: int, times: list[float]) -> None:
    """Marked frames at these times, in seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for place, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(marked_frame(number, place), format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("clips", [(), ("--set", "clip_frames=4")])
def test_gaps_in_time_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], clips: tuple[str, ...]) -> None:
    even = [frame / 10 for frame in range(30)]
    write_film(tmp_path / "raw/a.mkv", 0, even)
    write_film(tmp_path / "raw/b.mkv", 1, [time if time < 1 else time + 5 for time in even])
    write_film(tmp_path / "raw/c.mkv", 2, [time if time < 2 else time + 2 for time in even])

    def export(name: str, *options: str) -> str:
        shards = prepare("folder", tmp_path / "raw", tmp_path / name, *clips, *options)
        command = ["export", str(shards), "--to", "lerobot", "--out", str(tmp_path / f"{name}-out")]
        capsys.readouterr()
        assert run([*command, *(() if options else ("--set", "fps=10"))]) == 0
        return "".join(capsys.readouterr())

    words = "2 videos have gaps or shifts in time that LeRobot cannot hold: steps of 0.2 to 5.2 s are written as 0.2 s"
    assert words in export("gaps", "--set", "fps=5")
    assert "in time" not in export("timeless")
    (tmp_path / "raw/b.mkv").unlink()
    (tmp_path / "raw/c.mkv").unlink()
    assert "in time" not in export("even", "--set", "fps=5")


def test_times_in_a_damaged_set_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_film(tmp_path / "raw/a.mkv", 0, [frame / 10 for frame in range(30)])
    shards = prepare("folder", tmp_path / "raw", tmp_path / "set", "--set", "fps=5")
    (shard,) = shards.glob("*.tar")
    whole = shard.read_bytes()
    for before, after in ((b'"pts_seconds":[0.0,', b'"pts_seconds":[null'), (b".json", b".nosj"), (b"{", b"(")):
        shard.write_bytes(whole.replace(before, after, 1))
        command = ["export", str(shards), "--to", "lerobot", "--out", str(tmp_path / "out"), "--quiet"]
        assert run(command) == 2
        assert "sample 0" in capsys.readouterr().err


def test_an_encoder_that_this_build_lacks_is_named(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(video_file, "_ENCODERS", {**video_file._ENCODERS, "h264": ("no_such_h264", 12, {})})
    assert run(["export", str(labelled), "--to", "lerobot", "--out", str(tmp_path / "out"), "--set", "fps=20"]) == 2
    error = capsys.readouterr().err
    for words in ("PyAV cannot write h264", "an encoder named no_such_h264", "set another codec: codec=av1"):
        assert words in error


def test_splits_are_ranges_of_episodes_and_sizes_must_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splits = ("validation", "train", "", "validation")
    videos = [Video(f"v{number}", 3, split) for number, split in enumerate(splits)]
    shards = make_shard_set(tmp_path / "set", videos, clip_frames=2)
    assert run(["export", str(shards), "--to", "lerobot", "--out", str(tmp_path / "out"), "--quiet"]) == 0
    info = json.loads((tmp_path / "out/meta/info.json").read_text())
    assert (info["fps"], info["splits"]) == (12, {"train": "0:2", "validation": "2:4"})
    rows = pq.read_table(tmp_path / "out/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [row["source_id"] for row in rows] == ["v1", "v2", "v0", "v3"]
    mixed = make_shard_set(tmp_path / "mixed", [*videos, Video("v9", 3, size=(32, 32))])
    assert run(["export", str(mixed), "--to", "lerobot", "--out", str(tmp_path / "no"), "--quiet"]) == 2
    assert "2 sizes: 32x32, 64x64" in capsys.readouterr().err


def test_what_cannot_be_exported_is_named(labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*words: str, options: tuple[str, ...] = (), source: Path = labelled) -> None:
        out = tmp_path / "out"
        assert run(["export", str(source), "--to", "lerobot", "--out", str(out), *options]) == 2
        message = capsys.readouterr().err
        assert all(word in message for word in words), message
        assert not out.exists()
        assert not list(tmp_path.glob(".out*"))

    refused("states no frame rate", "--set fps=30")
    refused("camera", options=("--set", "fps=10", "--set", "camera=a.b"))
    refused("fps", "0.01", options=("--set", "fps=0.0004"))
    refused("fpss", options=("--set", "fpss=10"))
    refused("needs", options=("--set", "fps=10", "--set", "codec=av1"))  # 48 pixels high
    refused("does not exist", source=tmp_path / "nothing")
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "prepare_log.jsonl").write_text("{}\n")
    refused("unfinished", "prepare", source=unfinished)
    (tmp_path / "there").mkdir()
    command = ["export", str(labelled), "--to", "lerobot", "--out", str(tmp_path / "there"), "--set", "fps=10"]
    assert run(command) == 2
    assert "exists" in capsys.readouterr().err
    numbers, nothing = TrackEntry(dtype="float32", shape=[2]), TrackEntry(dtype="float32", shape=[0])
    for tracks, words in (
        (
            {"state": numbers, "observation.state": numbers},
            "track observation.state would become the column.*\n.*one tr",
        ),
        ({"touch": nothing}, r"the track touch has entries of shape \[0\]\n.*numbers.*\n.*without that track"),
    ):
        with pytest.raises(ShardSetError, match=words):
            track_columns(tracks)


@pytest.mark.skipif(not LEROBOT_PYTHON, reason="IPV_BENCH_LEROBOT_PYTHON names no Python with lerobot")
def test_lerobots_own_loader_reads_it(labelled: Path, exported: Path) -> None:
    code = (
        "import sys, json\n"
        "from lerobot.datasets.lerobot_dataset import LeRobotDataset\n"
        "data = LeRobotDataset('local/toy', root=sys.argv[1])\n"
        "rows = [data[i] for i in range(len(data))]\n"
        f"bars = [[float(v) for v in row['{KEY}'][0, 12, 4::8]] for row in rows]\n"
        "print(json.dumps({'actions': [row['action'].tolist() for row in rows], 'bars': bars,\n"
        "    'tasks': [row['task'] for row in rows], 'times': [float(row['timestamp']) for row in rows]}))\n"
    )
    done = subprocess.run(
        [str(LEROBOT_PYTHON), "-c", code, str(exported)], capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    frame = 0
    for frames, tracks, label, _ in contents(labelled).values():
        taken = np.concatenate([tracks["action"][1:], np.zeros((1, 2))])
        for number in range(len(frames)):
            assert found["actions"][frame] == taken[number].tolist()
            assert found["tasks"][frame] == label
            assert found["times"][frame] == pytest.approx(number / 20)
            assert sum((value > 0.5) << bit for bit, value in enumerate(found["bars"][frame])) == number
            frame += 1
    assert frame == len(found["tasks"])


def test_videos_without_a_rate_do_not_get_that_of_others() -> None:
    from types import SimpleNamespace

    from ipv_bench.exports.config import LeRobotExportConfig
    from ipv_bench.exports.lerobot import frame_rate

    def rate(*rates: float, tracks: tuple[str, ...] = (), **values: float) -> float:
        source = SimpleNamespace(location="set", rates=[*rates], tracks=dict.fromkeys(tracks))
        return frame_rate(source, LeRobotExportConfig(**values))

    assert rate(12.0) == 12.0
    assert rate(0.0, 12.0, fps=30) == 30
    with pytest.raises(ShardSetError, match="1 frame rates: 12; and some state none"):
        rate(0.0, 12.0)
    with pytest.raises(ShardSetError, match="it states no frame rate"):
        rate(0.0)
    for rates, tracks, words in (
        ((5.0, 12.0), (), "--set fps=30`, or prepare the set anew with `--set fps=…`"),
        ((5.0, 12.0), ("action",), "or prepare the set anew with `--set source_fps=…`"),
        ((0.0,), (), "or prepare the set anew with `--set source_fps=…`"),
        ((), ("action",), "say it with `--set fps=30`$"),
    ):
        with pytest.raises(ShardSetError, match=words):
            rate(*rates, tracks=tracks)


def test_the_way_to_a_rate_that_is_named_for_a_labelled_set_works(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", str(labelled), "--to", "lerobot", "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert "prepare the set anew with `--set source_fps=…`" in capsys.readouterr().err
    shards = prepare("episodes", write_release(tmp_path / "raw"), tmp_path / "set", "--set", "source_fps=20")
    assert run(["export", str(shards), "--to", "lerobot", "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert json.loads((tmp_path / "out/meta/info.json").read_text())["fps"] == 20
