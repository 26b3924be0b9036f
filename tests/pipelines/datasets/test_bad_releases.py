"""Faulty releases through the command line: nothing stops the job or loses a good sample, each fault has its reason."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import simplejpeg

from ipv_bench.cli import run
from ipv_bench.plugins import OURS
from ipv_bench.shard_set import QUARANTINE_FILE, SOURCES_FILE
from pipelines.datasets.base import data_set
from pipelines.samples.encode_video import write_h264

ANY_RATE = ("--set", "max_failure_rate=1")
NUM_FRAMES = 3


def prepare(name: str, source: Path, out: Path, *options: str) -> int:
    return run(["prepare", name, "--source", str(source), "--out", str(out), "--workers", "1", *options])


def written(out: Path) -> set[str]:
    rows = pq.read_table(out / SOURCES_FILE).to_pylist()
    return {row["source_id"] for row in rows if row["status"] == "written"}


def quarantined(out: Path) -> dict[str, str]:
    lines = (out / QUARANTINE_FILE).read_text().splitlines()
    return {line["source_id"]: line["reason"] for line in map(json.loads, lines)}


# Human3.6M


class People:
    """A release of grey pictures; sequences are changed before it is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, list[str]] = {"train": [], "valid": []}
        self.joints: dict[str, list[np.ndarray]] = {"train": [], "valid": []}
        (folder / "pictures").mkdir(parents=True)

    def add(self, sequence: str, split: str, change: Callable[[np.ndarray], None] | None = None) -> None:
        for number in range(NUM_FRAMES):
            joints = np.full((17, 2), 500.0)
            joints[:, 0] += np.arange(17) * 5
            if change is not None and number == 1:
                change(joints)
            name = f"{sequence}_{number * 5 + 1:06d}.jpg"
            self.names[split].append(name)
            self.joints[split].append(joints)
            picture = np.full((1000, 1000, 3), 60 + number * 40, np.uint8)
            (self.folder / "pictures" / name).write_bytes(simplejpeg.encode_jpeg(picture))

    def write(self) -> Path:
        for split, names in self.names.items():
            (self.folder / f"{split}_images.txt").write_text("\n".join(names) + "\n")
            with h5py.File(self.folder / f"{split}.h5", "w") as file:
                file["part"] = np.array(self.joints[split])
        return self.folder


@pytest.fixture
def people(tmp_path) -> People:
    release = People(tmp_path / "raw")
    for sequence in ("S1_Eating.54138969", "S5_Sitting_1.55011271"):
        release.add(sequence, "train")
    release.add("S9_Greeting.54138969", "valid")
    return release


def test_human36m_faults_of_single_sequences(people, tmp_path):
    people.add("S6_Phoning.54138969", "train", lambda joints: joints.__setitem__(3, np.nan))
    people.add("S7_Phoning.54138969", "train", lambda joints: joints.__iadd__(5000))
    people.add("S8_Phoning.54138969", "train")
    people.add("S9_Posing.54138969", "valid")
    people.add("S9_Waiting.54138969", "valid")
    (people.folder / "pictures" / "S8_Phoning.54138969_000006.jpg").unlink()
    picture = people.folder / "pictures" / "S9_Posing.54138969_000006.jpg"
    picture.write_bytes(picture.read_bytes()[:900])
    people.names["valid"].append("S9_Waiting.54138969_000001.jpg")
    people.joints["valid"].append(people.joints["valid"][0])
    people.names["valid"].append("holiday.jpg")
    people.joints["valid"].append(people.joints["valid"][0])
    out = tmp_path / "set"
    assert prepare("human36m", people.write(), out, *ANY_RATE) == 0
    assert written(out) == {"S1_Eating.54138969", "S5_Sitting_1.55011271", "S9_Greeting.54138969"}
    assert quarantined(out) == {
        "S6_Phoning.54138969": "bad_annotation",
        "S7_Phoning.54138969": "bad_annotation",
        "S8_Phoning.54138969": "missing",
        "S9_Posing.54138969": "truncated",
        "S9_Waiting.54138969": "bad_annotation",
        "holiday.jpg": "bad_annotation",
    }
    assert run(["verify", str(out), "--quiet"]) == 0


def test_human36m_joints_of_another_shape(people, tmp_path, capsys):
    source, out = people.write(), tmp_path / "set"
    with h5py.File(source / "train.h5", "w") as file:
        file["part"] = np.zeros((2 * NUM_FRAMES, 16, 2))
    assert prepare("human36m", source, out) == 3  # most of the release: it is probably another one
    assert "expected (N, 17, 2)" in capsys.readouterr().err
    assert prepare("human36m", source, out, *ANY_RATE) == 0
    assert written(out) == {"S9_Greeting.54138969"}
    assert set(quarantined(out).values()) == {"bad_annotation"}


def test_human36m_joints_that_are_no_hdf5(people, tmp_path):
    source, out = people.write(), tmp_path / "set"
    (source / "train.h5").write_bytes(b"no HDF5")
    assert prepare("human36m", source, out, *ANY_RATE) == 0
    assert written(out) == {"S9_Greeting.54138969"}


def test_human36m_list_and_joints_of_different_lengths(people, tmp_path, capsys):
    source, out = people.write(), tmp_path / "set"
    with h5py.File(source / "train.h5", "w") as file:
        file["part"] = np.array(people.joints["train"][:-1])
    assert prepare("human36m", source, out) == 0
    text = capsys.readouterr().out
    assert "train_images.txt lists 6 pictures and train.h5 has 5 rows" in text
    assert quarantined(out) == {"S5_Sitting_1.55011271": "bad_annotation"}
    assert written(out) == {"S1_Eating.54138969", "S9_Greeting.54138969"}
    assert prepare("human36m", source, out, "--strict") == 4


def test_human36m_that_is_not_there(people, tmp_path, capsys):
    source = people.write()
    shutil.rmtree(source / "pictures")
    assert prepare("human36m", source, tmp_path / "set") == 2
    assert "none of the 9 pictures" in capsys.readouterr().err
    (source / "valid.h5").unlink()
    assert prepare("human36m", source, tmp_path / "set") == 2
    text = capsys.readouterr().err
    assert "has no valid.h5" in text
    assert "vision.imar.ro" in text


def test_human36m_known_empty_sequence_may_be_listed(people, tmp_path, capsys):
    people.add("S11_Directions.54138969", "valid")
    source, out = people.write(), tmp_path / "set"
    for path in source.rglob("S11_*.jpg"):
        path.write_bytes(b"")
    assert prepare("human36m", source, out) == 0
    assert "known: S11_Directions.54138969" in capsys.readouterr().out
    assert quarantined(out) == {}


# Trees of files


def small_video(path: Path, frames: int = 6) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_h264(path, (np.full((32, 32, 3), 2 * n, np.uint8) for n in range(frames)), 10)


def pictures(folder: Path, numbers: list[str]) -> None:
    folder.mkdir(parents=True)
    for name in numbers:
        (folder / f"{name}.jpg").write_bytes(simplejpeg.encode_jpeg(np.full((16, 16, 3), 90, np.uint8)))


def test_folder_with_odd_names_links_and_faults(tmp_path):
    source, out = tmp_path / "raw", tmp_path / "set"
    names = [
        "a b.mp4",
        'it\'s "q".mp4',
        "new\nline.mp4",
        "v.1.2.mp4",
        "v.1.3.mp4",
        "käse/ü.mp4",
        "-x.mp4",
        "$HOME;ls.mp4",
    ]
    for name in names:
        small_video(source / name)
    pictures(source / "whole", ["8", "9", "10"])
    pictures(source / "every fifth", ["img_0005", "img_0010", "img_0015"])
    pictures(source / "gap", ["1", "2", "4"])
    pictures(source / "twice", ["1", "01"])
    pictures(source / "no number", ["cover"])
    (source / "loop").symlink_to(source)
    (source / "self.mp4").symlink_to("self.mp4")
    (source / "nowhere.mp4").symlink_to("absent.mp4")
    (source / "text.mp4").write_text("not a video")
    with open(os.fsencode(source) + b"/bad\xff.mp4", "wb") as file:
        file.write(b"1")
    assert prepare("folder", source, out, *ANY_RATE) == 0
    assert written(out) == {*names, "whole", "every fifth"}
    assert quarantined(out) == {
        "gap": "missing",
        "twice": "bad_annotation",
        "no number": "bad_annotation",
        "self.mp4": "unreadable",
        "nowhere.mp4": "missing",
        "text.mp4": "corrupt",
        "bad\\xff.mp4": "unreadable",
    }
    assert run(["verify", str(out), "--decode", "all", "--quiet"]) == 0
    allowed = tmp_path / "allowed"
    assert prepare("folder", source, allowed, *ANY_RATE, "--set", "gaps=allow") == 0
    assert "gap" in written(allowed)


def test_driving_gaps_are_no_fault_and_duplicates_are(tmp_path):
    source, out = tmp_path / "raw", tmp_path / "set"
    pictures(source / "dir-1", [str(number) for number in (*range(60), *range(70, 120))])
    pictures(source / "dir-2", ["7", "07"])
    small_video(source / "sub" / "dir-3.mp4", 120)
    small_video(source / "sub" / "dir-3.webm.mp4", 4)
    assert prepare("youtube-driving", source, out, *ANY_RATE) == 0
    assert written(out) == {"dir-1", "sub/dir-3"}
    assert quarantined(out) == {"dir-2": "bad_annotation"}
    rows = {row["source_id"]: row for row in pq.read_table(out / SOURCES_FILE).to_pylist()}
    assert rows["sub/dir-3.webm"]["status"] == "too_short"


def test_two_videos_with_one_id_are_both_accounted_for(tmp_path):
    source, out = tmp_path / "raw", tmp_path / "set"
    small_video(source / "dir-1.m4v", 120)
    small_video(source / "dir-1.mp4", 120)
    assert prepare("youtube-driving", source, out) == 0
    assert written(out) == {"dir-1"}
    assert quarantined(out) == {"dir-1 (duplicate 2)": "duplicate_id"}


def test_rlbench_faults(tmp_path):
    source, out = tmp_path / "raw", tmp_path / "set"
    source.mkdir()
    images = np.zeros((5, 64, 64, 3), np.uint8)
    np.savez_compressed(source / "good.npz", image=images)
    np.savez_compressed(source / "floats.npz", image=images.astype(np.float32))
    np.savez_compressed(source / "flat.npz", image=images[..., 0])
    np.savez_compressed(source / "other.npz", action=np.zeros(3))
    np.savez_compressed(source / "empty.npz", image=images[:0])
    np.savez(source / "pickled.npz", image=np.array([Trap(tmp_path / "trap")], object))
    (source / "cut.npz").write_bytes((source / "good.npz").read_bytes()[:200])
    (source / "nothing.npz").write_bytes(b"")
    with zipfile.ZipFile(source / "text.npz", "w") as archive:
        archive.writestr("image.npy", "no array")
    assert prepare("rlbench", source, out, *ANY_RATE) == 0
    assert written(out) == {"good"}
    assert quarantined(out) == {
        "floats": "corrupt",
        "flat": "corrupt",
        "other": "no_video_stream",
        "empty": "zero_frames",
        "pickled": "corrupt",
        "cut": "corrupt",
        "nothing": "empty_file",
        "text": "corrupt",
    }
    assert not (tmp_path / "trap").exists()


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_ego4d_with_useless_metadata(tmp_path, capsys):
    source, out = tmp_path / "raw", tmp_path / "set"
    small_video(source / "full_scale" / "1f.mp4", 20)
    (source / "ego4d.json").write_text('{"videos": [{"uid": 3}]}')
    assert prepare("ego4d", source, out, "--set", "size=32x32") == 0
    assert "the videos get no label" in capsys.readouterr().out
    assert written(out) == {"1f"}


@pytest.mark.parametrize("name", ["human36m", "youtube-driving", "ego4d", "rlbench", "folder"])
def test_a_folder_without_the_release(name, tmp_path, capsys):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "notes.txt").write_text("nothing here")
    for source in (tmp_path / "raw", tmp_path / "absent"):
        assert prepare(name, source, tmp_path / "set") == 2
        text = capsys.readouterr().err
        assert "expected:" in text
        assert f"docs/datasets/{name.replace('-', '_')}.md" in text
    assert not (tmp_path / "set" / "manifest.json").exists()


def test_official_code_is_refused_where_there_is_none(tmp_path, capsys):
    (tmp_path / "raw").mkdir()
    assert prepare("rlbench", tmp_path / "raw", tmp_path / "set", "--profile", "official-code") == 2
    assert "unknown profile" in capsys.readouterr().err


@pytest.mark.parametrize("name", OURS["datasets"])
def test_hints_name_the_users_folder_or_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    source = tmp_path / "elsewhere"
    source.mkdir()
    assert prepare(name, source, tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert str(source) in message
    assert "data/raw" not in message + data_set(name).help
