"""The sample release of SSv2: genuine layout and labels, deterministic, and motion that fits the label."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from ipv_bench.cli import run
from ipv_bench.errors import InputError
from ipv_bench.ground_truth import TRUTH_FILE, read_truth
from ipv_bench.segments import open_segments
from pipelines.samples.ssv2 import templates
from pipelines.samples.ssv2_scene import MOTIONS
from tests.pipelines.ssv2_maker import VIDEO_FOLDER, file_hashes, prepare, quarantine


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "ssv2"
    assert run(["sample", str(folder), "--videos", "8", "--quiet"]) == 0
    return folder


@pytest.fixture(scope="module")
def shards(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "ssv2"
    assert prepare(sample, out) == 0
    return out


def test_files_and_lists_are_as_released(sample: Path) -> None:
    lists = {path.stem: json.loads(path.read_text()) for path in (sample / "labels").iterdir()}
    assert set(lists) == {"train", "validation", "test", "labels"}
    assert len(lists["labels"]) == 174
    listed = {entry["id"] for split in ("train", "validation", "test") for entry in lists[split]}
    assert listed == {path.stem for path in (sample / VIDEO_FOLDER).glob("*.webm")}
    assert len(listed) == 8 + 2
    for entry in (*lists["train"], *lists["validation"]):
        assert entry["template"].replace("[", "").replace("]", "") in lists["labels"]
        assert all(noun in entry["label"] for noun in entry["placeholders"])
        assert "[" not in entry["label"]


def test_videos_are_vp9_240_high_at_12_fps(sample: Path) -> None:
    for path in sorted((sample / VIDEO_FOLDER).iterdir())[:4]:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.height, stream.average_rate) == ("vp9", 240, 12)


def test_prepare_finds_short_videos_and_the_broken_one(shards: Path) -> None:
    rows = pq.read_table(shards / "sources.parquet").to_pylist()
    lengths = [row["num_frames_decoded"] for row in rows if row["status"] in ("written", "too_short")]
    assert min(lengths) >= 8
    assert max(lengths) <= 120
    assert sum(row["status"] == "too_short" for row in rows) == 1
    assert [entry["reason"] for entry in quarantine(shards).values()] == ["truncated"]


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert run(["sample", str(tmp_path / name), "--videos", "1", "--seed", seed, "--quiet"]) == 0
    assert file_hashes(tmp_path / "a") == file_hashes(tmp_path / "b")
    videos = [{path.name for path in (tmp_path / name / VIDEO_FOLDER).iterdir()} for name in ("a", "c")]
    assert videos[0].isdisjoint(videos[1])


def test_every_motion_has_a_template_of_the_release() -> None:
    known = {template.lower() for template in templates()}
    for motion in MOTIONS:
        assert motion.template.replace("[", "").replace("]", "").lower() in known


def test_the_truth_names_every_video_and_every_frame(sample: Path, shards: Path) -> None:
    truth = read_truth(sample)
    for row in pq.read_table(shards / "sources.parquet").to_pylist():
        if row["status"] in ("written", "too_short"):
            assert row["num_frames_decoded"] == len(truth.videos[row["source_id"]].path())
    entries = [
        entry
        for split in ("train", "validation")
        for entry in json.loads((sample / f"labels/{split}.json").read_text())
    ]
    assert {path.stem for path in (sample / VIDEO_FOLDER).iterdir()} == set(truth.videos)
    assert {truth.videos[entry["id"]].template for entry in entries} == {entry["template"] for entry in entries}
    assert all(truth.videos[entry["id"]].objects == entry["placeholders"] for entry in entries)
    assert len({video.template for video in truth.videos.values()}) == len(MOTIONS)
    assert len({video.background for video in truth.videos.values()}) == truth.backgrounds


def test_the_motion_is_the_one_of_the_label_and_steady(sample: Path) -> None:
    ends = {
        "from left to right": (0, 1), "from right to left": (0, -1), "[something] up": (1, -1),
        "[something] down": (1, 1), "closer to": (0, 1), "away from": (0, -1),
    }  # fmt: skip
    for video in read_truth(sample).videos.values():
        axis, sign = next(value for words, value in ends.items() if words in video.template)
        steps = sign * np.diff(video.path()[:, axis])
        assert steps.sum() > 0.3
        assert steps.max() - steps.min() < 0.012  # two pixels of the 180 that the narrowest picture has
        assert np.ptp(video.path()[:, 1 - axis]) == 0


def test_the_object_is_where_the_truth_says(sample: Path, shards: Path) -> None:
    """What stands at the true place moves with it: the patches agree, those of one place do not."""
    truth = read_truth(sample)
    with_it, in_place = [], []
    for source_id, frames in clips(shards):
        path = truth.videos[source_id].path()
        now, then = (patch(frames[t], path[t]) for t in (0, 14))
        with_it.append(np.square(then - now).mean())
        in_place.append(np.square(patch(frames[14], path[0]) - now).mean())
    assert np.mean(with_it) < 0.2 * np.mean(in_place)


def test_a_copy_of_the_last_frame_is_no_good_answer(shards: Path) -> None:
    errors = np.array(
        [
            [np.square(frames[14 + ahead] - frames[14]).mean() for ahead in range(1, 11)]
            for _, frames in clips(shards, length=25)
        ]
    ).mean(0)
    assert errors[9] >= 4 * errors[0]
    assert (np.diff(errors) > 0).all()


def test_a_damaged_truth_is_refused(sample: Path, tmp_path: Path) -> None:
    good = json.loads((sample / TRUTH_FILE).read_text())
    first = next(iter(good["videos"]))
    for change, words in (
        ({"background": 8}, "background 8"),
        ({"positions": [[[0.1, 0.2]], [[0.1, 0.2]], [[0.1, 0.2]]]}, "positions of"),
        ({"positions": "left"}, "positions"),
    ):
        bad = good | {"videos": good["videos"] | {first: good["videos"][first] | change}}
        (tmp_path / "bad.json").write_text(json.dumps(bad))
        with pytest.raises(InputError, match=words):
            read_truth(tmp_path / "bad.json")
    with pytest.raises(InputError, match=TRUTH_FILE):
        read_truth(tmp_path)


def clips(shards: Path, length: int = 25) -> Iterator[tuple[str, np.ndarray]]:
    """Source id and its first frames, (length, 64, 64, 3) in [0, 1], of every video of a shard set."""
    source = open_segments(shards, length, 0).sources[0]
    for video in source.videos.tolist():
        yield source.index.video_id(video), source.frames(video, 0, length).astype(float) / 255


def patch(frame: np.ndarray, place: np.ndarray) -> np.ndarray:
    """5 x 5 pixels around a place that is given as shares of the picture."""
    column, row = (place * 64).astype(int)
    return frame[row - 2 : row + 3, column - 2 : column + 3]
