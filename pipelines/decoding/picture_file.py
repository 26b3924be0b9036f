"""What a picture file is, by its contents: its codec, how it is shown, and whether the video decoders can read it."""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipelines.datasets.quarantine import SourceFailure
from pipelines.decoding.orientation import OF_EXIF, UPRIGHT, Orientation
from pipelines.decoding.picture_tiff import tiff_kind

if TYPE_CHECKING:
    from PIL import Image

_CODECS = (
    (rb"\xff\xd8", "mjpeg"),
    (rb"\x89PNG\r\n\x1a\n", "png"),
    (rb"RIFF....WEBP", "webp"),
    (rb"BM", "bmp"),
    (rb"P[14]\s", "pbm"),
    (rb"P[25]\s", "pgm"),
    (rb"P[36]\s", "ppm"),
    (rb"P7\s", "pam"),
    (rb"GIF8[79]a", "gif"),
    (rb"II\*\0|MM\0\*", "tiff"),
)
"""How a file begins → codec. Names are not asked: many a PNG is called .jpg."""
_FOREIGN = (
    (rb"....ftyp(heic|heix|mif1|msf1|hevc)", "HEIF"),
    (rb"....ftypavi[fs]", "AVIF"),
    (rb"\xff\x0a|....JXL ", "JPEG XL"),
    (rb"....jP  |\xff\x4f\xff\x51", "JPEG 2000"),
    (rb"8BPS", "Photoshop"),
    (rb"\s*<(\?xml|svg|!DOCTYPE|html)", "a web page or SVG"),
)
"""How a file begins → what it is, of those that are not read."""
_METADATA = (b"Exif\0\0", b"eXIf", b"EXIF", b"Raw profile type ", b"tiff:Orientation")
"""Without one of these a file states no orientation."""
_TIFF = (b"II*\0", b"MM\0*")
_JPEG_SCAN = b"\xff\xda"
_ORIENTATION_TAG, _PHOTOMETRIC_TAG = 0x0112, 0x0106
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_ARITHMETIC = frozenset(range(0xC9, 0xD0))


def codec_of(data: bytes) -> str:
    """Name of the codec that reads a picture file.

    Raises:
        SourceFailure: `corrupt`, naming what it is when that is known.
    """
    for start, codec in _CODECS:
        if re.match(start, data, re.DOTALL):
            return codec
    known = next((name for start, name in _FOREIGN if re.match(start, data, re.DOTALL)), f"it begins {data[:8]!r}")
    raise SourceFailure("corrupt", f"no JPEG, PNG, WebP, BMP, PNM, GIF or TIFF ({known}): convert it")


def orientation_of(data: bytes) -> Orientation:
    """How a picture file is shown, by a TIFF's, EXIF's or XMP's Orientation as Pillow's `exif_transpose` reads it.

    Metadata that cannot be read say nothing: the picture is upright.
    """
    if data.startswith(_TIFF) and (stated := tiff_kind(data).orientation):
        return OF_EXIF.get(stated, UPRIGHT)
    end = data.find(_JPEG_SCAN) if data.startswith(b"\xff\xd8") else -1  # a JPEG's metadata stand before its scans
    if not any(data.find(words, 0, end if end > 0 else len(data)) >= 0 for words in _METADATA):
        return UPRIGHT
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                number = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001  (Pillow raises errors of many kinds for odd metadata, none of which matters)
        return UPRIGHT
    return OF_EXIF.get(number, UPRIGHT) if isinstance(number, int) else UPRIGHT


class JpegKind(NamedTuple):
    """What a JPEG's frame header says; zeros when there is none."""

    marker: int
    num_components: int

    @property
    def is_unusual(self) -> bool:
        """Whether the video decoder errs or gives up, and Pillow does not: four inks, arithmetic coding."""
        return self.num_components == 4 or self.marker in _ARITHMETIC


def jpeg_kind(data: bytes) -> JpegKind:
    """Reads the segments up to the frame header."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker in _FRAME_HEADERS:
            return JpegKind(marker, data[position + 9] if position + 9 < len(data) else 0)
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return JpegKind(0, 0)


def is_for_pillow(data: bytes, codec: str) -> bool:
    """Whether a picture file is of a kind that the video decoder reads wrong, and Pillow right."""
    if codec == "mjpeg":
        return jpeg_kind(data).is_unusual
    return codec == "tiff" and tiff_kind(data).is_unusual


def rgb_by_pillow(data: bytes) -> np.ndarray:
    """A picture in Pillow's colours, uint8 (H, W, 3), as stored.

    Raises:
        SourceFailure: `corrupt`.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                picture = _rgb(image)
        # Pillow turns TIFFs, and no others, upright as it reads them
        return orientation_of(data).inverse().apply(picture) if codec_of(data) == "tiff" else picture
    except UnidentifiedImageError as error:  # its words hold an address of memory
        raise SourceFailure("corrupt", "neither the video decoder nor Pillow reads its kind: convert it") from error
    except Exception as error:
        raise SourceFailure("corrupt", f"{type(error).__name__}: {error}") from error


def _rgb(image: Image.Image) -> np.ndarray:
    """uint8 (H, W, 3), or a view of such; Pillow itself cuts 16-bit grey at 255, and inverts none."""
    if not image.mode.startswith("I;16"):
        return np.asarray(image.convert("RGB"))
    is_inverted = image.getexif().get(_PHOTOMETRIC_TAG) == 0
    gray = (np.asarray(image) >> 8).astype(np.uint8)
    return np.repeat((255 - gray if is_inverted else gray)[..., None], 3, axis=2)
