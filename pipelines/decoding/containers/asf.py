"""The structure of ASF and WMV files: a header, then data packets of one length, as many as it says."""

from __future__ import annotations

from collections.abc import Generator

from pipelines.decoding.containers.source_bytes import SourceBytes
from pipelines.decoding.containers.structure import Structure, broken, cut_off

MAGIC = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_BROADCAST = 1
_TICK_PACKETS = 20_000


def walk_asf(data: SourceBytes) -> Generator[None, None, Structure]:
    """Check a file; the structure is the generator's value.

    Raises:
        StructureError: it does not hold together.
    """
    size, header_end = data.size_bytes, int.from_bytes(data.at(16, 8), "little")
    if not 30 <= header_end < size:
        raise cut_off(size, header_end)
    packet = _packet_bytes(data, header_end)
    if data.at(header_end, 16) != _DATA:
        raise broken("no data behind the header", header_end)
    stated = int.from_bytes(data.at(header_end + 16, 8), "little")
    count = int.from_bytes(data.at(header_end + 40, 8), "little")
    start = header_end + 50
    if not packet:
        return Structure()  # a recorder that was stopped, or packets of several lengths
    if count and start + count * packet > size:
        raise cut_off(size, start + count * packet)
    if count and stated and stated != 50 + count * packet:
        raise broken(f"data of {stated} bytes for {count} packets of {packet}", header_end)
    first = data.at(start, 3)
    for number in range(count):
        place = start + number * packet
        if first[0] & 0x80 and data.at(place, 3) != first:  # the head of its error correction
            raise broken("no data packet", place)
        if number % _TICK_PACKETS == 0:
            yield
    yield from _refuse_second(data, start + count * packet)
    return Structure()


def _refuse_second(data: SourceBytes, position: int) -> Generator[None, None, None]:
    """Behind the packets lie indexes; readers pass over another file there. Bytes that are no object end the walk."""
    number = 0
    while position + 24 <= data.size_bytes:
        head = data.at(position, 24)
        if head[:16] == MAGIC:
            raise broken("a second file is joined to the first", position)
        length = int.from_bytes(head[16:], "little")
        if length < 24:  # zeros that fill a block, …: nobody's
            return
        position += length
        number += 1
        if number % _TICK_PACKETS == 0:
            yield


def _packet_bytes(data: SourceBytes, header_end: int) -> int:
    """Length of each packet; 0 where the header does not fix it."""
    position = 30
    while position < header_end:
        head = data.at(position, 100)
        length = int.from_bytes(head[16:24], "little")
        if length < 24 or position + length > header_end:
            raise broken("an object that does not fit into the header", position)
        if head[:16] == _FILE:
            flags, least, most = (int.from_bytes(head[place : place + 4], "little") for place in (88, 92, 96))
            return 0 if flags & _BROADCAST or least != most else most
        position += length
    return 0
