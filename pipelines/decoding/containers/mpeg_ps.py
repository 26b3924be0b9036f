"""The structure of MPEG program streams (MPEG-1 and -2, VOB): packs and packets without gaps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator

from pipelines.decoding.containers.source_bytes import SourceBytes
from pipelines.decoding.containers.structure import Structure, broken, cut_off

PACK = b"\0\0\1\xba"
_END, _SYSTEM = 0xB9, 0xBB
_TICK_PACKETS = 20_000
_SECTOR = 2324


def walk_mpeg_ps(data: SourceBytes) -> Generator[None, None, Structure]:
    """Check a file; the structure is the generator's value.

    Raises:
        StructureError: it does not hold together.
    """
    size, position, packets = data.size_bytes, 0, 0
    pictures: Counter[int] = Counter()
    while position < size:
        head = data.at(position, 32)
        if head[:3] != b"\0\0\1" or len(head) < 4:
            if _nothing_behind(data, position):
                break
            position = _after_padding(data, position)
            continue
        position = _end(head, position, size)
        if 0xE0 <= head[3] <= 0xEF:
            pictures[0x100 | head[3]] += _has_time(head)  # it stands where a picture begins
        packets += 1
        if packets % _TICK_PACKETS == 0:
            yield
    return Structure(num_pictures=pictures)


def _end(head: bytes, position: int, size: int) -> int:
    code = head[3]
    if code == _END:
        return position + 4
    if code == PACK[3]:
        if len(head) < 12:
            raise cut_off(size, position + 12)
        if head[4] & 0xF0 == 0x20:  # MPEG-1
            return position + 12
        if head[4] & 0xC0 != 0x40:
            raise broken("a pack of no known kind", position)
        return position + 14 + (head[13] & 7 if len(head) > 13 else 0)
    if code < _SYSTEM:
        raise broken(f"start code {code:x} between packets", position)
    if len(head) < 6:
        raise cut_off(size, position + 6)
    end = position + 6 + int.from_bytes(head[4:6], "big")
    if end > size:
        raise cut_off(size, end)
    return end


def _after_padding(data: SourceBytes, position: int) -> int:
    """The pack behind the zeros that fill a sector of a video CD."""
    sector = data.at(position, _SECTOR)
    zeros = len(sector) - len(sector.lstrip(b"\0"))
    place = position + zeros - 2  # the start code has two of its own
    if zeros < 2 or data.at(place, 4) != PACK:
        raise broken("no packet", position)
    return place


def _has_time(head: bytes) -> bool:
    """Whether a packet states a presentation time."""
    body = head[6:]
    if len(body) > 1 and body[0] & 0xC0 == 0x80:
        return bool(body[1] & 0x80)
    body = body.lstrip(b"\xff")  # MPEG-1
    if body and body[0] & 0xC0 == 0x40:
        body = body[2:]
    return bool(body) and body[0] & 0xE0 == 0x20


def _nothing_behind(data: SourceBytes, position: int) -> bool:
    """Whether only padding or foreign bytes follow: no further pack."""
    while position < data.size_bytes:
        piece = data.stream(position, 1 << 20)
        if PACK in piece or not piece:
            return False
        position += len(piece) - 3 if len(piece) == 1 << 20 else len(piece)
    return True
