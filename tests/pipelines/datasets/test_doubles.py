"""Several files of one name, and joints that fit no picture: what the inventories make of them."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipelines.datasets.base import ImageFiles, Inventory, data_set
from pipelines.datasets.human36m import MIN_STILL

LABEL = "Holding something"


def inventory(name: str, source: Path) -> Inventory:
    release = data_set(name)
    return release.inventory(source, release.config())


def write(path: Path, contents: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents.encode() if isinstance(contents, str) else contents)


def ssv2_lists(source: Path, folder: str = "labels") -> None:
    write(source / folder / "labels.json", json.dumps({LABEL: "0"}))
    for split, ids in (("train", "12"), ("validation", "3")):
        entries = [{"id": source_id, "template": "Holding [something]"} for source_id in ids]
        write(source / folder / f"{split}.json", json.dumps(entries))


def test_the_released_video_goes_before_others_of_its_name(tmp_path: Path) -> None:
    ssv2_lists(tmp_path)
    for source_id in "123":
        write(tmp_path / "20bn-something-something-v2" / f"{source_id}.webm", b"released")
    write(tmp_path / "0_backup" / "1.webm", b"a backup")
    write(tmp_path / "old" / "1.webm", b"an older one")
    write(tmp_path / "old" / "2.webm", b"x")
    found = inventory("ssv2", tmp_path)
    assert [item.path for item in found.items] == [f"20bn-something-something-v2/{n}.webm" for n in "123"]
    (warning,) = found.warnings
    assert "2 videos are there more than once" in warning
    assert "20bn-something-something-v2/1.webm (8 bytes, taken)" in warning


def test_a_folder_named_as_the_split_goes_first(tmp_path: Path) -> None:
    ssv2_lists(tmp_path)
    for source_id in "123":
        for folder in ("train", "validation"):
            write(tmp_path / folder / f"{source_id}.webm", folder)
    found = inventory("ssv2", tmp_path)
    assert [item.path for item in found.items] == ["train/1.webm", "train/2.webm", "validation/3.webm"]
    assert found.warnings


def test_a_second_label_list_is_warned_of(tmp_path: Path) -> None:
    ssv2_lists(tmp_path)
    ssv2_lists(tmp_path, "elsewhere")
    write(tmp_path / "elsewhere" / "train.json", "[]")
    for source_id in "123":
        write(tmp_path / "20bn-something-something-v2" / f"{source_id}.webm", b"released")
    found = inventory("ssv2", tmp_path)
    assert len(found.items) == 3
    assert any("label lists" in warning and "labels/train.json" in warning for warning in found.warnings)


def people(source: Path, joints: np.ndarray, listed: str = "{}", folders: tuple[str, ...] = ("images",)) -> None:
    """A release of one sequence with the joints (T, 17, 2) and another one whose joints are well."""
    moving = 400 + 5.0 * np.arange(17)[None, :, None] + np.arange(len(joints))[:, None, None] + np.zeros((1, 1, 2))
    names = [[f"S{n}_Eating.54138969_{5 * t + 1:06d}.jpg" for t in range(len(joints))] for n in (1, 5)]
    for folder in folders:
        for name in (*names[0], *names[1]):
            write(source / folder / name, f"{folder} {name}")
    for split, lines, part in (("train", names[0], joints), ("valid", names[1], moving)):
        write(source / "annot" / f"{split}_images.txt", "\n".join(map(listed.format, lines)))
        with h5py.File(source / "annot" / f"{split}.h5", "w") as file:
            file["part"] = part


def still(num_frames: int) -> np.ndarray:
    return np.tile(500 + 5.0 * np.arange(17)[None, :, None], (num_frames, 1, 2))


def moving(num_frames: int = 20) -> np.ndarray:
    return still(num_frames) + np.arange(num_frames)[:, None, None]


@pytest.mark.parametrize(
    ("listed", "folders", "taken", "warned"),
    [
        ("images/{}", ("images", "masks"), "images", False),
        ("pictures/{}", ("masks", "pictures"), "pictures", False),
        ("{}", ("a_masks", "images"), "images", True),
        ("{}", ("masks", "rgb"), "masks", True),
        ("{}", ("rgb",), "rgb", False),
    ],
)
def test_the_listed_path_wins_over_masks_of_one_name(
    tmp_path: Path, listed: str, folders: tuple[str, ...], taken: str, warned: bool
) -> None:
    people(tmp_path, moving(), listed, folders)
    found = inventory("human36m", tmp_path)
    for item in found.items:
        assert isinstance(item.frames, ImageFiles)
        assert {name.partition("/")[0] for name in item.frames.names} == {taken}
    doubts = [warning for warning in found.warnings if "pictures are there more than once" in warning]
    assert bool(doubts) == warned
    assert all(folder in doubt for doubt in doubts for folder in folders)


def outside(num_bad: int, num_frames: int = 20) -> np.ndarray:
    joints = moving(num_frames)
    joints[:num_bad, :, 0] -= joints[:num_bad, :, 0].min(axis=1, keepdims=True) + 60  # 20 of 80 pixels are inside
    return joints


@pytest.mark.parametrize(
    ("joints", "words"),
    [
        (moving() / 1000, "smaller than 16 pixels in 20 of 20"),
        (moving() / 100, "smaller than 16 pixels"),
        (outside(3), "more than half outside in 3 of 20"),
        (still(MIN_STILL), "the same in all 5 pictures"),
    ],
)
def test_joints_that_fit_no_picture_are_refused(tmp_path: Path, joints: np.ndarray, words: str) -> None:
    people(tmp_path, joints)
    first, second = inventory("human36m", tmp_path).items
    assert first.problem is not None
    assert first.problem[0] == "bad_annotation"
    assert words in first.problem[1]
    assert second.problem is None


@pytest.mark.parametrize("joints", [moving(), outside(2), still(MIN_STILL - 1)])
def test_joints_of_people_who_leave_the_picture_are_kept(tmp_path: Path, joints: np.ndarray) -> None:
    people(tmp_path, joints)
    assert [item.problem for item in inventory("human36m", tmp_path).items] == [None, None]
