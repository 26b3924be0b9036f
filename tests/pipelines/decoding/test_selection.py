"""Frames picked by time: rates that cannot be kept as asked are refused, and others are kept exactly."""

from __future__ import annotations

import json
import tarfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import simplejpeg

from ipv_bench.cli import run
from pipelines.datasets.base import FrameSelection
from pipelines.decoding.selection import FrameSelector, places_in_time
from tests.lerobot_maker import marked_frame, write_video
from tests.pipelines.ssv2_maker import file_hashes, prepare, quarantine


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (0.0004, Fraction(1, 2500)),
        (0.0007, Fraction(7, 10_000)),
        (7.7777, Fraction(77_777, 10_000)),
        (29.970029, Fraction(30000, 1001)),
        (29.97, Fraction(2997, 100)),
        (30000 / 1001, Fraction(30000, 1001)),
        (1 / 3, Fraction(1, 3)),
        (5.0, Fraction(5)),
    ],
)
def test_rates_are_what_they_say(fps: float, expected: Fraction) -> None:
    selector = FrameSelector(FrameSelection(fps=fps))
    kept = [number for number in range(4) if selector.keeps(number, number / expected)]
    assert kept == [0, 1, 2, 3]
    assert selector.kept_fps(0) == float(expected)
    slower = FrameSelector(FrameSelection(fps=fps))
    assert [slower.keeps(number, number / expected / 2) for number in range(4)] == [True, False, True, False]


def write_pictures(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(8):
        picture = np.full((16, 16, 3), 20 * number, np.uint8)
        (folder / f"{number}.jpg").write_bytes(simplejpeg.encode_jpeg(picture))


def test_pictures_of_unknown_rate_are_not_resampled_until_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "raw" / "clip")
    command = ["prepare", "folder", "--source", str(tmp_path / "raw"), "--out", str(tmp_path / "set"), "--workers", "1"]
    assert run([*command, "--set", "fps=5"]) == 2
    message = capsys.readouterr().err
    assert "source_fps" in message
    assert "frame_stride" in message
    assert run([*command, "--set", "fps=5", "--set", "source_fps=20"]) == 0
    row = pq.read_table(tmp_path / "set" / "samples.parquet").to_pylist()[0]
    assert (row["num_frames"], row["frame_stride"], row["fps"]) == (2, 4, 5.0)
    options = json.loads((tmp_path / "set" / "manifest.json").read_text())["options"]
    assert (options["fps"], options["source_fps"]) == (5.0, 20.0)


@pytest.mark.parametrize(
    ("numbers", "places"),
    [
        ((7, 8, 9), [0, 1, 2]),
        ((1, 2, 5, 6), [0, 1, 4, 5]),
        ((5, 10, 25), [0, 1, 4]),
        ((5, 10, 17), [0, 1, 2]),
        ((3, 3, 4), [0, 1, 2]),
        ((9,), [0]),
        ((), []),
    ],
)
def test_gaps_in_the_numbers_take_their_time(numbers: tuple[int, ...], places: list[int]) -> None:
    assert list(places_in_time(numbers)) == places


@pytest.mark.parametrize(
    ("name", "options"),
    [("folder", ("gaps=allow", "source_fps=30")), ("youtube-driving", ("frame_stride=1", "skip_frames=0"))],
)
def test_pictures_with_gaps_are_picked_by_their_numbers(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    (tmp_path / "raw/clip").mkdir(parents=True)
    for number in (*range(30), *range(61, 90)):
        picture = simplejpeg.encode_jpeg(np.full((16, 16, 3), number, np.uint8))
        (tmp_path / f"raw/clip/{number:03d}.jpg").write_bytes(picture)
    chosen = [part for option in ("fps=10", *options) for part in ("--set", option)]
    assert prepare(tmp_path / "raw", tmp_path / "set", *chosen, name=name) == 0
    with tarfile.open(next((tmp_path / "set").glob("*.tar"))) as tar:
        facts = json.load(tar.extractfile(tar.next()))
    numbers = [*range(0, 30, 3), 61, *range(63, 90, 3)]  # the first in each tenth of a second
    assert facts["source_frames"] == numbers
    assert facts["pts_seconds"] == [pytest.approx(number / 30, abs=1e-6) for number in numbers]


def test_episodes_of_unknown_rate_are_not_resampled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "raw").mkdir()
    np.savez(tmp_path / "raw" / "a.npz", image=np.zeros((4, 16, 16, 3), np.uint8))
    command = ["prepare", "rlbench", "--source", str(tmp_path / "raw"), "--out", str(tmp_path / "set")]
    assert run([*command, "--set", "fps=5"]) == 2
    assert "state no rate" in capsys.readouterr().err


def test_a_picture_among_videos_refuses_none_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "raw", tmp_path / "set"
    write_video(source / "MOV_0002.mp4", [marked_frame(0, frame) for frame in range(6)], 10)
    (source / "IMG_0001.jpg").write_bytes(simplejpeg.encode_jpeg(np.zeros((16, 16, 3), np.uint8)))
    assert prepare(source, out, "--set", "fps=5", "--dry-run", name="folder") == 0
    assert "1 unusable already: bad_annotation" in capsys.readouterr().out
    assert prepare(source, out, "--set", "fps=5", name="folder") == 0
    assert [row["num_frames"] for row in pq.read_table(out / "samples.parquet").to_pylist()] == [3]
    (entry,) = quarantine(out).values()
    assert entry["reason"] == "bad_annotation"
    assert "states no rate" in entry["message"]
    assert "source_fps" in entry["message"]
    before = file_hashes(out)
    capsys.readouterr()
    assert prepare(source, out, "--set", "fps=5", "--retry-failed", "all", name="folder") == 0
    assert file_hashes(out) == before
    assert run(["verify", str(out), "--source", str(source)]) == 0
    assert (
        prepare(source, tmp_path / "first", "--set", "fps=5", "--limit", "1", name="folder") == 2
    )  # the picture alone
    assert not (tmp_path / "first").exists()
    write_pictures(source / "Z")  # beyond the limit, so none of this job's business
    assert prepare(source, tmp_path / "two", "--set", "fps=5", "--limit", "2", name="folder") == 0


@pytest.mark.parametrize("with_video", [False, True])
def test_sets_of_pictures_made_with_fps_before_are_still_read_and_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], with_video: bool
) -> None:
    source, out = tmp_path / "raw", tmp_path / "set"
    write_pictures(source / "clip")
    if with_video:
        write_video(source / "film.mp4", [marked_frame(0, frame) for frame in range(6)], 10)
    options = ["--set", "fps=5"]
    with monkeypatch.context() as patch:  # as it was made before unknown rates were told
        patch.setattr("pipelines.prepare.refuse_unknown_rates", lambda items, config: None)
        patch.setattr("pipelines.prepare.without_rate", lambda item, config: item)
        assert prepare(source, out, *options, name="folder") == 0
    before = file_hashes(out)
    assert prepare(source, out, *options, name="folder") == 0
    assert "complete and intact" in capsys.readouterr().out
    (out / "samples.parquet").unlink()
    assert prepare(source, out, *options, name="folder") == 0
    assert file_hashes(out) == before
    assert run(["verify", str(out), "--source", str(source)]) == 0
    (out / "folder-000000.tar").unlink()
    assert prepare(source, out, *options, name="folder") == (0 if with_video else 2)
    assert [*quarantine(out)] == (["clip"] if with_video else [])
