"""TIFF files of any kind of samples, in strips or tiles, byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

_OFFSET = 4096
Tags = dict[int, tuple[int, ...]]


def write_tiff(
    samples: np.ndarray,
    tags: Tags,
    *,
    order: str = "<",
    tile: int = 0,
    encode: Callable[[bytes], bytes] = bytes,
) -> bytes:
    """A TIFF of one strip, or of square tiles.

    Args:
        samples: (H, W, C) of the type that is stored, in the file's byte order.
        tags: beside the usual ones, or in their place; numbers of 16 bits.
        tile: side of a tile in pixels; it divides the picture's.
        encode: compresses a strip or tile.
    """
    height, width, channels = samples.shape
    if tile:
        parts = [samples[y : y + tile, x : x + tile] for y in range(0, height, tile) for x in range(0, width, tile)]
    else:
        parts = [samples]
    coded = [encode(np.ascontiguousarray(part).tobytes()) for part in parts]
    starts = tuple(_OFFSET + sum(map(len, coded[:number])) for number in range(len(coded)))
    places: Tags = {324 if tile else 273: starts, 325 if tile else 279: tuple(map(len, coded))}
    shape: Tags = {322: (tile,), 323: (tile,)} if tile else {278: (height,)}
    usual: Tags = {256: (width,), 257: (height,), 258: (samples.itemsize * 8,) * channels, 259: (1,)}
    usual |= {262: (2 if channels == 3 else 1,), 277: (channels,), 284: (1,)}
    return directory(usual | shape | places | tags, order).ljust(_OFFSET, b"\0") + b"".join(coded)


def directory(tags: Tags, order: str = "<") -> bytes:
    """The head of a TIFF with its one directory."""
    body, values, end = b"", b"", 8 + 2 + 12 * len(tags) + 4
    for tag, numbers in sorted(tags.items()):
        kind, size = ("I", 4) if tag in (273, 279, 324, 325) else ("H", 2)
        raw = struct.pack(f"{order}{len(numbers)}{kind}", *numbers)
        place = raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack(f"{order}I", end + len(values))
        values += raw if len(raw) > 4 else b""
        body += struct.pack(f"{order}HHI", tag, 4 if size == 4 else 3, len(numbers)) + place
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return head + body + bytes(4) + values
