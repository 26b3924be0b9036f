"""Sources that were replaced after they were planned: a warning by their times, proof by decoding again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipv_bench.cli import run
from pipelines.datasets.base import SourceItem, VideoFile
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.frames import SourceInfo, StoredFrame
from pipelines.shards import sample_block
from tests.pipelines.ssv2_maker import VIDEO_FOLDER, file_hashes, numbered_pictures, prepare, write_video


@pytest.fixture
def copy(release: Path, prepared: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A release and its set, both to be changed."""
    source = Path(shutil.copytree(release, tmp_path / "raw"))  # keeps the files' times
    return source, Path(shutil.copytree(prepared, tmp_path / "out"))


def replace_one(source: Path, newer: bool = True) -> Path:
    """Another video of the same size in place of 1003."""
    path = source / VIDEO_FOLDER / "1003.webm"
    before = path.stat()
    other = write_video(source / "other.webm", numbered_pictures(40, first=7)).read_bytes()
    (source / "other.webm").unlink()
    if len(other) > before.st_size:
        other = write_video(source / "other.webm", numbered_pictures(30, first=7)).read_bytes()
        (source / "other.webm").unlink()
    void = before.st_size - len(other)
    assert void == 0 or void >= 9
    if void:  # an element that readers pass over
        other += b"\xec\x01" + (void - 9).to_bytes(7, "big") + bytes(void - 9)
        other = _with_unknown_segment_size(other)
    path.write_bytes(other)
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + (10**9 if newer else 0)))
    return path


def _with_unknown_segment_size(data: bytes) -> bytes:
    place = data.index(b"\x18\x53\x80\x67") + 4
    return data[:place] + b"\x01" + b"\xff" * 7 + data[place + 8 :]


def test_a_replaced_source_is_warned_of_each_time(copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    source, out = copy
    before = file_hashes(out)
    assert prepare(source, out) == 0
    assert "modification times" not in capsys.readouterr().out
    replace_one(source)
    for _ in range(2):
        assert prepare(source, out) == 0
        printed = capsys.readouterr().out
        assert "1 source items have other modification times" in printed
        assert "1003.webm" in printed
    assert prepare(source, out, "--strict") == 4
    assert file_hashes(out) == before


def test_verify_finds_a_replaced_source_by_decoding(
    copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = copy
    assert run(["verify", str(out), "--source", str(source)]) == 0
    assert "12 source items decoded again" in capsys.readouterr().out
    replace_one(source, newer=False)
    assert run(["verify", str(out), "--source", str(source), "--decode", "0"]) == 0
    assert run(["verify", str(out), "--source", str(source)]) == 4
    printed = capsys.readouterr().out
    assert "1003.webm" in printed
    assert "delete ssv2-" in printed


def test_verify_names_a_source_of_another_size_and_a_damaged_one(
    copy: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = copy
    path = source / VIDEO_FOLDER / "1005.webm"
    data = path.read_bytes()
    path.write_bytes(data[:-200])
    path = source / VIDEO_FOLDER / "1006.webm"
    size = path.stat().st_size
    path.write_bytes(bytes(size))
    assert run(["verify", str(out), "--source", str(source)]) == 4
    printed = capsys.readouterr().out
    assert "1005.webm has another size" in printed
    assert "1006.webm is now quarantined corrupt" in printed


class NoFrames:
    """Frames of a decoder whose words are the path that it was given."""

    info = SourceInfo()

    def __init__(self, item: SourceItem, source: Path, config: PrepareConfig) -> None:
        self._path = source / item.path

    def __iter__(self) -> Iterator[StoredFrame | None]:
        raise SourceFailure("corrupt", f"[{self._path}] is odd; nothing in {self._path.parent} is read")


def test_tables_of_a_set_do_not_say_where_the_release_lay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_block, "open_frames", NoFrames)
    item = SourceItem("a", "in/a.mp4", 1, VideoFile("in/a.mp4"))
    with open(tmp_path / "shard", "wb") as file:
        outcome = sample_block.write_block(item, "a", tmp_path, PrepareConfig(), file, lambda: None)
    assert outcome.row.message == "[in/a.mp4] is odd; nothing in in is read"
    assert sample_block.without_place("raw is odd", Path("raw")) == "raw is odd"
