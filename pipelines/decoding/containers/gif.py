"""The structure of GIF files: blocks up to the trailer."""

from __future__ import annotations

from collections.abc import Generator

from pipelines.decoding.containers.source_bytes import SourceBytes
from pipelines.decoding.containers.structure import Structure, broken, cut_off

MAGICS = (b"GIF87a", b"GIF89a")
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_TICK_IMAGES = 500


def walk_gif(data: SourceBytes) -> Generator[None, None, Structure]:
    """Check a file; the structure is the generator's value.

    Raises:
        StructureError: it does not hold together.
    """
    images, position = 0, 13 + _colours(data.at(10, 1))
    while True:
        kind = data.at(position, 1)
        if not kind:
            raise cut_off(data.size_bytes, position + 1)
        if kind[0] == _TRAILER:
            if data.at(position + 1, 6) not in MAGICS:
                return Structure([images])
            position += 14 + _colours(data.at(position + 11, 1))  # joined files: readers go on with the second
        elif kind[0] == _EXTENSION:
            position = _sub_blocks(data, position + 2)
        elif kind[0] == _IMAGE:
            position = _sub_blocks(data, position + 11 + _colours(data.at(position + 9, 1)))
            images += 1
            if images % _TICK_IMAGES == 0:
                yield
        else:
            raise broken(f"no block but {kind.hex()}", position)


def _colours(flags: bytes) -> int:
    """Bytes of the colour table that `flags` announce."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _sub_blocks(data: SourceBytes, position: int) -> int:
    while True:
        length = data.at(position, 1)
        if not length:
            raise cut_off(data.size_bytes, position + 1)
        position += 1 + length[0]
        if not length[0]:
            return position
