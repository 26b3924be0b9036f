"""How long a video file should be, as its container says: what tells a truncated file from a short video.

Matroska/WebM, MP4/MOV and AVI write the size of what follows. Decoders play a cut file up to the cut without a word, so
counting frames alone would take it for a shorter video.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def declared_size(file: BinaryIO, size_bytes: int) -> int:
    """Bytes that the container needs, or 0 where it does not say.

    Args:
        file: the open video, at any position.
        size_bytes: its real size.
    """
    file.seek(0)
    head = file.read(64)
    if head.startswith(_EBML):
        return _matroska_size(head)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        declared: int = struct.unpack("<I", head[4:8])[0] + 8
        return declared if declared > 8 else 0  # recorders that were stopped leave 0
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"):
        return _mp4_size(file, size_bytes)
    return 0


def _matroska_size(head: bytes) -> int:
    header_end = _after_element(head, 4)
    if header_end is None or head[header_end : header_end + 4] != _SEGMENT:
        return 0
    return _after_element(head, header_end + 4) or 0


def _after_element(head: bytes, position: int) -> int | None:
    """End of the EBML element whose size field is at `position`; None when it is unknown (live) or cut off."""
    if position >= len(head) or not head[position]:
        return None
    length = 9 - head[position].bit_length()
    field = head[position : position + length]
    if len(field) < length:
        return None
    value = int.from_bytes(field, "big") & ((1 << 7 * length) - 1)
    if value == (1 << 7 * length) - 1:
        return None
    return position + length + value


def _mp4_size(file: BinaryIO, size_bytes: int) -> int:
    position = 0
    while position + 8 <= size_bytes:
        file.seek(position)
        header = file.read(16)
        length, kind = struct.unpack(">I4s", header[:8])
        if length == 1 and len(header) == 16:
            length = struct.unpack(">Q", header[8:])[0]
        if length == 0 or not kind.isalnum():  # "to the end of the file", or trailing bytes that are no box
            return 0
        if length < 8:
            return 0
        position += length
    return position
