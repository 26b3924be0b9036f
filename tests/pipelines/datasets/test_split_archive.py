"""SSv2's split archives: read as distributed, in either packaging, with the bytes of the plain folder."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipelines.datasets.split_archive import extract, list_members
from tests.pipelines.conftest import LENGTHS
from tests.pipelines.ssv2_maker import VIDEO_FOLDER, file_hashes, prepare, write_lists

NUM_PIECES = 4


@pytest.fixture(scope="module")
def pieces(release: Path) -> list[bytes]:
    """The release's videos as one compressed tar, cut into pieces."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path in sorted((release / VIDEO_FOLDER).iterdir(), reverse=True):
            tar.add(path, f"{VIDEO_FOLDER}/{path.name}")
    data = buffer.getvalue()
    step = -(-len(data) // NUM_PIECES)
    return [data[first : first + step] for first in range(0, len(data), step)]


def write_archive(source: Path, pieces: list[bytes], zipped: bool) -> None:
    write_lists(source, [str(1000 + number) for number in range(len(LENGTHS))])
    for number, piece in enumerate(pieces):
        name = f"{VIDEO_FOLDER}-{number:02d}"
        if zipped:
            with zipfile.ZipFile(source / f"{name}.zip", "w") as archive:
                archive.writestr(name, piece)
        else:
            (source / name).write_bytes(piece)


@pytest.mark.parametrize("zipped", [False, True])
def test_same_bytes_as_from_the_folder(pieces: list[bytes], prepared: Path, tmp_path: Path, zipped: bool) -> None:
    write_archive(tmp_path / "raw", pieces, zipped)
    assert prepare(tmp_path / "raw", tmp_path / "out") == 0
    assert file_hashes(tmp_path / "out") == file_hashes(prepared)


def test_only_the_videos_that_are_needed_are_laid_out(
    pieces: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_archive(tmp_path / "raw", pieces, False)
    assert prepare(tmp_path / "raw", tmp_path / "out", "--limit", "2") == 0
    assert "laying out 2 videos" in capsys.readouterr().out
    assert not (tmp_path / "out" / ".extracted").exists()


def test_a_missing_piece_is_named(pieces: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_archive(tmp_path / "raw", pieces, False)
    (tmp_path / "raw" / f"{VIDEO_FOLDER}-02").unlink()
    assert prepare(tmp_path / "raw", tmp_path / "out") == 2
    assert "lacks piece 02" in capsys.readouterr().err


def test_an_archive_that_ends_early(pieces: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_archive(tmp_path / "raw", pieces[:-1], False)
    assert prepare(tmp_path / "raw", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "cannot be read to its end" in error
    assert "download" in error


def test_of_a_video_held_twice_the_last_is_taken_as_unpacking_leaves_it(
    release: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in ("1003.webm", "1004.webm"):  # what two other videos hold, under the names of the first two
            tar.add(release / VIDEO_FOLDER / name, f"{VIDEO_FOLDER}/{int(name[:4]) - 3}.webm")
        for path in sorted((release / VIDEO_FOLDER).iterdir()):
            tar.add(path, f"{VIDEO_FOLDER}/{path.name}")
    write_archive(tmp_path / "raw", [buffer.getvalue()], False)
    assert prepare(tmp_path / "raw", tmp_path / "out") == 0
    said = capsys.readouterr().out
    words = (
        f"2 webm files are in the archive more than once, such as {VIDEO_FOLDER}/1000.webm: the last of each is taken"
    )
    assert words in said
    assert file_hashes(tmp_path / "out") == file_hashes(prepared)


def test_the_last_of_three_members_of_one_size(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a-00", mode="w") as tar:
        for name, data in (("1", b"a"), ("2", b"b"), ("1", b"c"), ("./1", b"d"), ("3", b"e")):
            info = tarfile.TarInfo(f"{name}.webm")
            info.size = 1
            tar.addfile(info, io.BytesIO(data))
    found = {file.path: file.replaces for file in list_members(tmp_path, ["a-00"], ".webm")}
    assert found == {"1.webm": 2, "2.webm": 0, "3.webm": 0}
    extract(tmp_path, ["a-00"], {"1.webm": 1, "2.webm": 1}, tmp_path / "out", found)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {"1.webm": b"d", "2.webm": b"b"}
