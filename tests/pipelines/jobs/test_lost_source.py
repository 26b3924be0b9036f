"""A disk that goes away during a job: the job stops, or tries again; no video is lost for good."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ipv_bench.errors import FailureLimitError, SourceError
from ipv_bench.shard_set import MANIFEST_FILE
from pipelines.datasets.base import (
    ArrayFile,
    Frames,
    ImageFiles,
    SourceItem,
    TableRows,
    TableVideo,
    TrackRows,
    VideoFile,
    VideoRange,
)
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.quarantine import MACHINE_DEPENDENT, SourceFailure
from pipelines.decoding.open_frames import open_frames
from pipelines.jobs.lost_source import refuse_lost_source
from pipelines.jobs.source_times import item_files
from pipelines.jobs.tally import Tally
from pipelines.shards.sample_block import failure_outcome
from tests.pipelines.held_job import Hold
from tests.pipelines.ssv2_maker import file_hashes, prepare


def test_a_source_that_goes_away_stops_the_job_and_the_same_command_goes_on(
    release: Path, prepared: Path, tmp_path: Path
) -> None:
    source, away, out = tmp_path / "raw", tmp_path / "away", tmp_path / "out"
    shutil.copytree(release, source)
    hold = Hold(tmp_path / "hold")
    command = [sys.executable, "-m", "ipv_bench", "prepare", "ssv2", "--source", str(source), "--out", str(out)]
    process = hold.start([*command, "--workers", "1"])
    source.rename(away)
    source.mkdir()  # as the folder that a disk was mounted on
    hold.release()
    _, text = process.communicate()
    assert process.returncode == 2, text
    assert "is empty" in text
    assert not (out / MANIFEST_FILE).exists()
    source.rmdir()
    away.rename(source)
    assert prepare(source, out) == 0
    assert file_hashes(out) == file_hashes(prepared)


@pytest.mark.parametrize(
    "frames",
    [
        VideoFile("a.mp4"),
        VideoRange("a.mp4", 0.0, 3, 10.0),
        ImageFiles("", ("1.jpg",), (1,)),
        ArrayFile("a.npz"),
        TableVideo(TableRows("a.parquet", 0, 1), "video"),
    ],
)
def test_what_vanished_since_it_was_listed_may_come_back(tmp_path: Path, frames: Frames) -> None:
    with pytest.raises(SourceFailure, match="vanished") as caught:
        list(open_frames(SourceItem("a", "a", 1, frames), tmp_path, PrepareConfig()))
    assert caught.value.reason in MACHINE_DEPENDENT


def test_folders_that_are_gone_or_empty_are_told_from_a_lost_file(tmp_path: Path) -> None:
    source, disk = tmp_path / "raw", tmp_path / "disk"
    (disk / "videos").mkdir(parents=True)
    (disk / "videos" / "other.mp4").write_bytes(b"1")
    source.mkdir()
    (source / "linked").symlink_to(disk)
    refuse_lost_source(source, "linked/videos/a.mp4")
    refuse_lost_source(source, "no such folder/a.mp4")
    shutil.rmtree(disk)
    with pytest.raises(SourceError, match="linked is gone"):
        refuse_lost_source(source, "linked/videos/a.mp4")
    disk.mkdir()
    with pytest.raises(SourceError, match="linked is empty"):
        refuse_lost_source(source, "linked/videos/a.mp4")
    (source / "linked").unlink()
    with pytest.raises(SourceError, match="raw is empty"):
        refuse_lost_source(source, "a.mp4")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOTCONN])
@pytest.mark.parametrize("lost", ["raw", "raw/disk", "raw/disk/videos"])
def test_a_disk_that_answers_with_errors_is_told_from_a_lost_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, lost: str
) -> None:
    (tmp_path / "raw/disk/videos").mkdir(parents=True)

    def failing(real: Callable[..., object]) -> Callable[..., object]:
        def call(path: Path, **options: object) -> object:
            if Path(path).is_relative_to(tmp_path / lost):
                raise OSError(number, os.strerror(number), str(path))
            return real(path, **options)

        return call

    refuse_lost_source(tmp_path / "raw", "disk/videos/a.mp4")
    with monkeypatch.context() as patch:
        for name in ("scandir", "lstat"):
            patch.setattr(os, name, failing(getattr(os, name)))
        with pytest.raises(SourceError, match="cannot be listed") as caught:
            refuse_lost_source(tmp_path / "raw", "disk/videos/a.mp4")
    assert str(tmp_path / lost) + " cannot" in str(caught.value)
    assert "finished shards are kept" in caught.value.fix


def test_the_failure_limit_says_how_to_try_again_what_may_pass() -> None:
    tally = Tally(10, PrepareConfig(max_failure_rate=0))
    with pytest.raises(FailureLimitError) as caught:
        tally.add(failure_outcome(SourceItem("a", "a", 1, None), "unreadable", "it vanished"))
    assert "--retry-failed unreadable" in caught.value.fix


def test_the_times_of_track_files_count_too() -> None:
    tracks = TrackRows(TableRows("data.parquet", 0, 3), (), ())
    item = SourceItem("a", "a", 1, VideoRange("a.mp4", 0.0, 3, 10.0), tracks=tracks)
    assert list(item_files(item)) == ["a.mp4", "data.parquet"]


def test_verify_names_what_it_could_not_compare(release: Path, prepared: Path, tmp_path: Path) -> None:
    import subprocess

    from tests.pipelines.jobs.test_supervision import write_stub

    write_stub(tmp_path / "stub", "os.abort()", "pass")
    path = os.pathsep.join([str(tmp_path / "stub"), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "ipv_bench", "verify", str(prepared), "--source", str(release)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1001.webm: crashed here" in done.stdout
    assert "12 source items decoded again, 1 not compared" in done.stdout
