"""Damaged and odd video files: none stops a job, each that cannot be used is in the quarantine with its reason."""

from __future__ import annotations

import random
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from ipv_bench.cli import run
from pipelines.samples.frame_number import read_number
from tests.pipelines.ssv2_maker import numbered_pictures, prepare, quarantine, write_video

ODD_NAMES = ("with space.webm", 'it\'s "quoted".webm', "two\nlines.webm", "dots.in.it.webm", "日本 ü.webm")


def write_audio(path: Path) -> None:
    """A WebM file with sound only."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libopus", rate=48000, layout="mono")
        for number in range(10):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 48000, number * 960
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of good and bad videos, and the set that `prepare folder` makes of it."""
    source = tmp_path_factory.mktemp("videos")
    good = write_video(source / "good.webm", numbered_pictures(30)).read_bytes()
    mp4 = write_video(source / "good.mp4", numbered_pictures(30), codec="libx264").read_bytes()
    for name in ODD_NAMES:
        (source / name).write_bytes(good)
    generator = random.Random(0)
    for part in range(10):
        cut = len(good) * (part + 1) // 11
        (source / f"cut{part}.webm").write_bytes(good[:cut])
        (source / f"cut{part}.mp4").write_bytes(mp4[:cut])
        flipped = bytearray(good)
        for _ in range(1 + part * 3):
            flipped[generator.randrange(len(flipped))] ^= 1 << generator.randrange(8)
        (source / f"flipped{part}.webm").write_bytes(flipped)
    (source / "joined.webm").write_bytes(good + good)
    (source / "wrong_extension.avi").write_bytes(good)
    (source / "empty.webm").write_bytes(b"")
    (source / "text.webm").write_text("#EXTM3U\nhttp://127.0.0.1:9/never.webm\n")
    (source / "noise.webm").write_bytes(bytes(generator.randrange(256) for _ in range(5000)))
    write_audio(source / "sound.webm")
    (source / "loop_a.webm").symlink_to(source / "loop_b.webm")
    (source / "loop_b.webm").symlink_to(source / "loop_a.webm")
    (source / "round").symlink_to(source)
    out = tmp_path_factory.mktemp("shards") / "folder"
    assert prepare(source, out, "--set", "max_failure_rate=1", "--set", "shard_videos=100", name="folder") == 0
    return source, out


def test_the_set_is_whole(videos: tuple[Path, Path]) -> None:
    assert run(["verify", str(videos[1]), "--decode", "all"]) == 0


def test_every_file_has_an_outcome(videos: tuple[Path, Path]) -> None:
    source, out = videos
    rows = {row["path"]: row for row in pq.read_table(out / "sources.parquet").to_pylist()}
    assert set(rows) == {path.name for path in source.iterdir() if path.is_file() or "loop" in path.name}
    assert all(row["reason"] for row in rows.values() if row["status"] != "written")


def test_good_videos_and_odd_names_are_all_there(videos: tuple[Path, Path]) -> None:
    samples = {row["source_id"]: row["num_frames"] for row in pq.read_table(videos[1] / "samples.parquet").to_pylist()}
    rows = pq.read_table(videos[1] / "sources.parquet").to_pylist()
    frames = {row["path"]: samples.get(row["source_id"]) for row in rows}
    for name in (*ODD_NAMES, "good.webm", "good.mp4", "wrong_extension.avi"):
        assert frames[name] == 30, name
    assert frames["joined.webm"] == 60


def test_reasons_are_typed(videos: tuple[Path, Path]) -> None:
    reasons = {entry["path"]: entry["reason"] for entry in quarantine(videos[1]).values()}
    assert reasons["empty.webm"] == "empty_file"
    assert reasons["text.webm"] == reasons["noise.webm"] == "corrupt"
    assert reasons["sound.webm"] == "no_video_stream"
    assert reasons["loop_a.webm"] == reasons["loop_b.webm"] == "unreadable"
    for part in range(10):
        assert reasons[f"cut{part}.webm"] in {"truncated", "corrupt"}
        assert reasons[f"cut{part}.mp4"] in {"truncated", "corrupt"}
    assert reasons["cut8.webm"] == reasons["cut8.mp4"] == "truncated"


def test_the_frames_obtained_are_reported(videos: tuple[Path, Path]) -> None:
    entry = next(entry for entry in quarantine(videos[1]).values() if entry["path"] == "cut8.webm")
    assert 10 < entry["num_frames_decoded"] < 30
    assert entry["message"]


def test_a_folder_that_may_not_be_read_is_said(tmp_path: Path) -> None:
    """As root every file can be read, so the refusal comes from a folder in a file's place."""
    write_video(tmp_path / "raw" / "a.webm", numbered_pictures(5))
    write_video(tmp_path / "raw" / "b.webm", numbered_pictures(5))
    (tmp_path / "raw" / "c.webm").symlink_to("/proc/self/mem")
    assert prepare(tmp_path / "raw", tmp_path / "out", name="folder") == 0
    assert quarantine(tmp_path / "out").popitem()[1]["reason"] in {"empty_file", "unreadable"}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ten_bit.mp4", {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": {"x265-params": "log-level=none"}}),
        ("grey.avi", {"codec": "ffv1", "pix_fmt": "gray"}),
        ("alpha.webm", {"pix_fmt": "yuva420p", "options": {"auto-alt-ref": "0"}}),
        ("full_colour.mkv", {"codec": "ffv1", "pix_fmt": "bgra"}),
        ("interlaced.mpg", {"codec": "mpeg2video", "fps": 25, "options": {"flags": "+ildct+ilme", "q": "2"}}),
        ("variable_rate.webm", {"pts": [n * 80 + (n % 3) * 20 for n in range(30)]}),
    ],
)
def test_odd_formats_keep_every_frame(tmp_path: Path, name: str, options: dict) -> None:
    """The numbers in the pictures come back in order, whatever the pixel format."""
    from ipv_bench.segments import open_segments

    write_video(tmp_path / "raw" / name, numbered_pictures(30, 96, 128), **options)
    assert prepare(tmp_path / "raw", tmp_path / "out", name="folder") == 0
    segments = open_segments(tmp_path / "out", 30, seed=0)
    assert [read_number(frame) for frame in segments[0]] == list(range(30))


@pytest.mark.parametrize(("height", "width"), [(49, 65), (16, 180), (240, 2)])
def test_odd_sizes_and_one_frame(tmp_path: Path, height: int, width: int) -> None:
    write_video(tmp_path / "raw" / "a.mkv", numbered_pictures(1, height, width), codec="ffv1", pix_fmt="yuv444p")
    assert prepare(tmp_path / "raw", tmp_path / "out", name="folder") == 0
    row = pq.read_table(tmp_path / "out" / "samples.parquet").to_pylist()[0]
    assert (row["num_frames"], row["height"], row["width"]) == (1, 64, 64)


def test_a_header_that_lies_about_the_length(tmp_path: Path) -> None:
    """The duration element of a WebM header is overwritten: frames are counted by decoding, and both are recorded."""
    import struct

    path = write_video(tmp_path / "raw" / "a.webm", numbered_pictures(30))
    data = bytearray(path.read_bytes())
    place = data.index(b"\x44\x89\x88") + 3
    data[place : place + 8] = struct.pack(">d", 100_000.0)
    path.write_bytes(data)
    assert prepare(tmp_path / "raw", tmp_path / "out", name="folder") == 0
    row = pq.read_table(tmp_path / "out" / "sources.parquet").to_pylist()[0]
    assert row["num_frames_decoded"] == 30
    assert row["num_frames_header"] == 1200


def test_decord_gives_the_same_counts(videos: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("decord")
    options = ("--set", "max_failure_rate=1", "--set", "shard_videos=100", "--set", "decoder=decord")
    assert prepare(videos[0], tmp_path / "out", *options, name="folder") == 0
    assert run(["verify", str(tmp_path / "out"), "--decode", "all"]) == 0
    for name in ("good.webm", "good.mp4", "wrong_extension.avi", *ODD_NAMES):
        ours, theirs = (
            next(row for row in pq.read_table(out / "sources.parquet").to_pylist() if row["path"] == name)
            for out in (videos[1], tmp_path / "out")
        )
        assert (ours["status"], ours["num_frames_decoded"]) == (theirs["status"], theirs["num_frames_decoded"])
    reasons = {entry["path"]: entry["reason"] for entry in quarantine(tmp_path / "out").values()}
    assert reasons["sound.webm"] == "no_video_stream"
    assert reasons["cut8.webm"] == "truncated"
