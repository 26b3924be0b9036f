"""A crop that the container states is not applied, and is told."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from tests.pipelines.decoding.test_odd_streams import folder

WIDTH, HEIGHT, PATH = 128, 96, (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1")


def film(path: Path, **options: str) -> bytes:
    with av.open(str(path), "w", options=options) as out:
        stream = out.add_stream("h264", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(6):
            picture = np.full((HEIGHT, WIDTH, 3), 40 * number, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        out.mux(stream.encode())
    return path.read_bytes()


def matroska(path: Path) -> None:
    """The unit of the size to display, which nobody needs, becomes a crop at the left."""
    data, unit = film(path, write_crc32="0"), b"\x54\xb2\x81\x04"
    assert data.count(unit) == 1
    path.write_bytes(data.replace(unit, b"\x54\xcc\x81\x20"))


def mp4(path: Path, width: int = 64) -> None:
    """A `clap` box at the end of the sample's entry; all boxes around it grow by its length."""
    data = bytearray(film(path))
    begin, chain = 0, list[int]()
    for kind in PATH:
        place = data.index(kind, begin) - 4
        chain.append(place)
        begin = place + 8
    clap = struct.pack(">I4s8I", 40, b"clap", width, 1, HEIGHT, 1, 0, 1, 0, 1)
    (length,) = struct.unpack_from(">I", data, chain[-1])
    data[chain[-1] + length : chain[-1] + length] = clap
    for place in chain:
        struct.pack_into(">I", data, place, struct.unpack_from(">I", data, place)[0] + len(clap))
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [("a.mkv", matroska, "left 32"), ("a.mp4", mp4, "64x96 of 128x96"), ("a.mov", mp4, "64x96 of 128x96")],
)
def test_a_crop_of_the_container_is_told(tmp_path: Path, name: str, make: Callable[[Path], None], words: str) -> None:
    (tmp_path / "raw").mkdir()
    make(tmp_path / "raw" / name)
    found = folder(tmp_path / "raw", tmp_path / "set")[name]
    assert found["notes"] == {"crop_of_the_container": f"{words}; the whole picture is stored"}
    assert found["num_frames"] == 6


def test_a_crop_to_the_whole_picture_is_none(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    mp4(tmp_path / "raw" / "whole.mp4", WIDTH)
    film(tmp_path / "raw" / "plain.mkv")
    found = folder(tmp_path / "raw", tmp_path / "set")
    assert [one.get("notes") for one in found.values()] == [None, None]
