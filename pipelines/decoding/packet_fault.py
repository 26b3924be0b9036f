"""Zeros in coded pictures where no encoder writes them: what a lost disk block or network block leaves behind.

Decoders often turn them into pictures without a word. Codecs with start codes forbid runs of zeros within a unit;
arithmetic coders of the others write a thousand of them in a row for no real picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipelines.datasets.quarantine import SourceFailure

_WITH_START_CODES = frozenset({"h264", "hevc", "vvc", "mpeg1video", "mpeg2video", "mpeg4", "h263", "vc1", "cavs"})
_ARITHMETIC = frozenset({"vp8", "vp9", "libdav1d", "av1", "libvpx", "libvpx-vp9"})
CHECKED_CODECS = _WITH_START_CODES | _ARITHMETIC
_SHORT, _LONG = 16, 1024
"""Zeros in a row; the standards forbid three, a few encoders that break them write some more."""
_NOT_BEFORE_START_CODE = re.compile(rb"\x00{%d}[^\x00\x01]" % _SHORT)
_INSIDE = re.compile(rb"\x00{%d}[^\x00]" % _LONG)


def unit_length_bytes(codec: str, extradata: bytes | None) -> int:
    """Bytes of the length in front of each unit of a packet (MP4, Matroska); 0 where start codes part them.

    Args:
        codec: name of the decoder.
        extradata: of the stream.
    """
    if not extradata or extradata[0] != 1:
        return 0
    place = {"h264": 4, "hevc": 21}.get(codec)
    return (extradata[place] & 3) + 1 if place is not None and len(extradata) > place else 0


def check_packet(data: bytes, codec: str, length_bytes: int) -> None:
    """Refuse a coded picture that holds zeros where none can be; zeros at its end are padding.

    Args:
        data: the packet.
        codec: name of the decoder.
        length_bytes: of `unit_length_bytes`.

    Raises:
        SourceFailure: `corrupt`.
    """
    if codec in _WITH_START_CODES:
        found = bytes(_SHORT) in data and any(
            _NOT_BEFORE_START_CODE.search(unit) for unit in _units(data, length_bytes)
        )
    else:
        # of so many bytes in a row one lies at the end of a stretch of that length: looked at first, as it is quick
        found = codec in _ARITHMETIC and 0 in data[_LONG - 1 :: _LONG] and bool(_INSIDE.search(data))
    if found:
        raise SourceFailure("corrupt", "zeros in place of picture data")


def _units(data: bytes, length_bytes: int) -> Iterator[bytes]:
    if not length_bytes:
        yield data
        return
    position = 0
    while position + length_bytes < len(data):
        start = position + length_bytes
        position = start + int.from_bytes(data[position:start], "big")
        yield data[start:position]
