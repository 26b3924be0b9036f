"""`prepare ssv2` through the command line: counts, frames, tables, profiles, determinism."""

from __future__ import annotations

import io
import json
import os
import warnings
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import simplejpeg
import webdataset

from ipv_bench.cli import run
from ipv_bench.segments import open_segments
from ipv_bench.shard_set import read_manifest
from pipelines.samples.frame_number import read_number
from tests.pipelines.conftest import LENGTHS
from tests.pipelines.ssv2_maker import (
    LABELS,
    VIDEO_FOLDER,
    file_hashes,
    make_release,
    numbered_pictures,
    prepare,
    quarantine,
    write_lists,
    write_video,
)


def test_every_video_of_25_frames_is_written_with_its_label(prepared: Path) -> None:
    samples = pq.read_table(prepared / "samples.parquet").to_pylist()
    expected = {str(1000 + n): length for n, length in enumerate(LENGTHS) if length >= 25}
    assert {row["source_id"]: row["num_frames"] for row in samples} == expected
    assert all(row["label"] == LABELS[(int(row["source_id"]) - 1000) % 3] for row in samples)
    assert {row["source_id"] for row in samples if row["split"] == "validation"} == {"1009"}
    sources = pq.read_table(prepared / "sources.parquet").to_pylist()
    assert [row["source_id"] for row in sources if row["status"] == "too_short"] == ["1002", "1004", "1011"]
    assert [row["status"] for row in sources if row["source_id"] == "900001"] == ["excluded"]
    assert all(row["num_frames_decoded"] == length for row, length in zip(sources, LENGTHS, strict=False))


def test_frames_are_the_ones_of_the_videos(prepared: Path) -> None:
    segments = open_segments(prepared, 25, seed=0)
    for i in range(20):
        frames, origin = segments[i], segments.describe(i)
        assert [read_number(frame) for frame in frames] == list(range(origin.start_frame, origin.start_frame + 25))


def test_the_set_is_what_others_read(prepared: Path) -> None:
    """Plain webdataset gives the samples; any FFmpeg tool plays the stream."""
    urls = [str(path) for path in sorted(prepared.glob("*.tar"))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert len(samples) == sum(length >= 25 for length in LENGTHS)
    for sample in samples:
        facts = json.loads(sample["json"])
        with av.open(io.BytesIO(sample["mjpeg"]), format="mjpeg") as container:
            played = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert [read_number(frame) for frame in played] == list(range(facts["num_frames"]))
    assert run(["verify", str(prepared), "--decode", "all"]) == 0


def test_small_frames_are_area_averages_of_the_decoded_pictures(tmp_path: Path) -> None:
    """Against an average of whole 5x5 blocks in numpy, made from the decoder's own full-size RGB."""
    generator = np.random.default_rng(0)
    base = generator.integers(0, 255, (32, 32, 3), np.uint8).repeat(10, 0).repeat(10, 1)
    source = tmp_path / "raw"
    write_video(source / VIDEO_FOLDER / "5.webm", [base] * 26)
    write_lists(source, ["5"])
    assert prepare(source, tmp_path / "out", "--set", "encoding=raw") == 0
    with av.open(str(source / VIDEO_FOLDER / "5.webm")) as container:
        full = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(float)
    blocks = full.reshape(64, 5, 64, 5, 3).mean((1, 3))
    stored = open_segments(tmp_path / "out", 1, seed=0)
    number = next(i for i in range(500) if stored.describe(i).start_frame == 0)
    assert np.abs(stored[number][0] - blocks).mean() < 1.5


def test_any_number_of_workers_gives_the_same_bytes(release: Path, prepared: Path, tmp_path: Path) -> None:
    assert prepare(release, tmp_path / "out", workers=3) == 0
    assert file_hashes(tmp_path / "out") == file_hashes(prepared)


def test_a_second_run_does_nothing_and_says_so(
    release: Path, prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in prepared.iterdir() if path.suffix != ".jsonl"}
    assert prepare(release, prepared) == 0
    assert "nothing to do again" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in prepared.iterdir() if path.suffix != ".jsonl"}


def test_official_code_profile_takes_train_only_and_keeps_short_videos(release: Path, tmp_path: Path) -> None:
    assert prepare(release, tmp_path / "out", "--profile", "official-code") == 0
    samples = pq.read_table(tmp_path / "out" / "samples.parquet").to_pylist()
    assert {row["split"] for row in samples} == {"train"}
    assert sorted(row["num_frames"] for row in samples) == sorted(n for i, n in enumerate(LENGTHS) if i % 5 != 4)
    counts = {count["rule"]: count for count in read_manifest(tmp_path / "out").counts}
    assert any(count["paper"] == 185_000 and count["official"] == 186_067 for count in counts.values())


def test_limit_takes_the_first_of_the_sorted_inventory(release: Path, tmp_path: Path) -> None:
    assert prepare(release, tmp_path / "out", "--limit", "3") == 0
    sources = pq.read_table(tmp_path / "out" / "sources.parquet")["source_id"].to_pylist()
    assert sources == ["1000", "1001", "1002"]
    assert prepare(release, tmp_path / "out", "--limit", "4") == 2


def test_both_namings_of_the_lists(release: Path, prepared: Path, tmp_path: Path) -> None:
    source = tmp_path / "raw"
    write_lists(source, [str(1000 + n) for n in range(len(LENGTHS))], prefix="something-something-v2-")
    (source / "videos").symlink_to(release / VIDEO_FOLDER)
    assert prepare(source, tmp_path / "out") == 0
    assert read_manifest(tmp_path / "out").totals == read_manifest(prepared).totals


@pytest.mark.parametrize("encoding", ["mjpeg", "raw"])
def test_clip_frames_changes_storage_only(release: Path, tmp_path: Path, encoding: str) -> None:
    options = ("--limit", "4", "--set", f"encoding={encoding}")
    assert prepare(release, tmp_path / "whole", *options) == 0
    assert prepare(release, tmp_path / "clips", *options, "--set", "clip_frames=7") == 0
    assert run(["verify", str(tmp_path / "clips"), "--decode", "all"]) == 0
    whole, clips = (open_segments(tmp_path / name, 20, seed=3) for name in ("whole", "clips"))
    for i in range(8):
        np.testing.assert_array_equal(whole[i], clips[i])


def test_keys_that_differ_only_after_a_dot_stay_four_samples(tmp_path: Path) -> None:
    source = tmp_path / "raw"
    ids = ["S1.54138969", "S1.55011271", "S1.58860488", "S1.60457274"]
    for source_id in ids:
        write_video(source / VIDEO_FOLDER / f"{source_id}.webm", numbered_pictures(26))
    write_lists(source, ids)
    assert prepare(source, tmp_path / "out") == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        urls = [str(path) for path in sorted((tmp_path / "out").glob("*.tar"))]
        samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert sorted(json.loads(sample["json"])["source_id"] for sample in samples) == ids
    assert len({sample["__key__"] for sample in samples}) == 4


def test_mjpeg_frames_have_full_colour_resolution(prepared: Path) -> None:
    data = (prepared / "ssv2-000000.tar").read_bytes()
    start = data.index(b"\xff\xd8\xff")
    assert simplejpeg.decode_jpeg_header(data[start : start + 20000])[:4] == (64, 64, "YCbCr", "444")


def test_dry_run_counts_and_writes_nothing(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(release, tmp_path / "out", "--dry-run") == 0
    text = capsys.readouterr().out
    assert "13 source items" in text
    assert "10 to decode in train" in text
    assert "frames" in text
    assert "MB" in text
    assert not (tmp_path / "out").exists()


def test_a_release_of_real_clips(tmp_path: Path) -> None:
    """SSv2's layout filled with pieces of real clips, from the folder named in IPV_BENCH_CLIPS."""
    folder = os.environ.get("IPV_BENCH_CLIPS")
    clips = sorted(Path(folder).iterdir()) if folder and Path(folder).is_dir() else []
    if not clips:
        pytest.skip("IPV_BENCH_CLIPS names no folder with real clips")
    source, ids = tmp_path / "raw", []
    for clip in clips:
        with av.open(str(clip)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][:64]
        for part in range(2):
            ids.append(f"{len(ids) + 1}")
            pieces = [frame[::2, ::2].copy() for frame in frames[part * 30 : part * 30 + 30]]
            write_video(source / VIDEO_FOLDER / f"{ids[-1]}.webm", pieces)
    write_lists(source, ids)
    assert prepare(source, tmp_path / "out", "--set", "min_frames=20") == 0
    assert run(["verify", str(tmp_path / "out"), "--decode", "all"]) == 0
    assert read_manifest(tmp_path / "out").totals["num_samples"] == len(ids)
    assert not quarantine(tmp_path / "out")


def test_make_release_helper_is_deterministic(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_release(tmp_path / name, (9,))
    assert file_hashes(tmp_path / "a") == file_hashes(tmp_path / "b")
