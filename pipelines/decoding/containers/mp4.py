"""The structure of MP4, MOV and 3GP files: boxes within boxes, and the tables that say where each picture lies."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from pipelines.decoding.containers.source_bytes import SourceBytes
from pipelines.decoding.containers.structure import Structure, StructureError, broken, cut_off

FIRST = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"pnot"})
"""Boxes that a file may begin with."""
_TOP = FIRST | {b"moof", b"mfra", b"sidx", b"ssix", b"prft", b"emsg", b"meta", b"udta", b"uuid", b"pdin", b"PICT"}
_PARENTS = frozenset({b"trak", b"mdia", b"minf", b"stbl", b"edts", b"mvex"})
_VISUAL_ENTRY = 78  # bytes of a video sample's entry before the boxes in it
_MAX_TABLE = 1 << 28  # bytes of one table: far above any real one
_MAX_HEAD = 1 << 24  # bytes of a head that may be repeated

Walk = Iterator[None]
Span = tuple[int, int]


_FEW = 10  # the length of the last sample may be anything


def _far(found: int, stated: int) -> bool:
    """Whether two lengths, if both are known, differ by more than a tenth."""
    return bool(found and stated) and abs(found - stated) > stated / 10


@dataclass
class _Track:
    """What a `trak` says."""

    number: int = 0
    is_video: bool = False
    tables: dict[bytes, Span] = field(default_factory=dict)
    num_samples: int = 0
    trimmed: bool = False
    length: int = 0  # of all samples, in the track's own units
    shown: int = 0  # of the edits, in the file's units
    edits: int = 0


def walk_mp4(data: SourceBytes) -> Generator[None, None, Structure]:
    """Check a file; the structure is the generator's value.

    Raises:
        StructureError: it does not hold together.
    """
    walk = _Walk(data)
    yield
    walk.file()
    return walk.structure()


class _Walk:
    def __init__(self, data: SourceBytes) -> None:
        self._data, self._size = data, data.size_bytes
        self._tracks: list[_Track] = []
        self._mdat: list[Span] = []
        self._fragmented = self._moov = self._repeated = False
        self._first_moov: Span = (0, 0)
        self._sequence = -1
        self._media_scale: dict[int, int] = {}

    def structure(self) -> Structure:
        video = [track for track in self._tracks if track.is_video]
        counts = [-1 if track.trimmed else track.num_samples for track in video]
        return Structure(counts, crops=[self._clean_aperture(track) for track in video])

    def file(self) -> None:
        position, moofs = 0, list[Span]()
        while position < self._size:
            kind, start, end = self._box(position)
            whole = self._moov and bool(self._mdat)
            if kind not in _TOP or end < start:
                if whole:
                    self._refuse_lost_fragments(position)
                    break  # bytes behind the last box are nobody's
                if end < start or not kind.isascii() or not kind.strip(b"\0"):
                    raise broken("no box", position)
            if end > self._size:
                if whole and kind not in _TOP:
                    break
                raise cut_off(self._size, end)
            if kind == b"moov":
                self._repeated = self._moov
                if self._moov:
                    self._refuse_second(start, end)
                else:
                    self._moov, self._first_moov = True, (start, end)
                    self._read_moov(start, end)
            elif kind == b"mdat":
                self._mdat.append((start, end))
            elif kind == b"moof":
                moofs.append((start, end))
            position = end
        if not self._moov:
            raise cut_off(self._size, self._size + 1) if self._mdat else broken("no `moov` box", self._size)
        for track in self._tracks:
            self._check_samples(track)
        for start, end in moofs:
            self._read_moof(start, end)

    def _box(self, position: int) -> tuple[bytes, int, int]:
        """(type, start of the contents, end; before the start when the length is impossible)."""
        head = self._data.at(position, 16)
        length, kind, start = int.from_bytes(head[:4], "big"), head[4:8], position + 8
        if len(head) < 8:
            return b"", position, position - 1
        if length == 0:
            return kind, start, self._size
        if length == 1:
            length, start = int.from_bytes(head[8:16], "big"), position + 16
        end = position + length
        return kind, start, end if end >= start else position - 1

    def _refuse_lost_fragments(self, position: int) -> None:
        """In a file of fragments what is no box may have been one: only text may follow the last."""
        if self._fragmented and not self._data.is_text_from(position):
            raise broken("no box", position)

    def _refuse_second(self, start: int, end: int) -> None:
        """Refuse another film behind the first: readers pass over its pictures. Downloads of fragments may hold their
        common head again and again."""
        first, last = self._first_moov
        length = last - first
        same = end - start == length <= _MAX_HEAD and self._data.stream(first, length) == self._data.stream(
            start, length
        )
        if not (self._fragmented and same):
            raise broken("a second film: two files were joined", start)

    def _inside(self, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        position = start
        while position < end:
            kind, inside, after = self._box(position)
            if after < inside or after > end:
                if end - position < 8 and not any(self._data.at(position, end - position)):
                    return  # QuickTime ends some lists with zeros
                raise broken(f"box {kind!r} does not fit into its parent", position)
            yield kind, inside, after
            position = after

    def _read_moov(self, start: int, end: int) -> None:
        for kind, inside, after in self._inside(start, end):
            if kind == b"trak":
                track = _Track()
                self._read_track(track, inside, after)
                self._tracks.append(track)
            elif kind == b"mvex":
                self._fragmented = True

    def _read_track(self, track: _Track, start: int, end: int) -> None:
        for kind, inside, after in self._inside(start, end):
            if kind in _PARENTS:
                self._read_track(track, inside, after)
            elif kind == b"tkhd":
                wide = self._data.at(inside, 1) == b"\1"
                track.number = int.from_bytes(self._data.at(inside + (20 if wide else 12), 4), "big")
                track.shown = self._duration(inside, 28 if wide else 20)
            elif kind == b"mdhd":
                track.length = self._duration(inside, 24 if self._data.at(inside, 1) == b"\1" else 16)
            elif kind == b"hdlr":
                kinds = self._data.at(inside + 4, 8)
                if kinds[:4] in (b"mhlr", b"\0\0\0\0") or kinds[4:] in (b"vide", b"soun"):
                    track.is_video = track.is_video or kinds[4:] == b"vide"
            elif kind == b"elst":
                track.trimmed = track.trimmed or self._trims(inside)
                track.edits += self._edit_lengths(inside)
            else:
                track.tables[kind] = (inside, after)

    def _clean_aperture(self, track: _Track) -> str:
        """What is left of a track's pictures by its first `clap` box, where that is less than the whole."""
        if b"stsd" not in track.tables:
            return ""
        start, end = track.tables[b"stsd"]
        _, inside, after = self._box(start + 8)
        if not inside + _VISUAL_ENTRY <= after <= end:
            return ""
        coded = [int.from_bytes(self._data.at(inside + place, 2), "big") for place in (24, 26)]
        with suppress(StructureError):  # what follows a sample's entry is its decoder's business
            for kind, begin, _ in self._inside(inside + _VISUAL_ENTRY, after):
                if kind == b"clap":
                    parts = [int.from_bytes(self._data.at(begin + 4 * number, 4), "big") for number in range(4)]
                    left = [round(over / under) for over, under in zip(parts[::2], parts[1::2], strict=True) if under]
                    if len(left) == 2 and any(map(int.__lt__, left, coded)):
                        return f"{left[0]}x{left[1]} of {coded[0]}x{coded[1]}"
        return ""

    def _duration(self, start: int, place: int) -> int:
        """A length in the header at `start`; 0 where it is unknown."""
        width = 8 if self._data.at(start, 1) == b"\1" else 4
        field = self._data.at(start + place, width)
        return 0 if field.strip(b"\xff") == b"" else int.from_bytes(field, "big")

    def _trims(self, start: int) -> bool:
        """Whether an edit list may leave pictures out: more than one edit, or one that begins late."""
        wide = self._data.at(start, 1) == b"\1"
        count, size = int.from_bytes(self._data.at(start + 4, 4), "big"), 20 if wide else 12
        real = 0
        for number in range(min(count, 64)):
            entry = self._data.at(start + 8 + number * size, size)
            half = (size - 4) // 2
            media_time = int.from_bytes(entry[half : 2 * half], "big", signed=True)
            real += media_time >= 0
        return real > 0

    def _edit_lengths(self, start: int) -> int:
        """Sum of the edits' lengths, empty ones too."""
        width = 8 if self._data.at(start, 1) == b"\1" else 4
        count = min(int.from_bytes(self._data.at(start + 4, 4), "big"), 4096)
        places = range(start + 8, start + 8 + count * (2 * width + 4), 2 * width + 4)
        return sum(int.from_bytes(self._data.at(place, width), "big") for place in places)

    def _table(self, track: _Track, kind: bytes, width: int, skip: int = 8) -> np.ndarray | None:
        """The rows of a table, uint32 (N, width); None when the track has no such table."""
        if kind not in track.tables:
            return None
        start, end = track.tables[kind]
        count = int.from_bytes(self._data.at(start + skip - 4, 4), "big")
        length = count * width * 4
        if start + skip + length > end or length > _MAX_TABLE:
            raise broken(f"table {kind!r} says {count} entries", start)
        rows: np.ndarray = np.frombuffer(self._data.stream(start + skip, length), ">u4")
        return rows.reshape(-1, width)

    def _check_samples(self, track: _Track) -> None:
        """Check where a track's samples lie; of other tracks than video only that none lies behind the file's end,
        since a reader stops at the first sample that is not there."""
        if b"stsz" not in track.tables:
            return
        start = track.tables[b"stsz"][0]
        fixed, count = (int.from_bytes(self._data.at(start + place, 4), "big") for place in (4, 8))
        if not count:
            return
        starts = self._chunks(track)
        if fixed and not track.is_video:  # uncompressed sound: its samples are counted in ways of their own
            if starts.max() >= self._size:
                raise cut_off(self._size, int(starts.max()) + 1)
            return
        if fixed * count > self._size:
            raise cut_off(self._size, fixed * count)
        table = None if fixed else self._table(track, b"stsz", 1, skip=12)
        sizes = np.full(count, fixed, np.int64) if table is None else table[:, 0].astype(np.int64)
        track.num_samples = int(np.count_nonzero(sizes))
        stops = starts + self._chunk_bytes(track, sizes, len(starts))
        if stops.max() > self._size:
            raise cut_off(self._size, int(stops.max()))
        if track.is_video:
            self._check_video(track, starts, stops, count)

    def _check_video(self, track: _Track, starts: np.ndarray, stops: np.ndarray, count: int) -> None:
        rows = self._table(track, b"stts", 2)
        if rows is not None and int(rows[:, 0].sum(dtype=np.int64)) != count:
            raise broken(f"the table of times is not for {count} samples", track.tables[b"stts"][0])
        if track.trimmed and rows is not None and count >= _FEW:
            # Edits leave out what lies behind their ends: a damaged length would shorten the film without a word.
            length = int((rows[:, 0].astype(np.float64) * rows[:, 1]).sum())
            if _far(length, track.length) or _far(track.edits, track.shown):
                raise broken("the lengths of samples, edits and track do not fit", track.tables[b"stts"][0])
        keys = self._table(track, b"stss", 1)
        if keys is not None and len(keys):
            numbers = keys[:, 0].astype(np.int64)
            if numbers[0] < 1 or numbers[-1] > count or np.any(np.diff(numbers) <= 0):
                raise broken("the table of key frames", track.tables[b"stss"][0])
        order = np.argsort(starts, kind="stable")
        if np.any(starts[order][1:] < stops[order][:-1]):
            raise broken("chunks overlap", track.tables[b"stsc"][0])
        inside = np.zeros(len(starts), bool)
        for begin, end in self._mdat:
            inside |= (starts >= begin) & (stops <= end)
        if not inside.all():
            raise broken("a chunk outside the media data", int(starts[~inside][0]))

    def _chunks(self, track: _Track) -> np.ndarray:
        """Places of a track's chunks, int64 (N,)."""
        wide = b"co64" in track.tables
        rows = self._table(track, b"co64" if wide else b"stco", 2 if wide else 1)
        if rows is None or not len(rows):
            raise broken("a track with samples and without chunks", track.tables[b"stsz"][0])
        offsets = rows.astype(np.int64)
        return (offsets[:, 0] << 32) + offsets[:, 1] if wide else offsets[:, 0]

    def _chunk_bytes(self, track: _Track, sizes: np.ndarray, num_chunks: int) -> np.ndarray:
        """Bytes of each chunk, int64 (N,).

        Args:
            sizes: of the samples, int64.
        """
        per_chunk = self._table(track, b"stsc", 3)
        place = track.tables.get(b"stsc", (0, 0))[0]
        if per_chunk is None or not len(per_chunk):
            raise broken("a track without a table of chunks", place)
        firsts = per_chunk[:, 0].astype(np.int64) - 1
        if firsts[0] != 0 or np.any(np.diff(firsts) <= 0) or firsts[-1] >= num_chunks:
            raise broken("the table of chunks", place)
        counts = np.repeat(per_chunk[:, 1].astype(np.int64), np.diff([*firsts.tolist(), num_chunks]))
        ends = np.cumsum(counts)
        if ends[-1] < len(sizes) or np.any(counts == 0):
            raise broken(f"the chunks hold {int(ends[-1])} of {len(sizes)} samples", place)
        before = np.concatenate([[0], np.cumsum(sizes)])
        bounds = np.minimum(np.concatenate([[0], ends]), len(sizes))
        size_bytes: np.ndarray = np.diff(before[bounds])
        return size_bytes

    def _read_moof(self, start: int, end: int) -> None:
        """Adds the samples of a fragment to their tracks."""
        by_number = {track.number: track for track in self._tracks}
        total = 0
        for kind, inside, after in self._inside(start, end):
            if kind == b"mfhd":
                number = int.from_bytes(self._data.at(inside + 4, 4), "big")
                if self._repeated and number < self._sequence:
                    raise broken("fragments are numbered anew: two files were joined", start)
                self._sequence = number
            if kind != b"traf":
                continue
            track, default = None, 0
            for part, begin, stop in self._inside(inside, after):
                flags = int.from_bytes(self._data.at(begin + 1, 3), "big")
                if part == b"tfhd":
                    number = int.from_bytes(self._data.at(begin + 4, 4), "big")
                    track = by_number.get(number)
                    if track is None:
                        raise broken(f"a fragment of the unknown track {number}", begin)
                    skip = 8 + 8 * bool(flags & 1) + 4 * bool(flags & 2) + 4 * bool(flags & 8)
                    default = int.from_bytes(self._data.at(begin + skip, 4), "big") if flags & 16 else 0
                elif part == b"trun" and track is not None:
                    count, size_bytes = self._run(begin, stop, flags, default)
                    total += size_bytes
                    track.num_samples += count
        following = next((stop - begin for begin, stop in self._mdat if begin > start), 0)
        if total > following:
            raise broken(f"a fragment of {total} bytes with {following} bytes of media data", start)

    def _run(self, start: int, end: int, flags: int, default: int) -> Span:
        """(samples, bytes) of a `trun`."""
        count = int.from_bytes(self._data.at(start + 4, 4), "big")
        skip = 8 + 4 * bool(flags & 1) + 4 * bool(flags & 4)
        width = sum(bool(flags & bit) for bit in (0x100, 0x200, 0x400, 0x800))
        if start + skip + count * width * 4 > end:
            raise broken(f"a fragment's run of {count} samples does not fit its box", start)
        if not flags & 0x200:
            return count, count * default
        rows = np.frombuffer(self._data.stream(start + skip, count * width * 4), ">u4").reshape(-1, width)
        sizes = rows[:, int(bool(flags & 0x100))]
        return int(np.count_nonzero(sizes)), int(sizes.sum(dtype=np.int64))
