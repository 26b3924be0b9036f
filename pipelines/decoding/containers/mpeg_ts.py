"""The structure of MPEG transport streams: packets of equal length, numbered within each video stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from pipelines.decoding.containers.source_bytes import SourceBytes
from pipelines.decoding.containers.structure import Structure, broken, cut_off

_SYNC, _NULL_PID = 0x47, 0x1FFF
_LENGTHS = ((188, 0), (192, 4), (204, 0))
"""(bytes of a packet, bytes before its sync byte): plain, Blu-ray, with error correction."""
_PROBE = 5
_PACKETS = 20_000  # read at a time


def packet_layout(data: SourceBytes) -> tuple[int, int, int] | None:
    """(first packet, bytes of a packet, bytes before its sync byte), or None when it is no transport stream."""
    head = data.at(0, 204 * (_PROBE + 2))
    for length, before in _LENGTHS:
        for start in range(length):  # a recording may begin inside a packet
            places = range(start + before, start + before + _PROBE * length, length)
            if all(place < len(head) and head[place] == _SYNC for place in places):
                return start, length, before
    return None


def walk_mpeg_ts(data: SourceBytes) -> Generator[None, None, Structure]:
    """Check a file; the structure is the generator's value.

    Raises:
        StructureError: it does not hold together.
    """
    layout = packet_layout(data)
    assert layout is not None
    position, length, before = layout
    walk = _Walk()
    while position + length <= data.size_bytes:
        piece = data.stream(position, length * _PACKETS)
        rows = np.frombuffer(piece, np.uint8, len(piece) // length * length).reshape(-1, length)[:, before:]
        lost = np.flatnonzero(rows[:, 0] != _SYNC)
        if len(lost):
            place = position + int(lost[0]) * length
            if data.is_text_from(place):
                walk.check(rows[: int(lost[0])], position, length)
                return Structure(num_pictures=walk.num_pictures)
            raise broken("no transport packet", place)
        walk.check(rows, position, length)
        position += len(rows) * length
        yield
    tail = data.at(position + before, length)
    if tail[:1] == bytes([_SYNC]):
        raise cut_off(data.size_bytes, position + length)
    return Structure(num_pictures=walk.num_pictures)


@dataclass
class _Stream:
    number: int
    place: int


class _Walk:
    """Continuity counters of the video streams, over the pieces of a file."""

    def __init__(self) -> None:
        self._video: dict[int, _Stream | None] = {}
        self._table: _Stream | None = None
        self._table_began = -1
        self.num_pictures: Counter[int] = Counter()

    def check(self, rows: np.ndarray, position: int, length: int) -> None:
        """Check packets, uint8 (N, 188 or more), which begin at `position`.

        A number that does not continue the one before is a gap, unless joined recordings meet there: the new one begins
        with its own tables and with a whole picture.
        """
        if not len(rows):
            return
        flags = rows[:, 3]
        pids = (rows[:, 1].astype(np.int32) & 0x1F) << 8 | rows[:, 2]
        if np.any((rows[:, 1] & 0x80 != 0) & (pids != _NULL_PID)):
            place = int(np.flatnonzero(rows[:, 1] & 0x80)[0])
            raise broken("a packet that its receiver marked as damaged", position + place * length)
        adapted, filled = flags & 0x20 != 0, flags & 0x10 != 0
        begins = rows[:, 1] & 0x40 != 0
        may_jump = adapted & (rows[:, 4] > 0) & (rows[:, 5] & 0x80 != 0)
        self._find_pictures(rows, pids, begins & filled, adapted, position, length)
        base = position // length
        tables = self._table_restarts(pids, filled, flags, base)
        for pid in sorted(self._video):
            places = np.flatnonzero((pids == pid) & filled)
            if not len(places):
                continue
            numbers = (flags[places] & 15).astype(np.int16)
            last = self._video[pid]
            before = np.concatenate([[last.number if last else numbers[0]], numbers[:-1]])
            odd = np.flatnonzero(((numbers - before) % 16 > 1) & ~may_jump[places])
            for one in odd.tolist():  # rare
                place = int(places[one])
                previous = base + int(places[one - 1]) if one else (last.place if last else base)
                if not (begins[place] and any(previous < table < base + place for table in tables)):
                    what = f"packets of the video are missing (number {numbers[one]} follows {before[one]})"
                    raise broken(what, position + place * length)
            self._video[pid] = _Stream(int(numbers[-1]), base + int(places[-1]))

    def _find_pictures(
        self, rows: np.ndarray, pids: np.ndarray, starts: np.ndarray, adapted: np.ndarray, position: int, length: int
    ) -> None:
        """Find the video streams; count the time stamps in them, each of which stands where a picture begins."""
        for place in np.flatnonzero(starts).tolist():
            pid, row = int(pids[place]), rows[place]
            payload = 4 + (1 + int(row[4]) if adapted[place] else 0)
            head = row[payload : payload + 8].tobytes()
            is_packet = head[:3] == b"\0\0\1" and len(head) == 8
            if pid in self._video and not is_packet:
                raise broken("no start of a packet of the video", position + place * length)
            if is_packet and 0xE0 <= head[3] <= 0xEF:
                self._video.setdefault(pid, None)
                self.num_pictures[pid] += head[7] & 0x80 != 0

    def _table_restarts(self, pids: np.ndarray, filled: np.ndarray, flags: np.ndarray, base: int) -> list[int]:
        """Numbers of the packets with a programme table (PID 0) that does not continue the one before."""
        restarts = [self._table_began] if self._table_began >= 0 else []
        for place in np.flatnonzero((pids == 0) & filled).tolist():
            number = int(flags[place]) & 15
            if self._table is not None and (number != (self._table.number + 1) % 16 or number == 0):
                self._table_began = base + place
                restarts.append(self._table_began)
            self._table = _Stream(number, base + place)
        return restarts
