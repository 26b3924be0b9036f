"""SSv2 releases that are incomplete or of another kind: the message says found, expected and what to do."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest

from ipv_bench.cli import run
from tests.pipelines.ssv2_maker import VIDEO_FOLDER, prepare, quarantine


@pytest.fixture
def source(release: Path, tmp_path: Path) -> Path:
    """A copy of the release that a test may break."""
    shutil.copytree(release, tmp_path / "raw")
    return tmp_path / "raw"


def fails(source: Path, out: Path, capsys: pytest.CaptureFixture[str], status: int, *words: str) -> None:
    assert prepare(source, out) == status
    error = capsys.readouterr().err
    for word in ("expected:", "to do:", *words):
        assert word in error, error
    assert not (out / "manifest.json").exists()


def test_no_release(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails(tmp_path / "nothing", tmp_path / "out", capsys, 2, "is not a folder", "apply at https://", "labels/")


def test_no_videos(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(source / VIDEO_FOLDER)
    fails(source, tmp_path / "out", capsys, 2, "no .webm file", "apply at")


def test_half_extracted(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in sorted((source / VIDEO_FOLDER).iterdir())[6:]:
        path.unlink()
    fails(
        source, tmp_path / "out", capsys, 2, "6 of the 12 listed videos are missing", "1006.webm", "finish extracting"
    )


def test_one_missing_video_is_quarantined(source: Path, tmp_path: Path) -> None:
    (source / VIDEO_FOLDER / "1003.webm").unlink()
    assert prepare(source, tmp_path / "out") == 0
    assert quarantine(tmp_path / "out")["1003"]["reason"] == "missing"


@pytest.mark.parametrize("name", ["train", "validation", "labels"])
def test_a_list_is_missing(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (source / "labels" / f"{name}.json").unlink()
    fails(source, tmp_path / "out", capsys, 2, f"no {name}.json")


def test_a_list_is_cut_off(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = source / "labels" / "train.json"
    path.write_text(path.read_text()[:50])
    fails(source, tmp_path / "out", capsys, 2, "train.json is not JSON")


def test_a_list_of_another_form(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (source / "labels" / "train.json").write_text(json.dumps(["1000", "1001"]))
    fails(source, tmp_path / "out", capsys, 2, "entry 0 of the train list")


def test_lists_with_a_byte_order_mark(source: Path, tmp_path: Path) -> None:
    for path in (source / "labels").glob("*.json"):
        path.write_text(path.read_text(), encoding="utf-8-sig")
    assert prepare(source, tmp_path / "out", "--limit", "2") == 0


def test_labels_of_another_release_stop_the_job(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source / "labels" / "labels.json").write_text(json.dumps({"Holding a thing": "0", "Lifting a thing": "1"}))
    fails(source, tmp_path / "out", capsys, 3, "bad_annotation", "'Holding something' is not in the labels list")


def test_one_unknown_label_is_quarantined_with_the_nearest(source: Path, tmp_path: Path) -> None:
    path = source / "labels" / "train.json"
    entries = json.loads(path.read_text())
    entries[0]["template"] = "Holding [something"
    entries[1]["template"] = "Movin [something] up"
    path.write_text(json.dumps(entries))
    assert prepare(source, tmp_path / "out", "--set", "max_failure_rate=0.2") == 0
    entry = quarantine(tmp_path / "out")["1001"]
    assert entry["reason"] == "bad_annotation"
    assert "the nearest is 'Moving something up'" in entry["message"]


def test_duplicate_ids_keep_the_first(source: Path, tmp_path: Path) -> None:
    path = source / "labels" / "train.json"
    entries = json.loads(path.read_text())
    path.write_text(json.dumps([*entries, entries[0]]))
    assert prepare(source, tmp_path / "out") == 0
    assert [entry["reason"] for entry in quarantine(tmp_path / "out").values()] == ["duplicate_id"]


def test_unlisted_videos_are_a_warning(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(source / VIDEO_FOLDER / "1000.webm", source / VIDEO_FOLDER / "77.webm")
    assert prepare(source, tmp_path / "out", "--strict") == 4
    assert "1 webm files are in no list" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--set", "jpeg_qualty=3"), ("unknown config key 'jpeg_qualty'", "did you mean 'jpeg_quality'")),
        (("--set", "min_frames=many"), ("min_frames is 'many'", "a whole number, at least 0")),
        (("--set", "size=64"), ("size is 64", "HxW such as 64x64")),
        (("--profile", "papr"), ("unknown profile of ssv2", "did you mean 'paper'")),
        (("--limit", "0"), ("--limit 0", "1 or more", "leave --limit out")),
        (("--workers", "-1"), ("--workers -1", "1 or more", "leave --workers out")),
        (("--set", "fps=5", "--set", "frame_stride=2"), ("fps is 5 and frame_stride is 2", "one of them alone")),
    ],
)
def test_wrong_options(
    release: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    words: tuple[str, ...],
) -> None:
    assert prepare(release, tmp_path / "out", *options) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words), error


def test_an_unknown_data_set_names_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(tmp_path, tmp_path / "out", name="sv2") == 2
    assert "did you mean 'ssv2'" in capsys.readouterr().err


def test_an_output_that_cannot_be_a_folder(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert prepare(release, tmp_path / "file" / "out") == 2
    assert "cannot write" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing_that_looks_complete(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third fsync finds no space; afterwards the same command completes the set."""
    import os

    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) >= 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    assert prepare(release, tmp_path / "out") == 2
    assert "the disk is full" in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not list((tmp_path / "out").glob(".*.part*"))
    monkeypatch.undo()
    assert prepare(release, tmp_path / "out") == 0
    assert run(["verify", str(tmp_path / "out"), "--decode", "all"]) == 0


def test_sample_refuses_a_folder_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert run(["sample", str(tmp_path), "--videos", "1"]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"
    assert run(["sample", str(tmp_path / "x"), "--videos", "0"]) == 2
    message = capsys.readouterr().err
    assert all(words in message for words in ("--videos 0", "1 or more", "leave --videos out")), message
    assert run(["sample", str(tmp_path / "x"), "--dataset", "ssv3"]) == 2
