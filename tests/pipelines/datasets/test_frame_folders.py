"""Order and numbers of pictures in a folder, from their names."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipelines.datasets.file_tree import FoundFile
from pipelines.datasets.folder import DATA_SET
from pipelines.datasets.frame_folders import NumberedFolder, doubts, missing_number, numbered_folders


def folder_of(names: list[str]) -> NumberedFolder:
    shuffled = random.Random(0).sample(names, len(names))
    (folder,) = numbered_folders(FoundFile(f"clip/{name}", 1) for name in shuffled)
    return folder


def in_order(folder: NumberedFolder) -> list[str]:
    return [file.name for file in folder.files]


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["8.jpg", "9.jpg", "10.jpg"], (8, 9, 10)),
        (["cam2_frame_0005.png", "cam2_frame_0010.png"], (5, 10)),
        (["0001_left.png", "0002_left.png"], (1, 2)),
        (["0000000012.png", "0000000013.png"], (12, 13)),
        (["take.1.9.png", "take.1.10.png"], (9, 10)),
        (["7.jpg"], (7,)),
        # times: only their order counts
        (["1305031102.175304.png", "1305031102.211214.png", "1305031103.01.png"], (0, 1, 2)),
        (["1305031102.2.png", "1305031102.25.png", "1305031102.3.png"], (0, 1, 2)),
        (["shot_2020-01-31_12-41-59.png", "shot_2020-01-31_12-42-00.png", "shot_2020-02-01_00-00-00.png"], (0, 1, 2)),
        (["1403636579763555584.png", "1403636579813555456.png"], (0, 1)),
        (["9" * 30 + ".png", "9" * 29 + "8.png"][::-1], (0, 1)),
    ],
)
def test_names_are_ordered_by_all_their_numbers(names: list[str], numbers: tuple[int, ...]) -> None:
    folder = folder_of(names)
    assert folder.problem is None
    assert in_order(folder) == names
    assert folder.numbers == numbers
    if numbers[0] == 0:
        assert missing_number(folder.numbers) is None
        assert not folder.warning


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["left_0000.png", "left_0001.png", "right_0080.png"], ["left_0000.png", "right_0080.png"]),
        (["0001.png", "0001_mask.png", "0002.png"], ["0001.png", "0001_mask.png"]),
        (["a1.png", "b1.png"], ["a1.png", "b1.png"]),
        (["1305031102.175304.png", "1305031103.png"], ["1305031102.175304.png", "1305031103.png"]),
    ],
)
def test_two_series_in_one_folder_are_named(names: list[str], shown: list[str]) -> None:
    problem = folder_of(names).problem
    assert problem is not None
    assert problem[0] == "bad_annotation"
    assert all(name in problem[1] for name in shown)
    assert "gaps" not in problem[1]


def test_two_counters_are_ordered_and_warned_of() -> None:
    names = [f"cam{camera}_{number:04d}.png" for camera in (0, 1) for number in (0, 80)]
    folder = folder_of(names)
    assert in_order(folder) == names
    assert folder.numbers == (0, 1, 2, 3)
    assert "cam0_0000.png" in folder.warning
    assert "cam1_0080.png" in folder.warning


@pytest.mark.parametrize("name", ["video{}_frame{:02d}", "cam{}_{:04d}", "{}_{:02d}", "0{}_{:03d}", "a{}b{:02d}"])
def test_two_short_series_are_no_minutes_and_seconds(name: str) -> None:
    names = [f"{name.format(series, number)}.png" for series in (1, 2) for number in range(1, 41)]
    folder = folder_of(names)
    assert (in_order(folder), folder.problem) == (names, None)
    assert folder.warning == f"clip: 2 numbers vary from {names[0]} to {names[-1]}; taken as one video in that order"


def test_three_counters_with_words_between_are_no_clock() -> None:
    names = [f"cam{camera}_take{take}_frame{number}.png" for camera in (0, 1) for take in (0, 1) for number in (1, 2)]
    assert "3 numbers vary" in folder_of(names).warning


@pytest.mark.parametrize(
    "name",
    [
        "12-{0:02d}-{1:02d}", "2024-01-01_10-{0:02d}-{1:02d}", "2024-01-01 at 10.{0:02d}.{1:02d}", "{0:02d}_{1:02d}",
        "shot 10:{0:02d}:{1:02d}", "10h{0:02d}m{1:02d}s", "2024-01-{0:02d}T10-{0:02d}-{1:02d}", "{0}-{0}-{1}",
    ],
)  # fmt: skip
def test_names_with_times_are_not_warned_of(name: str) -> None:
    names = [f"{name.format(minute, second)}.png" for minute in (5, 6) for second in range(1, 41)]
    folder = folder_of(names)
    assert (in_order(folder), folder.problem, folder.warning) == (names, None, "")


@pytest.mark.parametrize("names", [["1.png", "01.png"], ["7.jpg", "7.png"], ["a_1_2.png", "a_01_2.png"]])
def test_two_pictures_with_one_number_are_a_problem(names: list[str]) -> None:
    problem = folder_of(names).problem
    assert problem is not None
    assert "two pictures have the number" in problem[1]


def test_pictures_without_a_number_are_left_out() -> None:
    assert in_order(folder_of(["cover.jpg", "1.jpg", "2.jpg"])) == ["1.jpg", "2.jpg"]
    problem = folder_of(["cover.jpg"]).problem
    assert problem is not None
    assert problem[0] == "bad_annotation"


def test_pictures_without_a_number_are_counted() -> None:
    files = [FoundFile(f"clip/{name}.jpg", 1) for name in ("1", "2", "cover", "poster")]
    folders = numbered_folders([*files, FoundFile("other/1.jpg", 1)])
    assert [len(folder.files) for folder in folders] == [2, 1]
    (warning,) = doubts(folders)
    assert "2 pictures without a number" in warning
    assert "clip/cover.jpg" in warning


@pytest.mark.parametrize("mask", ["000{}.tif", "000{}.pgm", "000{}_mask.TIFF"])
def test_masks_of_rarer_endings_beside_usual_pictures_are_left_out(mask: str) -> None:
    masks = [mask.format(number) for number in range(1, 4)]
    folder = folder_of([*(f"000{number}.jpg" for number in range(1, 4)), *masks])
    assert (folder.problem, folder.numbers, in_order(folder)) == (None, (1, 2, 3), ["0001.jpg", "0002.jpg", "0003.jpg"])
    (warning,) = doubts([folder])
    assert warning.startswith("3 pictures (.")
    assert f"the first is clip/{masks[0]}" in warning


def test_rarer_endings_are_taken_where_they_are_in_nobodys_way() -> None:
    assert folder_of(["1.jpg", "2.tif", "3.jpg"]).numbers == (1, 2, 3)
    assert folder_of(["1.tif", "2.tif"]).numbers == (1, 2)
    assert in_order(folder_of(["cover.jpg", "1.tif", "2.tif"])) == ["1.tif", "2.tif"]
    assert folder_of(["1.jpg", "1.png", "1.tif"]).problem == ("bad_annotation", "two pictures have the number 1")


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "TIFF", "pgm"])
def test_a_gap_is_one_number_whatever_the_ending(ending: str) -> None:
    folder = folder_of([f"{number}.{ending}" for number in (1, 2, 4, 5)])
    assert (folder.problem, missing_number(folder.numbers)) == (None, 3)


@pytest.mark.parametrize("other", ["900.tif", "7.tiff", "1.pgm"])
def test_a_rarer_picture_whose_number_tears_a_gap_is_left_out(other: str) -> None:
    folder = folder_of(["5.jpg", "10.jpg", "15.jpg", other])
    assert (folder.numbers, folder.beside) == ((5, 10, 15), (f"clip/{other}",))
    assert folder_of(["5.tif", "10.tif", "15.tif", other]).beside == ()


def test_rarer_pictures_beside_a_few_usual_ones_or_gaps_of_these_are_kept() -> None:
    assert folder_of(["1.jpg", "2.jpg", "10.tif", "12.tif", "14.tif"]).numbers == (1, 2, 10, 12, 14)
    assert folder_of(["1.jpg", "2.jpg", "4.jpg", "6.tif"]).numbers == (1, 2, 4, 6)


def test_a_missing_number_that_a_left_out_picture_has_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    for name in ("1.jpg", "2.jpg", "4.jpg", "2.tif", "3.tif"):
        (tmp_path / "clip" / name).touch()
    (item,) = DATA_SET.inventory(tmp_path, DATA_SET.config()).items
    assert item.problem is not None
    assert item.problem[0] == "missing"
    assert item.problem[1].startswith("there is no picture with the number 3 among the usual ones; clip/3.tif is left")
