"""TIFFs of many kinds of samples: shown as they are, or refused by name."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.orientation import OF_EXIF
from pipelines.decoding.picture_file import orientation_of
from pipelines.decoding.picture_tiff import tiff_kind
from tests.pipelines.decoding.test_pictures import ORIENTATION, check_against_pillow, photo, stored
from tests.pipelines.decoding.tiff_maker import Tags, write_tiff

SIGNED, FLOAT = 2, 3


def smooth() -> np.ndarray:
    """A picture of 48x64 pixels without edges, uint8 (H, W, 3)."""
    y, x = np.mgrid[0:48, 0:64]
    return np.stack([80 + 2 * x, 60 + 2 * y, 200 - x], -1).astype(np.uint8)


def gray(kind: str = "<u2") -> np.ndarray:
    return smooth()[..., :1].astype(kind) * (1 if kind.endswith("1") else 257)


def check_pixels(tmp_path: Path, data: bytes, expected: np.ndarray, error: float) -> None:
    """The whole picture and a box of it."""
    (tmp_path / "a.tif").write_bytes(data)
    shown = np.broadcast_to(expected, (48, 64, 3)).astype(int)
    assert np.abs(stored(tmp_path / "a.tif", "native") - shown).mean() <= error
    box = (8, 4, 40, 36)
    assert np.abs(stored(tmp_path / "a.tif", "32x32", box) - shown[4:36, 8:40]).mean() <= error


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "YCbCr"])
def test_jpeg_inside_a_tiff(tmp_path: Path, mode: str) -> None:
    photo().convert(mode).save(tmp_path / "a.tif", compression="jpeg", quality=95)
    assert tiff_kind((tmp_path / "a.tif").read_bytes()).compression == 7
    check_against_pillow(tmp_path / "a.tif")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("encode", [bytes, zlib.compress])
def test_tiles(tmp_path: Path, order: str, encode: type) -> None:
    tags: Tags = {259: (1 if encode is bytes else 8,)}
    check_pixels(tmp_path, write_tiff(smooth(), tags, order=order, tile=16, encode=encode), smooth(), 0)
    wide = write_tiff(gray(f"{order}u2"), tags, order=order, tile=16, encode=encode)
    check_pixels(tmp_path, wide, gray("u1"), 1)


def test_tiles_of_16_bits_where_0_is_white(tmp_path: Path) -> None:
    """Of the little-endian ones; Pillow knows no others, so they are refused."""
    inverted = (65535 - gray()).astype("<u2")
    check_pixels(tmp_path, write_tiff(inverted, {262: (0,)}, tile=16), gray("u1"), 1)
    (tmp_path / "a.tif").write_bytes(write_tiff(inverted.astype(">u2"), {262: (0,)}, tile=16, order=">"))
    with pytest.raises(SourceFailure, match="neither the video decoder nor Pillow reads its kind"):
        stored(tmp_path / "a.tif")


def test_ycbcr_is_of_full_range(tmp_path: Path) -> None:
    samples = np.asarray(Image.fromarray(smooth()).convert("YCbCr"))
    check_pixels(tmp_path, write_tiff(samples, {262: (6,), 530: (1, 1)}), smooth(), 1.5)


@pytest.mark.parametrize("order", "<>")
def test_what_the_video_decoder_reads_right_is_read_as_before(tmp_path: Path, order: str) -> None:
    check_pixels(tmp_path, write_tiff(smooth(), {}, order=order), smooth(), 0)
    check_pixels(tmp_path, write_tiff(gray(f"{order}u2"), {}, order=order), gray("u1"), 1)
    check_pixels(tmp_path, write_tiff(255 - gray("u1"), {262: (0,)}, order=order), gray("u1"), 0)
    floats = (smooth() / 255).astype(f"{order}f4")
    check_pixels(tmp_path, write_tiff(floats, {339: (FLOAT,) * 3}, order=order), smooth(), 1)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("kind", "tags", "words"),
    [
        ("u4", {}, "32 bits per sample, unsigned"),
        ("i2", {339: (SIGNED,)}, "16 bits per sample, signed"),
        ("u1", {339: (SIGNED,)}, "8 bits per sample, signed"),
        ("f2", {339: (FLOAT,)}, "16 bits per sample, float"),
        ("u2", {258: (12,)}, "12 bits per sample, unsigned"),
        ("u1", {339: (1, 3)}, "8 bits per sample, unsigned/float"),
        ("u1", {339: (9,)}, r"8 bits per sample, unknown \(9\)"),
    ],
)
def test_samples_that_would_come_out_wrong_are_refused_by_name(
    tmp_path: Path, order: str, kind: str, tags: Tags, words: str
) -> None:
    (tmp_path / "a.tif").write_bytes(write_tiff(gray("u1").astype(order + kind), tags, order=order))
    with pytest.raises(SourceFailure, match=words) as error:
        stored(tmp_path / "a.tif")
    assert error.value.reason == "corrupt"


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("number", OF_EXIF)
def test_a_tiff_is_shown_by_its_own_tag(tmp_path: Path, order: str, number: int) -> None:
    floats = (smooth() / 255).astype(f"{order}f4")
    wide, tag = gray(f"{order}u2"), {ORIENTATION: (number,)}
    for samples, tags, tile, full in [
        (smooth(), tag, 0, smooth()),
        (smooth(), tag, 16, smooth()),
        (wide, tag, 16, gray("u1")),
        (floats, tag | {339: (FLOAT,) * 3}, 0, smooth()),
    ]:
        data = write_tiff(samples, tags, order=order, tile=tile)
        (tmp_path / "a.tif").write_bytes(data)
        shown = OF_EXIF[number].apply(np.broadcast_to(full, (48, 64, 3))).astype(int)
        np.testing.assert_allclose(stored(tmp_path / "a.tif", "native"), shown, atol=1)
        np.testing.assert_allclose(stored(tmp_path / "a.tif", "32x32", (4, 8, 36, 40)), shown[8:40, 4:36], atol=1)


@pytest.mark.parametrize("number", OF_EXIF)
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "jpeg"])
def test_orientation_of_a_tiff_counts_as_for_pillow(tmp_path: Path, number: int, compression: str) -> None:
    photo().save(tmp_path / "a.tif", tiffinfo={ORIENTATION: number}, compression=compression)
    assert orientation_of((tmp_path / "a.tif").read_bytes()) == OF_EXIF[number]
    check_against_pillow(tmp_path / "a.tif")


def test_a_tiff_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    data = write_tiff(smooth(), {}, tile=16)
    (tmp_path / "a.tif").write_bytes(data[:-200])
    with pytest.raises(SourceFailure, match=r"a\.tif: "):
        stored(tmp_path / "a.tif")


def test_a_kind_that_nobody_reads_is_refused_in_the_same_words_each_time(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(write_tiff(gray(), {262: (9,)}, tile=16))
    with pytest.raises(SourceFailure, match="neither the video decoder nor Pillow reads its kind"):
        stored(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        struct.pack("<I", 0),
        struct.pack("<I", 0xFFFFFFFF),
        struct.pack("<IH", 8, 0xFFFF),
        struct.pack("<IHHHII", 8, 0xFFFF, 258, 3, 0xFFFFFFFF, 0xFFFFFFFF),
        struct.pack("<IHHHII", 8, 1, 258, 3, 0xFFFFFFFF, 0),
        struct.pack("<IHHHII", 8, 1, 258, 77, 1, 8),
        struct.pack("<IHHHII", 8, 1, 339, 3, 0, 0),
        struct.pack("<IHHHI", 8, 1, 258, 3, 1),
    ],
)
def test_a_hostile_directory_is_read_within_bounds(tmp_path: Path, rest: bytes) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0" + rest)
    assert len(tiff_kind(b"II*\0" + rest).bits) <= 16
    with pytest.raises(SourceFailure, match=r"a\.tif: "):
        stored(tmp_path / "a.tif")
