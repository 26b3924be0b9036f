"""Picture files against Pillow with `exif_transpose`, averaged over areas: orientation, content, colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipelines.datasets.base import ImageFiles, SourceItem
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.open_frames import open_frames
from pipelines.decoding.orientation import OF_EXIF, UPRIGHT
from pipelines.decoding.picture_file import orientation_of
from tests.pipelines.decoding.test_colour import check, picture

ORIENTATION = 0x0112


def photo(height: int = 100, width: int = 130) -> Image.Image:
    return Image.fromarray(picture(height, width))


def stored(path: Path, size: str = "24x32", box: tuple[int, int, int, int] | None = None) -> np.ndarray:
    item = SourceItem("x", path.name, 1, ImageFiles("", (path.name,), (0,)), boxes=(box,) if box else None)
    frame = next(iter(open_frames(item, path.parent, PrepareConfig.model_validate({"size": size}))))
    assert frame is not None
    return frame.picture


def check_against_pillow(path: Path) -> None:
    with Image.open(path) as image:
        full = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    check(stored(path), full, path.name)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_every_orientation_of_exif(tmp_path: Path, ending: str) -> None:
    for number in OF_EXIF:
        exif = Image.Exif()
        exif[ORIENTATION] = number
        path = tmp_path / f"{number}.{ending}"
        photo().save(path, exif=exif.tobytes(), quality=95)
        check_against_pillow(path)
        assert stored(path, "short:48").shape == ((62, 48, 3) if number > 4 else (48, 62, 3))


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_a_box_is_cut_from_the_picture_as_shown(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    photo().save(path, exif=exif.tobytes(), **({"quality": 95} if ending == "jpg" else {}))
    shown = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    cut = stored(path, "40x40", (30, 50, 70, 90))
    np.testing.assert_array_equal(cut, shown[50:90, 30:70])


def test_orientation_in_xmp_counts_as_for_pillow(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    photo().save(path, xmp=xmp)
    assert orientation_of(path.read_bytes()) == OF_EXIF[3]
    check_against_pillow(path)


def with_segment(jpeg: bytes, marker: int, contents: bytes) -> bytes:
    return jpeg[:2] + bytes((0xFF, marker)) + (len(contents) + 2).to_bytes(2, "big") + contents + jpeg[2:]


@pytest.mark.parametrize("block", [b"II*\0" + b"\xff" * 20, b"MM\0*\0\0\0\x08\0\x09", b"nonsense", b""])
def test_exif_that_cannot_be_read_spoils_nothing(tmp_path: Path, block: bytes) -> None:
    photo().save(tmp_path / "good.jpg")
    good = (tmp_path / "good.jpg").read_bytes()
    (tmp_path / "odd.jpg").write_bytes(with_segment(good, 0xE1, b"Exif\0\0" + block))
    np.testing.assert_array_equal(stored(tmp_path / "odd.jpg"), stored(tmp_path / "good.jpg"))


def test_jpegs_of_four_inks_with_and_without_adobe_s_marker(tmp_path: Path) -> None:
    path = tmp_path / "adobe.jpg"
    photo().convert("CMYK").save(path, quality=95)
    check_against_pillow(path)
    data = path.read_bytes()
    start = data.index(b"\xff\xee")
    plain = tmp_path / "plain.jpg"
    plain.write_bytes(data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4], "big") :])
    check_against_pillow(plain)
    np.testing.assert_array_equal(
        stored(plain, "40x40", (0, 0, 40, 40)), np.asarray(Image.open(plain).convert("RGB"))[:40, :40]
    )


SAVED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "420.jpg": ("RGB", "JPEG", {"subsampling": 2, "quality": 90}),
    "422.jpg": ("RGB", "JPEG", {"subsampling": 1, "quality": 90}),
    "444.jpg": ("RGB", "JPEG", {"subsampling": 0, "quality": 90}),
    "rgb.jpg": ("RGB", "JPEG", {"keep_rgb": True}),
    "progressive.jpg": ("RGB", "JPEG", {"progressive": True}),
    "gray.jpg": ("L", "JPEG", {}),
    "lossy.webp": ("RGB", "WEBP", {"quality": 90}),
    "lossless.webp": ("RGB", "WEBP", {"lossless": True}),
    "rgb.png": ("RGB", "PNG", {}),
    "palette.png": ("P", "PNG", {}),
    "alpha.png": ("RGBA", "PNG", {}),
    "bits.png": ("1", "PNG", {}),
    "bits.bmp": ("1", "BMP", {}),
    "palette.bmp": ("P", "BMP", {}),
    "rgb.ppm": ("RGB", "PPM", {}),
    "png named.jpg": ("RGB", "PNG", {}),
    "jpeg named.png": ("RGB", "JPEG", {}),
    "webp named.jpg": ("RGB", "WEBP", {}),
    "gif named.png": ("P", "GIF", {}),
    "tiff named.jpg": ("RGB", "TIFF", {}),
    "bits named.ppm": ("1", "PPM", {}),
}
"""File name → mode, true format, options."""


@pytest.mark.parametrize("name", SAVED)
def test_content_decides_and_colours_are_pillow_s(tmp_path: Path, name: str) -> None:
    mode, true_format, options = SAVED[name]
    photo().convert(mode).save(tmp_path / name, format=true_format, **options)
    check_against_pillow(tmp_path / name)


@pytest.mark.parametrize(
    ("contents", "words"),
    [(b"\0\0\0\x18ftypheic" + bytes(30), "HEIF"), (b"<html>not found</html>", "web page"), (b"hello", "hello")],
)
def test_what_is_no_picture_is_named(tmp_path: Path, contents: bytes, words: str) -> None:
    (tmp_path / "1.jpg").write_bytes(contents)
    with pytest.raises(SourceFailure, match=words) as error:
        stored(tmp_path / "1.jpg")
    assert error.value.reason == "corrupt"
    assert error.value.message.startswith("1.jpg: ")


def test_a_picture_without_metadata_is_upright(tmp_path: Path) -> None:
    photo().save(tmp_path / "a.png")
    assert orientation_of((tmp_path / "a.png").read_bytes()) == UPRIGHT


def test_a_picture_of_another_width_than_its_boxes_are_made_for_is_named(tmp_path: Path) -> None:
    photo().save(tmp_path / "a.png")
    files = ImageFiles("", ("a.png",), (0,), width=1000)
    item = SourceItem("x", "a.png", 1, files, boxes=((0, 0, 40, 40),))
    with pytest.raises(SourceFailure, match="a.png: 130x100 pixels, expected 1000 wide") as error:
        next(iter(open_frames(item, tmp_path, PrepareConfig())))
    assert error.value.reason == "bad_annotation"
