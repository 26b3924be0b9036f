"""The structure of JPEG pictures: marker segments from start to end marker."""

from __future__ import annotations

import re
from collections.abc import Generator

from pipelines.decoding.containers.source_bytes import SourceBytes
from pipelines.decoding.containers.structure import Structure, broken, cut_off

START = b"\xff\xd8"
_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_START_CODE, _END = 0xD8, 0xD9
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_MAX_PICTURE = 1 << 28


def jpeg_end(data: bytes, start: int = 0) -> int | None:
    """Place behind the end marker of the JPEG that begins at `start`; None when it has none of its own.

    Pictures within its metadata (thumbnails) are not taken for it.
    """
    position = start + 2
    while True:
        match = _MARKER.search(data, position)
        if match is None:
            return None
        kind, position = data[match.end() - 1], match.end()
        if kind == _START_CODE:
            return None  # the next picture: this one lost its end
        if kind == _END:
            return position
        if kind in _ALONE:
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        if len(data) < position + 2 or length < 2:
            return None
        position += length  # entropy-coded data behind a scan's header is passed over by the search


def walk_mjpeg(data: SourceBytes) -> Generator[None, None, Structure]:
    """Check a file of JPEGs one after another; the structure is the generator's value.

    Raises:
        StructureError: it does not hold together.
    """
    position, count, size = 0, 0, data.size_bytes
    while position < size:
        length, end = 1 << 20, None
        while end is None:
            piece = data.stream(position, length)
            if piece[:2] != START:
                if START not in piece and count:
                    return Structure([count])  # bytes behind the last picture are nobody's
                raise broken("no JPEG", position)
            end = jpeg_end(piece)
            if end is None and position + length >= size:
                raise cut_off(size, size + 2)
            length *= 2
        position, count = position + end, count + 1
        yield
    return Structure([count])
