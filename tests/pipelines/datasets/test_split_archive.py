"""SSv2's split archives: read as distributed, in either packaging, with the bytes of the plain folder."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

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
