"""What a TIFF says of its samples: which decoder reads them, and which of them no decoder here reads right."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pipelines.datasets.quarantine import SourceFailure

_BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _TILE_WIDTH, _SAMPLE_FORMAT = 258, 259, 262, 274, 322, 339
_DEFAULTS: dict[int, tuple[int, ...]] = {
    _BITS: (1,), _COMPRESSION: (1,), _PHOTOMETRIC: (0,), _ORIENTATION: (), _TILE_WIDTH: (), _SAMPLE_FORMAT: (1,),
}  # fmt: skip
_ENTRY_BYTES = 12
_FIELD_BYTES = {1: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4}
"""Type of a field → bytes of one of its integers; other types hold none that matter here."""
_MOST_VALUES = 16
_READ_BITS = frozenset({1, 2, 4, 8, 16})
_JPEG = frozenset({6, 7})
_RGB, _YCBCR = 2, 6
_UNSIGNED, _FLOAT, _UNDEFINED = 1, 3, 4
_FORMAT_NAMES = {1: "unsigned", 2: "signed", 3: "float", 5: "complex", 6: "complex float"}


class TiffKind(NamedTuple):
    """What the first directory of a TIFF says; the standard's defaults where it says nothing.

    Attributes:
        bits: of each sample of a pixel; empty when they cannot be read.
        compression, photometric: as the standard numbers them.
        orientation: as EXIF numbers it; 0 when nothing is said.
        is_tiled: whether the picture lies in tiles.
        formats: of each sample, as the standard numbers them; empty when they cannot be read.
    """

    bits: tuple[int, ...]
    compression: int
    photometric: int
    orientation: int
    is_tiled: bool
    formats: tuple[int, ...]

    @property
    def is_unusual(self) -> bool:
        """Whether the video decoder errs without a word, and Pillow does not: JPEG's data, tiles, YCbCr."""
        return self.compression in _JPEG or self.is_tiled or self.photometric == _YCBCR

    def check(self) -> None:
        """Refuse samples that decoders turn into wrong values without a word.

        Raises:
            SourceFailure: `corrupt`, naming them.
        """
        kinds = {_UNSIGNED if one == _UNDEFINED else one for one in self.formats}
        if kinds == {_FLOAT} and self.bits == (32, 32, 32) and self.photometric == _RGB:
            return
        if kinds != {_UNSIGNED} or len({*self.bits}) != 1 or not _READ_BITS.issuperset(self.bits):
            names = "/".join(_FORMAT_NAMES.get(one, f"unknown ({one})") for one in sorted(kinds)) or "unreadable"
            bits = "/".join(str(one) for one in sorted({*self.bits})) or "an unreadable number of"
            raise SourceFailure("corrupt", f"a TIFF of {bits} bits per sample, {names}: convert it to 8 or 16 unsigned")

    def check_in_video(self) -> None:
        """Refuse a video's picture that its decoder would spoil without a word.

        Raises:
            SourceFailure: `corrupt`, naming it.
        """
        self.check()
        if self.is_unusual:
            words = "a TIFF with JPEG's data, in tiles or of YCbCr, which the video decoder spoils: unpack the pictures"
            raise SourceFailure("corrupt", words)


def tiff_kind(data: bytes) -> TiffKind:
    """Reads the first directory, as far as the file goes."""
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    start = int.from_bytes(data[4:8], order)
    end = start + 2 + _ENTRY_BYTES * int.from_bytes(data[start : start + 2], order)
    found = dict(_DEFAULTS)
    for position in range(start + 2, min(end, len(data)) - _ENTRY_BYTES + 1, _ENTRY_BYTES):
        tag = int.from_bytes(data[position : position + 2], order)
        if tag in found:
            found[tag] = _values(data, position, order)
    compression, photometric, orientation = (
        next(iter(found[tag]), 0) for tag in (_COMPRESSION, _PHOTOMETRIC, _ORIENTATION)
    )
    is_tiled = bool(found[_TILE_WIDTH])
    return TiffKind(found[_BITS], compression, photometric, orientation, is_tiled, found[_SAMPLE_FORMAT])


def _values(data: bytes, position: int, order: Literal["little", "big"]) -> tuple[int, ...]:
    """The integers of a directory's entry, the first few of many; none where they are of another type or cut off."""
    size = _FIELD_BYTES.get(int.from_bytes(data[position + 2 : position + 4], order), 0)
    count = int.from_bytes(data[position + 4 : position + 8], order)
    start = position + 8
    if size * count > 4:
        start = int.from_bytes(data[start : start + 4], order)
    end = start + size * min(count, _MOST_VALUES)
    if not size or end > len(data):
        return ()
    return tuple(int.from_bytes(data[at : at + size], order) for at in range(start, end, size))
