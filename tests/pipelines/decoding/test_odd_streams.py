"""Which stream is the film, what time it is, and what no decoder may open."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from pipelines.datasets.base import SourceItem, VideoFile, VideoRange
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.open_frames import open_frames
from tests.pipelines.ssv2_maker import numbered_pictures, prepare, quarantine, write_video


def facts(out: Path) -> dict[str, dict]:
    """Path of the source → the JSON of its sample."""
    found = {}
    for tar in sorted(out.glob("*.tar")):
        with tarfile.open(tar) as archive:
            for member in archive.getmembers():
                if member.name.endswith(".json"):
                    file = archive.extractfile(member)
                    assert file is not None
                    values = json.load(file)
                    found[values["path"]] = values
    return found


def folder(source: Path, out: Path, *options: str) -> dict[str, dict]:
    assert prepare(source, out, "--set", "max_failure_rate=1", *options, name="folder") == 0
    return facts(out)


def write_streams(path: Path, streams: Sequence[tuple[int, int, bool]]) -> Path:
    """A file with several video streams: (frames, width, whether it is the default)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        made = []
        for _, width, default in streams:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = width, width // 2, "yuv420p"
            stream.disposition = av.stream.Disposition.default if default else av.stream.Disposition(0)
            made.append(stream)
        for stream, (count, width, _) in zip(made, streams, strict=True):
            for number in range(count):
                frame = av.VideoFrame.from_ndarray(
                    np.full((width // 2, width, 3), 9 * number, np.uint8), format="rgb24"
                )
                frame.pts, frame.time_base = number, Fraction(1, 10)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def test_the_default_or_else_the_largest_stream_is_the_film(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_streams(raw / "preview_first.mkv", [(4, 64, False), (9, 128, False)])
    write_streams(raw / "default_first.mkv", [(4, 64, True), (9, 128, False)])
    found = folder(raw, tmp_path / "out")
    assert found["preview_first.mkv"]["num_frames"] == 9
    assert found["preview_first.mkv"]["notes"]["video_stream"] == "1, one of 2"
    assert found["default_first.mkv"]["num_frames"] == 4


def test_a_stream_without_pictures_is_no_film(tmp_path: Path) -> None:
    write_streams(tmp_path / "raw" / "empty_first.mkv", [(0, 256, True), (9, 64, False)])
    assert folder(tmp_path / "raw", tmp_path / "out")["empty_first.mkv"]["num_frames"] == 9


def write_restarting(path: Path) -> Path:
    """A transport stream of two joined recordings: 20 and 15 frames at 25 per second, each from the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = []
    for number, count in enumerate((20, 15)):
        part = path.with_name(f"part{number}.ts")
        pictures = numbered_pictures(count, 96, 128, first=20 * number)
        parts.append(write_video(part, pictures, codec="mpeg2video", fps=25, options={"g": "5"}).read_bytes())
        part.unlink()
    path.write_bytes(b"".join(parts))
    return path


def test_a_clock_that_starts_again_loses_nothing(tmp_path: Path) -> None:
    write_restarting(tmp_path / "raw" / "joined.ts")
    sample = folder(tmp_path / "raw", tmp_path / "out", "--set", "fps=5")["joined.ts"]
    assert sample["notes"]["clock_restarts"] == 1
    times = sample["pts_seconds"]
    assert all(0.15 < after - before < 0.25 for before, after in pairwise(times))
    assert len(times) == 7  # 35 frames at 25 per second
    whole = folder(tmp_path / "raw", tmp_path / "all")["joined.ts"]
    assert whole["num_frames"] == 35


@pytest.mark.parametrize(
    ("pts", "expected", "notes"),
    [
        ([0, 100, 200, 300], [0.0, 0.1, 0.2, 0.3], {}),
        ([0, 100, 60_000, 60_100], [0.0, 0.1, 60.0, 60.1], {"jumps_ahead": 1}),
        ([500, 600, 700, 900], [0.5, 0.6, 0.7, 0.9], {}),
    ],
)
def test_times_are_as_stated_or_said_otherwise(
    tmp_path: Path, pts: list[int], expected: list[float], notes: dict[str, int]
) -> None:
    write_video(tmp_path / "raw" / "a.mkv", numbered_pictures(4), codec="mpeg4", pts=pts, fps=10)
    sample = folder(tmp_path / "raw", tmp_path / "out", "--set", "fps=100")["a.mkv"]
    assert sample["pts_seconds"] == pytest.approx(expected)
    assert sample.get("notes", {}) == notes


def brightness(path: Path, **options: object) -> list[float]:
    """Mean of each frame that is taken."""
    item = SourceItem("x", path.name, path.stat().st_size, VideoFile(path.name))
    frames = open_frames(item, path.parent, PrepareConfig.model_validate(options))
    return [float(np.asarray(frame.picture).mean()) for frame in frames if frame is not None]


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("count", [1, 2, 5, 60])
@pytest.mark.parametrize("options", [{"bf": "2"}, {"bf": "8", "b-pyramid": "none", "x264-params": "b-adapt=0"}])
def test_reordered_pictures_of_an_avi_are_taken_as_those_of_an_mp4(
    tmp_path: Path, options: dict[str, str], count: int, decoder: str
) -> None:
    if decoder == "decord":
        pytest.importorskip("decord")
    pictures = [np.full((64, 64, 3), 4 * number, np.uint8) for number in range(count)]
    for ending in ("avi", "mp4"):
        write_video(tmp_path / f"a.{ending}", pictures, codec="libx264", fps=30, options=options | {"crf": "1"})
    for fps in (30, 20, 10, 7):
        found, expected = (brightness(tmp_path / name, fps=fps, decoder=decoder) for name in ("a.avi", "a.mp4"))
        assert found == pytest.approx(expected, abs=1)


def test_reordered_pictures_of_an_avi_are_a_frame_apart_and_of_no_note(tmp_path: Path) -> None:
    pictures = numbered_pictures(30)
    write_video(tmp_path / "raw" / "a.avi", pictures, codec="libx264", fps=10, options={"bf": "3"})
    sample = folder(tmp_path / "raw", tmp_path / "out", "--set", "fps=10")["a.avi"]
    assert "notes" not in sample
    assert [after - before for before, after in pairwise(sample["pts_seconds"])] == pytest.approx([0.1] * 29)


def test_a_range_of_an_avi_with_reordered_pictures_is_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "a.avi", numbered_pictures(60), codec="libx264", fps=30, options={"bf": "2"})
    item = SourceItem("x", "a", 1, VideoRange("a.avi", start_seconds=1.0, num_frames=10, fps=30.0))
    with pytest.raises(SourceFailure, match="no range can be found"):
        list(open_frames(item, tmp_path, PrepareConfig()))


class FakeStream:
    """What `Clock` asks of a stream."""

    average_rate = guessed_rate = Fraction(10)
    time_base = Fraction(1, 1000)

    def __init__(self, name: str) -> None:
        self.container = type("Container", (), {"format": type("Format", (), {"name": name})()})()


@pytest.mark.parametrize(
    ("name", "pts", "expected"),
    [
        ("matroska,webm", [0, 100, None, 300], [0.0, 0.1, 0.2, 0.3]),
        ("matroska,webm", [-200, -100, 0], [-0.2, -0.1, 0.0]),
        ("matroska,webm", [0, 100, 50, 200], [0.0, 0.1, 0.1, 0.2]),
        ("matroska,webm", [5000, 5100, 0, 100], [5.0, 5.1, 5.2, 5.3]),
        ("matroska,webm", [0, 20_000, 20_100], [0.0, 20.0, 20.1]),
        ("mpegts", [0, 20_000, 20_100], [0.0, 0.1, 0.2]),
        ("mpeg", [90_000_000, 90_000_100, 0, 100], [90_000.0, 90_000.1, 90_000.2, 90_000.3]),
    ],
)
def test_each_rule_of_the_clock(name: str, pts: list[int | None], expected: list[float]) -> None:
    from pipelines.decoding.clock import Clock

    clock = Clock(FakeStream(name), exact=True)
    assert [float(clock.time(one)) for one in pts] == pytest.approx(expected)


def test_pipes_and_folders_are_named_at_once(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_video(raw / "good.webm", numbered_pictures(5))
    os.mkfifo(raw / "pipe.mp4")
    write_video(raw / "pictures.webm", numbered_pictures(5))
    (raw / "frames").mkdir()
    os.mkfifo(raw / "frames" / "1.jpg")
    folder(raw, tmp_path / "out", "--set", "supervision.stall_seconds=100000")
    found = {path: (entry["reason"], entry["message"]) for path, entry in quarantine(tmp_path / "out").items()}
    assert found["pipe.mp4"] == ("unreadable", "it is a pipe (FIFO), not a regular file")
    assert found["frames"][0] == "unreadable"
    assert "FIFO" in found["frames"][1]


def test_texts_that_name_other_files_are_no_videos(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_video(raw / "good.webm", numbered_pictures(5))
    (raw / "list.mp4").write_text("ffconcat version 1.0\nfile good.webm\n")
    (raw / "playlist.ts").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\ngood.webm\n#EXT-X-ENDLIST\n")
    assert set(folder(raw, tmp_path / "out")) == {"good.webm"}
    found = quarantine(tmp_path / "out")
    assert found["list.mp4"]["message"] == "a text or a playlist, no video"
    assert found["playlist.ts"]["reason"] == "corrupt"


def test_arrays_in_either_order_hold_the_same_frames(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), np.uint8)
    (tmp_path / "raw").mkdir()
    np.savez_compressed(tmp_path / "raw" / "c.npz", image=frames)
    np.savez_compressed(tmp_path / "raw" / "f.npz", image=np.asfortranarray(frames))
    out = tmp_path / "out"
    assert prepare(tmp_path / "raw", out, "--set", "encoding=raw", name="rlbench") == 0
    from ipv_bench.segments import open_segments

    segments = open_segments(out, 6, seed=0)
    for number in range(4):
        np.testing.assert_array_equal(segments[number], frames)
    assert set(facts(out)) == {"c.npz", "f.npz"}


def test_a_folder_shorter_than_what_is_skipped_is_too_short(tmp_path: Path) -> None:
    import pyarrow.parquet as pq
    import simplejpeg

    for name, count in (("short", 8), ("long", 120)):
        (tmp_path / "raw" / name).mkdir(parents=True)
        data = simplejpeg.encode_jpeg(np.full((48, 64, 3), 90, np.uint8), 90)
        for number in range(count):
            (tmp_path / "raw" / name / f"{number}.jpg").write_bytes(data)
    out = tmp_path / "out"
    assert prepare(tmp_path / "raw", out, "--set", "max_failure_rate=0", name="youtube-driving") == 0
    rows = {row["path"]: row for row in pq.read_table(out / "sources.parquet").to_pylist()}
    assert (rows["short"]["status"], rows["short"]["reason"]) == ("too_short", "min_frames")
    assert rows["long"]["status"] == "written"


def copy_packets(source: Path, target: Path, first: int) -> Path:
    """A lossless cut: the packets of a video from number `first` on."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        packets = [packet for packet in old.demux(stream) if packet.dts is not None][first:]
        shift = min(packet.dts for packet in packets)
        for packet in packets:
            packet.stream, packet.pts, packet.dts = copy, packet.pts - shift, packet.dts - shift
            new.mux(packet)
    return target


@pytest.mark.parametrize("name", ["cut.mkv", "cut.mp4", "cut.ts"])
def test_a_recording_that_begins_between_key_frames(tmp_path: Path, name: str) -> None:
    """Key frames are at 0, 10 and 20; the cut takes packets from the 14th on."""
    options = {"g": "10", "bf": "0", "sc_threshold": "0"}
    whole = write_video(
        tmp_path / "whole.ts", numbered_pictures(30, 96, 128), codec="mpeg2video", fps=25, options=options
    )
    (tmp_path / "raw").mkdir()
    copy_packets(whole, tmp_path / "raw" / name, 14)
    sample = folder(tmp_path / "raw", tmp_path / "out")[name]
    assert sample["notes"]["starts_between_key_frames"] == 1
    from ipv_bench.segments import open_segments
    from pipelines.samples.frame_number import read_number

    frames = open_segments(tmp_path / "out", sample["num_frames"], seed=0)[0]
    assert [read_number(frame) for frame in frames][-10:] == list(range(20, 30))


def test_cover_art_is_no_film(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    with av.open(str(raw / "song.mp4"), "w") as container:
        sound = container.add_stream("aac", rate=48000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")
        for packet in [*cover.encode(picture), *cover.encode(None)]:
            container.mux(packet)
        for number in range(10):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48000, number * 1024
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    write_video(raw / "good.webm", numbered_pictures(5))
    folder(raw, tmp_path / "out")
    entry = quarantine(tmp_path / "out")["song.mp4"]
    assert (entry["reason"], entry["message"]) == ("no_video_stream", "it holds audio, cover art")


def test_empty_chunks_of_an_avi_are_no_pictures(tmp_path: Path) -> None:
    """The muxer fills gaps between time stamps with empty chunks."""
    (tmp_path / "raw").mkdir()
    with av.open(str(tmp_path / "raw" / "a.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for number, picture in zip((0, 1, 5, 6, 9), numbered_pictures(5), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert (tmp_path / "raw" / "a.avi").read_bytes().count(b"00dc\0\0\0\0") >= 5
    sample = folder(tmp_path / "raw", tmp_path / "out", "--set", "fps=100")["a.avi"]
    assert sample["pts_seconds"] == pytest.approx([0.0, 0.1, 0.5, 0.6, 0.9])
