"""The structure of Matroska and WebM files: every element must fit into its parent, and clusters hold known elements.

A reader that meets a broken element searches for the next cluster and goes on without a word; the frames between are
lost. So all elements down to the blocks are walked, and the blocks of each video track counted. Files that were joined
hold several segments, which readers show one after another.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Generator, Iterator
from typing import NamedTuple

from pipelines.decoding.containers.source_bytes import SourceBytes
from pipelines.decoding.containers.structure import Structure, broken, cut_off

MAGIC = b"\x1a\x45\xdf\xa3"
_EBML, _SEGMENT, _CLUSTER, _TRACKS = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1654AE6B
_VOID, _CRC = 0xEC, 0xBF
_TOP = frozenset(
    {0x114D9B74, 0x1549A966, _CLUSTER, _TRACKS, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, _VOID, _CRC}
)
"""Seek head, info, clusters, tracks, cues, attachments, chapters, tags."""
_SIMPLE_BLOCK, _BLOCK_GROUP, _BLOCK = 0xA3, 0xA0, 0xA1
_NUMBERS = frozenset({0xE7, 0xA7, 0xAB})  # time, position, size of the cluster before
_IN_CLUSTER = frozenset({*_NUMBERS, 0x5854, _SIMPLE_BLOCK, _BLOCK_GROUP, _VOID, _CRC})
_IN_GROUP = frozenset({_BLOCK, 0xA2, 0x75A1, 0x9B, 0xFA, 0xFB, 0xFD, 0xA4, 0x75A2, 0x8E, 0xC8, 0xCA, 0xEB, _VOID, _CRC})
_TRACK_ENTRY, _NUMBER, _TYPE, _CODEC, _PRIVATE, _VIDEO = 0xAE, 0xD7, 0x83, 0x86, 0x63A2, 0xE0
_CROPS = {0x54CC: "left", 0x54DD: "right", 0x54BB: "top", 0x54AA: "bottom"}
_TICK_ELEMENTS = 20_000
_SMALL = 1 << 20  # an element without frames is checked against its CRC up to this size

Walk = Iterator[None]


def walk_matroska(data: SourceBytes) -> Generator[None, None, Structure]:
    """Check a file; the structure is the generator's value. It yields from time to time.

    Raises:
        StructureError: it does not hold together.
    """
    walk = _Walk(data)
    yield from walk.file()
    return walk.structure()


class _Track(NamedTuple):
    """What a track entry says: video is 1, sound 2; the codec's name, its headers, and pixels to be cut off."""

    kind: int
    codec: bytes
    private: bytes
    crop: str


class _Walk:
    def __init__(self, data: SourceBytes) -> None:
        self._data, self._size = data, data.size_bytes
        self._blocks: Counter[int] = Counter()
        self._tracks: dict[int, _Track] = {}
        self._first: dict[int, _Track] = {}
        self._elements = 0

    def structure(self) -> Structure:
        video = [number for number, track in self._tracks.items() if track.kind == 1]
        crops = [self._tracks[number].crop for number in video]
        return Structure([self._blocks[number] for number in video], crops=crops)

    def file(self) -> Walk:
        position = 0
        while position < self._size:
            if position and self._data.at(position, 4) != MAGIC and self._data.at(position, 4) != b"\x18\x53\x80\x67":
                return  # text or another file behind the last segment
            kind, start, end = self._element(position, self._size, "the file")
            if kind == _SEGMENT:
                before = position
                position = yield from self._segment(start, end)
                self._first = self._first or self._tracks
                if self._tracks != self._first:  # readers go on with the first one's decoders
                    raise broken("a second film with other tracks: two files were joined", before)
            else:
                if end is None or end > self._size:
                    raise broken("a header of unknown length", position)
                position = end

    def _segment(self, start: int, end: int | None) -> Generator[None, None, int]:
        if end is not None and end > self._size:
            raise cut_off(self._size, end)
        position, limit, listed = start, end if end is not None else self._size, False
        while position < limit:
            if end is None and self._foreign(position):
                break
            kind, inside, stop = self._element(position, limit, "the segment")
            if kind not in _TOP:
                raise broken(f"element {kind:x} in the segment", position)
            if kind == _CLUSTER:
                position = yield from self._cluster(inside, stop, limit)
                continue
            if stop is None:
                raise broken(f"element {kind:x} of unknown length", position)
            if kind == _TRACKS:
                if not listed:
                    self._tracks, listed = {}, True
                self._read_tracks(inside, stop)
            elif stop - inside < _SMALL:
                self._check_crc(inside, stop)
            position = stop
        return position

    def _cluster(self, start: int, end: int | None, limit: int) -> Generator[None, None, int]:
        """Returns the end of the cluster."""
        if end is not None:
            self._check_crc(start, end)
        position, stop = start, limit if end is None else end
        while position < stop:
            if end is None and self._foreign(position):
                break
            kind, inside, after = self._element(position, stop, "a cluster")
            if end is None and kind in _TOP and kind not in (_VOID, _CRC):
                return position  # of unknown length: the next element of the segment ends it
            if kind not in _IN_CLUSTER:
                raise broken(f"element {kind:x} in a cluster", position)
            if after is None:
                raise broken("an element of unknown length in a cluster", position)
            if kind in _NUMBERS and after - inside > 8:  # a block whose name is damaged
                raise broken(f"a number of {after - inside} bytes", position)
            if kind == _SIMPLE_BLOCK:
                self._count(inside, after)
            elif kind == _BLOCK_GROUP:
                self._group(inside, after)
            position = after
            self._elements += 1
            if self._elements % _TICK_ELEMENTS == 0:
                yield
        return position

    def _foreign(self, position: int) -> bool:
        """Whether another file or text follows an element of unknown length."""
        head = self._data.at(position, 4)
        return head == MAGIC or (head.isalnum() and self._data.is_text_from(position))

    def _group(self, start: int, end: int) -> None:
        position = start
        while position < end:
            kind, inside, after = self._element(position, end, "a block group")
            if kind not in _IN_GROUP or after is None:
                raise broken(f"element {kind:x} in a block group", position)
            if kind == _BLOCK:
                self._count(inside, after)
            position = after

    def _count(self, start: int, end: int) -> None:
        head = self._data.at(start, 13)
        number, length = _number(head)
        if number is None or start + length + 3 > end or (self._tracks and number not in self._tracks):
            raise broken(f"a block of the unknown track {number}", start)
        laced = head[length + 2] & 0x06 and len(head) > length + 3
        self._blocks[number] += head[length + 3] + 1 if laced else 1

    def _element(self, position: int, limit: int, parent: str) -> tuple[int, int, int | None]:
        """Id, start of the contents and end (None when unknown) of the element at `position`."""
        head = self._data.at(position, 12)
        if not head or not head[0] or head[0] < 0x10:
            raise broken(f"no element but {head[:4].hex()} in {parent}", position)
        id_length = 9 - head[0].bit_length()
        size, size_length = _number(head[id_length:])
        if len(head) < id_length + 1 or size_length > len(head) - id_length:
            raise cut_off(self._size, position + id_length + max(size_length, 1))
        if not size_length:
            raise broken(f"an element without a length in {parent}", position)
        kind, start = int.from_bytes(head[:id_length], "big"), position + id_length + size_length
        if size is None:
            return kind, start, None
        end = start + size
        if end > limit and kind != _SEGMENT:
            if limit == self._size and (kind in _IN_CLUSTER or kind in _TOP):
                raise cut_off(self._size, end)
            raise broken(f"element {kind:x} is longer than {parent}", position)
        return kind, start, end

    def _read_tracks(self, start: int, end: int) -> None:
        self._check_crc(start, end)
        position = start
        while position < end:
            kind, inside, after = self._element(position, end, "the tracks")
            if after is None:
                raise broken("a track of unknown length", position)
            if kind == _TRACK_ENTRY:
                self._read_track(inside, after)
            position = after

    def _read_track(self, start: int, end: int) -> None:
        values: dict[int, bytes] = {}
        crop, position = "", start
        while position < end:
            kind, inside, after = self._element(position, end, "a track")
            if after is None:
                raise broken("an element of unknown length in a track", position)
            if kind in (_NUMBER, _TYPE, _CODEC, _PRIVATE):
                values[kind] = self._data.at(inside, min(after - inside, _SMALL))
            elif kind == _VIDEO:
                crop = self._crop(inside, after)
            position = after
        if _NUMBER not in values:
            raise broken("a track without a number", start)
        number, kind = (int.from_bytes(values.get(name, b""), "big") for name in (_NUMBER, _TYPE))
        self._tracks[number] = _Track(kind, values.get(_CODEC, b""), values.get(_PRIVATE, b""), crop)

    def _crop(self, start: int, end: int) -> str:
        """Pixels that are to be cut off, by side, of a track's element for video."""
        found, position = [], start
        while position < end:
            kind, inside, after = self._element(position, end, "a video track")
            if after is None:
                raise broken("an element of unknown length in a video track", position)
            pixels = int.from_bytes(self._data.at(inside, min(after - inside, 8)), "big") if kind in _CROPS else 0
            if pixels:
                found.append(f"{_CROPS[kind]} {pixels}")
            position = after
        return ", ".join(sorted(found))

    def _check_crc(self, start: int, end: int) -> None:
        """A CRC-32, where the element begins with one."""
        head = self._data.at(start, 6)
        if head[:2] != b"\xbf\x84" or end - start < 6:
            return
        found, position = 0, start + 6
        while position < end:
            piece = self._data.stream(position, min(1 << 20, end - position))
            if not piece:
                raise cut_off(self._size, end)
            found = zlib.crc32(piece, found)
            position += len(piece)
        if found != int.from_bytes(head[2:6], "little"):
            raise broken("a checksum that does not fit its contents", start)


def _number(field: bytes) -> tuple[int | None, int]:
    """(value, or None when all its bits are set: unknown; length in bytes, 0 when it is none) of a variable integer."""
    if not field or not field[0]:
        return None, 0
    length = 9 - field[0].bit_length()
    value = int.from_bytes(field[:length], "big") & ((1 << 7 * length) - 1)
    return (None if value == (1 << 7 * length) - 1 else value), length
