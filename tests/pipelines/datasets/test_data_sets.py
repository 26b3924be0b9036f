"""Every data set's sample release through the command line: complete inventories, and the frames the rules name."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ipv_bench.cli import run
from ipv_bench.open_store import open_store
from ipv_bench.segment_source import SegmentSource
from ipv_bench.segments import open_segments
from ipv_bench.shard_set import SOURCES_FILE, read_manifest
from pipelines.samples.frame_number import read_number
from pipelines.samples.human36m import sample_sequences

NAMES = ("human36m", "youtube-driving", "ego4d", "rlbench", "folder")
VIDEOS = 3


@pytest.fixture(scope="module")
def releases(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("raw")
    for name in NAMES:
        assert run(sample(name, root / name)) == 0
    return root


def sample(name: str, folder: Path) -> list[str]:
    return ["sample", str(folder), "--dataset", name, "--videos", str(VIDEOS), "--quiet"]


@pytest.fixture(scope="module")
def sets(releases, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("shards")
    for name in NAMES:
        prepare(name, releases / name, root / name)
    for name in ("human36m", "youtube-driving"):
        prepare(name, releases / name, root / f"{name} official", "--profile", "official-code")
    return root


def prepare(name: str, source: Path, out: Path, *options: str) -> None:
    command = ["prepare", name, "--source", str(source), "--out", str(out), "--workers", "1", "--quiet", *options]
    assert run(command) == 0


def shown_numbers(folder: Path) -> dict[str, list[int]]:
    """Source id → numbers that its stored pictures show."""
    source = SegmentSource(open_store(folder))
    index = source.index
    return {
        index.video_id(video): [read_number(frame) for frame in source.frames(video, 0, int(index.video_frames[video]))]
        for video in range(len(index.video_frames))
    }


def headers(folder: Path) -> dict[str, dict]:
    """Source id → JSON of its sample."""
    found = {}
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    facts = json.loads(tar.extractfile(member).read())
                    found[facts["source_id"]] = facts
    return found


@pytest.mark.parametrize("name", NAMES)
def test_sets_are_complete_and_show_their_frames(sets, name):
    assert run(["verify", str(sets / name), "--decode", "all", "--quiet"]) == 0
    manifest = read_manifest(sets / name)
    assert manifest.totals["num_sources"] == manifest.totals["num_samples"] == VIDEOS
    sources = pq.read_table(sets / name / SOURCES_FILE)
    assert set(sources["status"].to_pylist()) == {"written"}
    facts = headers(sets / name)
    for source_id, numbers in shown_numbers(sets / name).items():
        sample = facts[source_id]
        first, stride = sample["first_source_frame"], sample["frame_stride"]
        expected = sample.get("source_frames") or list(range(first, first + stride * sample["num_frames"], stride))
        assert numbers == expected


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_the_same_bytes_for_the_same_seed(releases, tmp_path, name):
    again = tmp_path / "again"
    if name == "human36m":  # its pictures are large: one sequence, twice
        assert run(["sample", str(tmp_path / "first"), "--dataset", name, "--videos", "1", "--quiet"]) == 0
        assert run(["sample", str(again), "--dataset", name, "--videos", "1", "--quiet"]) == 0
        assert tree_hash(again) == tree_hash(tmp_path / "first")
        return
    assert run(sample(name, again)) == 0
    assert tree_hash(again) == tree_hash(releases / name)


def tree_hash(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_driving_keeps_frames_100_105_110_in_sorted_order(sets):
    numbers = shown_numbers(sets / "youtube-driving")
    assert numbers["dir-0"] == list(range(101, 261, 5))  # files are numbered from 1: position 100 is number 101
    in_order = [n for n in range(1, 261) if not 140 <= n < 150]
    assert numbers["dir-1"] == in_order[100::5]
    assert numbers["dir-2"] == list(range(100, 260, 5))  # a video: positions are numbers


def test_driving_official_code_drops_99_frames_after_each_gap(sets):
    numbers = shown_numbers(sets / "youtube-driving official")
    assert numbers["dir-0_0"] == list(range(100, 261, 5))
    assert numbers["dir-1_0"] == list(range(100, 140, 5))
    assert numbers["dir-1_1"] == [number for number in range(150 + 99, 261) if number % 5 == 0]
    assert numbers["dir-2"] == list(range(100, 260, 5))


def test_driving_has_the_published_split(sets):
    facts = headers(sets / "youtube-driving")
    assert {name: values["split"] for name, values in facts.items()} == {
        "dir-0": "validation",
        "dir-1": "train",
        "dir-2": "train",
    }


def test_counts_stand_beside_those_of_the_paper_and_the_lists(sets):
    people = read_manifest(sets / "human36m")
    assert [(count["ours"], count["paper"], count["official"]) for count in people.counts] == [
        (3, 840, 839),
        (people.totals["num_frames"], None, 422055),
    ]
    assert [anomaly["source_id"] for anomaly in people.known_anomalies] == ["S11_Directions.54138969"]
    driving = read_manifest(sets / "youtube-driving")
    assert [(count["ours"], count["paper"], count["official"]) for count in driving.counts] == [
        (3, 134, 88),
        (driving.totals["num_frames"], None, 1720325),
    ]


def test_human36m_profiles_differ_in_corners_and_scaling_only(sets):
    paper, official = sets / "human36m", sets / "human36m official"
    assert shown_numbers(paper) == shown_numbers(official)
    ours, theirs = (SegmentSource(open_store(folder)).frames(0, 0, 20).astype(float) for folder in (paper, official))
    difference = np.abs(ours - theirs).mean()
    assert 0.2 < difference < 8
    assert read_manifest(official).options["corners"] == "published"


def test_ego4d_is_resampled_by_time_and_keeps_its_aspect(sets):
    for facts in headers(sets / "ego4d").values():
        assert (facts["height"], facts["width"], facts["fps"]) == (256, 457, 5)
        assert facts["first_source_frame"] == 0
        assert facts["pts_seconds"] == pytest.approx([0.2 * n for n in range(facts["num_frames"])], abs=1e-6)
        assert facts["label"] in {"Cooking", "Carpenter", "Playing cards"}


def test_folder_takes_every_rule_from_its_config(releases, tmp_path):
    out = tmp_path / "set"
    rules = ("skip_frames=4", "frame_stride=3", "size=short:48", "min_frames=14")
    prepare("folder", releases / "folder", out, *(part for rule in rules for part in ("--set", rule)))
    numbers = shown_numbers(out)
    lengths = {"holiday film.mp4": 31, "clips/v.1.2.mp4": 60, "clips/frames of a drive": 49}
    assert numbers == {name: list(range(4, n, 3)) for name, n in lengths.items() if len(range(4, n, 3)) >= 14}
    assert {(facts["height"], facts["width"]) for facts in headers(out).values()} == {(48, 85)}
    sources = pq.read_table(out / SOURCES_FILE).to_pylist()
    assert {row["source_id"]: row["status"] for row in sources}["holiday film.mp4"] == "too_short"


def test_rlbench_pictures_are_stored_as_they_are(releases, tmp_path):
    out = tmp_path / "set"
    prepare("rlbench", releases / "rlbench", out, "--set", "encoding=raw")
    source = SegmentSource(open_store(out))
    for video in range(len(source.index.video_frames)):
        path = releases / "rlbench" / f"{source.index.video_id(video)}.npz"
        pictures = np.load(path)["image"]
        assert np.array_equal(source.frames(video, 0, len(pictures)), pictures)
        assert source.index.label(video) == path.parent.name


def test_clips_cut_the_storage_and_not_the_segments(releases, sets, tmp_path):
    out = tmp_path / "set"
    prepare("rlbench", releases / "rlbench", out, "--set", "clip_frames=7", "--set", "shard_videos=2")
    assert run(["verify", str(out), "--decode", "all", "--quiet"]) == 0
    cut, whole = open_segments(out, 25, 11), open_segments(sets / "rlbench", 25, 11)
    assert read_manifest(out).totals["num_samples"] > VIDEOS
    for i in range(12):
        assert np.array_equal(cut[i], whole[i])
        assert cut.describe(i).start_frame == whole.describe(i).start_frame


@pytest.mark.parametrize("videos", [1, 32, 200])
def test_human36m_samples_never_repeat_a_sequence(videos):
    sequences = sample_sequences(videos)
    assert len(set(sequences)) == len(sequences) == videos
    assert ("S11_Directions", "54138969", "valid") not in sequences
