"""The sample release of SSv2: genuine layout and labels, deterministic, and motion that fits the label."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from ipv_bench.cli import run
from ipv_bench.seeding import numpy_generator
from pipelines.samples.ssv2 import templates
from pipelines.samples.ssv2_scene import ACTIONS, Scene, Script
from tests.pipelines.ssv2_maker import VIDEO_FOLDER, file_hashes, prepare, quarantine


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "ssv2"
    assert run(["sample", str(folder), "--videos", "8", "--quiet"]) == 0
    return folder


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


def test_prepare_finds_short_videos_and_the_broken_one(sample: Path, tmp_path: Path) -> None:
    assert prepare(sample, tmp_path / "out") == 0
    rows = pq.read_table(tmp_path / "out" / "sources.parquet").to_pylist()
    lengths = [row["num_frames_decoded"] for row in rows if row["status"] in ("written", "too_short")]
    assert min(lengths) >= 8
    assert max(lengths) <= 120
    assert sum(row["status"] == "too_short" for row in rows) == 1
    assert [entry["reason"] for entry in quarantine(tmp_path / "out").values()] == ["truncated"]


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert run(["sample", str(tmp_path / name), "--videos", "1", "--seed", seed, "--quiet"]) == 0
    assert file_hashes(tmp_path / "a") == file_hashes(tmp_path / "b")
    videos = [{path.name for path in (tmp_path / name / VIDEO_FOLDER).iterdir()} for name in ("a", "c")]
    assert videos[0].isdisjoint(videos[1])


def test_every_action_has_a_template_of_the_release() -> None:
    known = {template.lower() for template in templates()}
    for script in ACTIONS:
        assert script.template.replace("[", "").replace("]", "").lower() in known


def path_of(template: str) -> np.ndarray:
    """(T, 2) x and y of the moving object, found in the pictures: the centre of what differs from the background."""
    script = next(script for script in ACTIONS if script.template == template)
    alone = Script(script.template, lambda u: _without_hand(script.action(u)))
    scene = Scene(alone, 320, 240, 24, numpy_generator(0, 1, "test"))
    scene._shake[:] = 0
    frames = np.stack(list(scene.frames())).astype(int)
    changed = np.abs(frames - np.median(frames, axis=0)).sum(-1) > 60
    return np.array([np.argwhere(mask).mean(0)[::-1] if mask.any() else (np.nan, np.nan) for mask in changed])


def _without_hand(moment):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    return replace(moment, hand=None)


@pytest.mark.parametrize(
    ("template", "axis", "sign"),
    [
        ("Pushing [something] from left to right", 0, 1),
        ("Pushing [something] from right to left", 0, -1),
        ("Pulling [something] from left to right", 0, 1),
        ("Moving [something] up", 1, -1),
        ("Moving [something] down", 1, 1),
        ("Lifting [something] up completely without letting it drop down", 1, -1),
    ],
)
def test_the_motion_is_the_one_of_the_label(template: str, axis: int, sign: int) -> None:
    path = path_of(template)[:, axis]
    path = path[~np.isnan(path)]
    third = len(path) // 3
    assert sign * (path[-third:].mean() - path[:third].mean()) > 25
