"""The structure of Ogg files: pages with numbers and checksums."""

from __future__ import annotations

import zlib
from collections.abc import Generator

from pipelines.decoding.containers.source_bytes import SourceBytes
from pipelines.decoding.containers.structure import Structure, broken, cut_off

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_TICK_PAGES = 2_000


def walk_ogg(data: SourceBytes) -> Generator[None, None, Structure]:
    """Check a file; the structure is the generator's value.

    Raises:
        StructureError: it does not hold together.
    """
    size, position, pages = data.size_bytes, 0, 0
    expected: dict[bytes, int] = {}
    while position < size:
        head = data.at(position, 27 + 255)
        if head[:4] != b"OggS":
            if position and b"OggS" not in data.stream(position, 1 << 20):
                break  # bytes behind the last page are nobody's
            raise broken("no page", position)
        if len(head) < 27 or len(head) < 27 + head[26]:
            raise cut_off(size, position + 27 + (head[26] if len(head) > 26 else 0))
        end = position + 27 + head[26] + sum(head[27 : 27 + head[26]])
        if end > size:
            raise cut_off(size, end)
        page = data.stream(position, end - position)
        if _crc(page[:22] + bytes(4) + page[26:]) != int.from_bytes(page[22:26], "little"):
            raise broken("a page whose checksum does not fit", position)
        serial, number = head[14:18], int.from_bytes(head[18:22], "little")
        if expected.get(serial, number) != number:
            raise broken(f"page {number} where page {expected[serial]} was due", position)
        expected[serial] = number + 1
        if head[5] & 4:  # the last page of its stream
            del expected[serial]
        pages, position = pages + 1, end
        if pages % _TICK_PAGES == 0:
            yield
    return Structure()


def _crc(page: bytes) -> int:
    """Ogg's checksum by zlib's: the same polynomial, bits in the other order, no inversions."""
    value = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{value:032b}"[::-1], 2)
