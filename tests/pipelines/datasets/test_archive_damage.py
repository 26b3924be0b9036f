"""A split archive that is not whole is an error: its members are never fewer without a word."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ipv_bench.errors import OutputError, SourceError
from pipelines.datasets.split_archive import extract, list_members

NUM_MEMBERS = 6
MEMBER_BYTES = 3000
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.fixture(scope="module")
def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number in range(NUM_MEMBERS):
            info = tarfile.TarInfo(f"videos/{number}.webm")
            info.size = MEMBER_BYTES
            archive.addfile(info, io.BytesIO(bytes([number + 1]) * MEMBER_BYTES))
    return buffer.getvalue()


def members(folder: Path, data: bytes, parts: int = 3) -> int:
    step = -(-len(data) // parts)
    for number in range(parts):
        (folder / f"a-{number:02d}").write_bytes(data[number * step : (number + 1) * step])
    return len(list_members(folder, [f"a-{number:02d}" for number in range(parts)], ".webm"))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_whole_archives_are_read(tar: bytes, tmp_path: Path, compression: str) -> None:
    assert members(tmp_path, COMPRESSIONS[compression](tar)) == NUM_MEMBERS


def test_a_flipped_bit_in_any_header_is_an_error(tar: bytes, tmp_path: Path) -> None:
    headers = [number * (512 + 3072) for number in range(NUM_MEMBERS)]
    for header in headers:
        for place in (0, 100, 124, 148, 156):
            damaged = bytearray(tar)
            damaged[header + place] ^= 4
            with pytest.raises(SourceError, match="cannot be read to its end"):
                members(tmp_path, bytes(damaged))


def test_zeros_in_place_of_a_header_are_not_its_end(tar: bytes, tmp_path: Path) -> None:
    damaged = bytearray(tar)
    damaged[3 * 3584 : 3 * 3584 + 512] = bytes(512)
    with pytest.raises(SourceError, match="data behind the archive's end mark"):
        members(tmp_path, bytes(damaged))


def test_an_archive_cut_between_two_members(tar: bytes, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="empty header"):
        members(tmp_path, tar[: 3 * 3584])


def test_a_flipped_bit_in_compressed_data(tar: bytes, tmp_path: Path) -> None:
    stored = gzip.compress(tar, 0, mtime=0)  # no code can notice: the checksum does
    damaged = bytearray(stored)
    damaged[3000] ^= 1
    with pytest.raises(SourceError, match="CRC"):
        members(tmp_path, bytes(damaged))


def test_members_without_contents_or_with_impossible_names_are_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a-00", mode="w", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
        info = tarfile.TarInfo("videos/1.webm")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"1234"))
        for name, kind in (("2.webm", tarfile.LNKTYPE), ("3.webm", tarfile.SYMTYPE), ("ä.webm", tarfile.REGTYPE)):
            info = tarfile.TarInfo(f"videos/{name}")
            info.type, info.linkname = kind, "videos/1.webm" if kind != tarfile.REGTYPE else ""
            archive.addfile(info)
    found = {file.path: file.problem for file in list_members(tmp_path, ["a-00"], ".webm")}
    assert found["videos/1.webm"] is None
    assert "hard link to videos/1.webm" in found["videos/2.webm"][1]
    assert "symbolic link" in found["videos/3.webm"][1]
    assert found["videos/\\xe4.webm"] == ("unreadable", "its name is not UTF-8")


def test_what_cannot_be_read_while_laying_out_is_the_archive_s_fault(tar: bytes, tmp_path: Path) -> None:
    sizes = {f"videos/{number}.webm": MEMBER_BYTES for number in range(NUM_MEMBERS)}
    data = bytearray(gzip.compress(tar, 0, mtime=0))
    (tmp_path / "a-00").write_bytes(data)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError):
        extract(tmp_path, ["a-00"], sizes, tmp_path / "file", {})
    data[: len(data)] = gzip.compress(tar, 0, mtime=0)[: len(data) // 2]
    (tmp_path / "a-00").write_bytes(data)  # it was cut after it had been listed
    with pytest.raises(SourceError, match="cannot be read to its end"):
        extract(tmp_path, ["a-00"], sizes, tmp_path / "out", {})
