"""The structure of AVI files: chunks one after another, and the index that lists them once more.

Files above a gigabyte (OpenDML) have several parts, `RIFF AVI ` and then `RIFF AVIX`; the index `idx1` lists the
chunks of the first alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator, Iterator

import numpy as np

from pipelines.decoding.containers.source_bytes import SourceBytes
from pipelines.decoding.containers.structure import Structure, broken, cut_off

_STREAM = re.compile(rb"([0-9A-Fa-f]{2})(dc|db|wb|tx|pc|iv|sb|__|st)|ix[0-9A-Fa-f]{2}")
_OTHER = frozenset({b"JUNK", b"JUNQ", b"junk", b"PAD ", b"FREE", b"LIST", b"idx1", b"indx", b"strd"})
_TICK_CHUNKS = 20_000

Walk = Iterator[None]


def is_avi(head: bytes) -> bool:
    """Whether a file begins like an AVI."""
    return head[:4] == b"RIFF" and head[8:12] == b"AVI "


def walk_avi(data: SourceBytes) -> Generator[None, None, Structure]:
    """Check a file; the structure is the generator's value.

    Raises:
        StructureError: it does not hold together.
    """
    walk = _Walk(data)
    yield from walk.file()
    return walk.structure()


class _Walk:
    def __init__(self, data: SourceBytes) -> None:
        self._data, self._size = data, data.size_bytes
        self._streams: list[bytes] = []
        self._chunks: Counter[int] = Counter()  # with contents: empty ones repeat the picture before
        self._in_first_part: Counter[int] = Counter()
        self._indexed: Counter[int] | None = None
        self._index_place = 0
        self._seen = 0
        self._open_ended = False

    def structure(self) -> Structure:
        if self._indexed is not None:
            for number, kind in enumerate(self._streams):
                held = self._in_first_part[number]
                if kind == b"vids" and self._indexed[number] != held and not self._open_ended:
                    what = f"the index lists {self._indexed[number]} pictures of {held}"
                    raise broken(what, self._index_place)
        return Structure([self._chunks[n] for n, kind in enumerate(self._streams) if kind == b"vids"])

    def file(self) -> Walk:
        position = 0
        while position + 12 <= self._size:
            head = self._data.at(position, 12)
            if head[:4] != b"RIFF" or head[8:12] not in (b"AVI ", b"AVIX"):
                return  # bytes behind the last part are nobody's
            if position and head[8:12] == b"AVI ":
                raise broken("a second file is joined to the first", position)
            length = int.from_bytes(head[4:8], "little")
            self._open_ended = length in (0, 0xFFFFFFFF)  # a recorder that was stopped
            end = self._size if self._open_ended else position + 8 + length
            if end > self._size:
                raise cut_off(self._size, end)
            yield from self._inside(position + 12, end)
            if not position:
                self._in_first_part = self._chunks.copy()
            position = end + (end & 1)

    def _inside(self, start: int, end: int) -> Walk:
        position = start
        while position + 8 <= end:
            head = self._data.at(position, 12)
            kind, length = head[:4], int.from_bytes(head[4:8], "little")
            stop = position + 8 + length
            if stop > end:
                if kind == b"LIST" and (self._open_ended or length == 0):
                    stop = end
                elif self._open_ended:
                    raise cut_off(self._size, stop)
                else:
                    raise broken(f"chunk {kind!r} is longer than its list", position)
            if kind == b"LIST":
                if head[8:12] == b"movi":
                    if self._open_ended and length == 0:
                        stop = end
                    yield from self._movie(position + 12, stop)
                elif head[8:12] in (b"hdrl", b"strl"):
                    yield from self._inside(position + 12, stop)
            elif kind == b"strh":
                self._streams.append(self._data.at(position + 8, 4))
            elif kind == b"idx1":
                self._read_index(position + 8, length)
            elif not kind.isascii() or not kind.strip(b"\0"):
                if not any(self._data.stream(position, min(end - position, 1 << 20))):
                    return  # padding
                raise broken(f"no chunk but {kind.hex()}", position)
            position = stop + (stop & 1)

    def _movie(self, start: int, end: int) -> Walk:
        position = start
        while position + 8 <= end:
            head = self._data.at(position, 12)
            kind, length = head[:4], int.from_bytes(head[4:8], "little")
            match = _STREAM.fullmatch(kind)
            if not match and kind not in _OTHER:
                odd = position - 1  # a few writers forget the byte that makes lengths even
                if position & 1 == 0 and _STREAM.fullmatch(self._data.at(odd, 4)):
                    position = odd
                    continue
                raise broken(f"no chunk but {kind.hex()} among the pictures", position)
            stop = position + 8 + length
            if stop > end:
                if self._open_ended or end == self._size:
                    raise cut_off(self._size, stop)
                raise broken(f"chunk {kind!r} is longer than its list", position)
            if kind == b"LIST":
                yield from self._movie(position + 12, stop)
            elif match and match[1] and length:
                self._chunks[int(match[1], 16)] += 1
            self._seen += 1
            if self._seen % _TICK_CHUNKS == 0:
                yield
            position = stop + (stop & 1)

    def _read_index(self, start: int, length: int) -> None:
        rows = np.frombuffer(self._data.stream(start, length // 16 * 16), "<u4").reshape(-1, 4)
        names = rows[:, 0].astype("<u4").tobytes()
        self._indexed, self._index_place = Counter(), start
        for number, (kind, size) in enumerate(zip(range(0, len(names), 4), rows[:, 3].tolist(), strict=True)):
            match = _STREAM.fullmatch(names[kind : kind + 4])
            if match and match[1] and size:
                self._indexed[int(match[1], 16)] += 1
            elif not match and names[kind : kind + 4] not in (b"rec ", b"7Fxx"):
                raise broken(f"entry {number} of the index names no chunk", start + 16 * number)
