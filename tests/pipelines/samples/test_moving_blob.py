"""The moving blob's actions are what its pictures show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ipv_bench.cli import run
from ipv_bench.segments import open_segments
from ipv_bench.shard_set import read_manifest
from pipelines.samples.moving_blob import HIGH, LOW, STEP


def centres(image: np.ndarray) -> np.ndarray:
    """(T, 2) x and y of what differs from the background, (T, H, W, 3) frames of one blob."""
    weight = np.abs(image.astype(float) - image[:, :1, :1].astype(float)).sum(-1)
    y, x = np.mgrid[: image.shape[1], : image.shape[2]]
    return np.stack([(weight * x).sum((1, 2)), (weight * y).sum((1, 2))], 1) / weight.sum((1, 2))[:, None]


@pytest.fixture(scope="module")
def releases(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("raw")
    for name in ("moving-blob", "moving-blob-distractor"):
        assert run(["sample", str(root / name), "--dataset", name, "--videos", "4", "--seed", "3", "--quiet"]) == 0
    return {path.name: path for path in root.iterdir()}


def test_actions_and_states_are_what_the_pictures_show(releases):
    for path in releases["moving-blob"].glob("*.npz"):
        episode = np.load(path)
        found = centres(episode["image"])
        assert np.abs(np.diff(found, axis=0) / STEP - episode["action"][1:]).max() < 0.05
        assert np.abs((found - LOW) / (HIGH - LOW) - episode["state"]).max() < 0.01
        assert not episode["action"][0].any()
        assert 0.3 < np.abs(episode["action"][1:]).mean() < 0.6
        assert episode["image"].shape == (50, 64, 64, 3)


def test_the_distractor_changes_pictures_and_nothing_else(releases):
    moved = []
    for path in releases["moving-blob"].glob("*.npz"):
        plain, crowded = np.load(path), np.load(releases["moving-blob-distractor"] / path.name)
        assert np.array_equal(plain["action"], crowded["action"])
        assert np.array_equal(plain["state"], crowded["state"])
        differing = (plain["image"] != crowded["image"]).any(-1).mean((1, 2))  # share of the picture, per frame
        assert (differing < 0.06).all()
        moved.append(differing.mean() > 0.01)
    assert all(moved)


def test_it_becomes_a_labelled_set(releases, tmp_path):
    out = tmp_path / "set"
    command = ["prepare", "episodes", "--source", str(releases["moving-blob"]), "--out", str(out), "--workers", "1"]
    assert run([*command, "--quiet"]) == 0
    assert "as in the source" in read_manifest(out).tracks["action"].note
    frames, tracks = open_segments(out, 20, 0, tracks=("action", "state"))[0]
    assert frames.shape == (20, 64, 64, 3)
    assert np.abs(np.diff(tracks["state"], axis=0) * (HIGH - LOW) / STEP - tracks["action"][1:]).max() < 1e-4
