"""Which container a file is, by its first bytes, and whether it holds together."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, BinaryIO

from pipelines.decoding.containers import asf, avi, flv, gif, jpeg, matroska, mp4, mpeg_ps, mpeg_ts, ogg
from pipelines.decoding.containers.source_bytes import SourceBytes
from pipelines.decoding.containers.structure import Structure, StructureError


def inspect_container(file: BinaryIO) -> Generator[None, None, Structure]:
    """Walk through a container without decoding; the structure is the generator's value.

    It yields from time to time, so that a long file is not taken for a hung one.

    Args:
        file: open for reading; nothing of it is read when its format is not known.
    """
    data = SourceBytes(file)
    walk = _walk(data)
    if walk is None:
        return Structure()
    try:
        structure: Structure = yield from walk
    except StructureError as error:
        return Structure(fault=(error.reason, error.message))
    structure.is_complete = not data.at(0, 16).startswith(asf.MAGIC)  # whose payloads are left to its reader
    return structure


def _walk(data: SourceBytes) -> Any:
    head = data.at(0, 16)
    if head.startswith(matroska.MAGIC):
        return matroska.walk_matroska(data)
    if head[4:8] in mp4.FIRST:
        return mp4.walk_mp4(data)
    if avi.is_avi(head):
        return avi.walk_avi(data)
    if head.startswith(b"FLV\1"):
        return flv.walk_flv(data)
    if head.startswith(b"OggS"):
        return ogg.walk_ogg(data)
    if head[:6] in gif.MAGICS:
        return gif.walk_gif(data)
    if head.startswith(asf.MAGIC):
        return asf.walk_asf(data)
    if head.startswith(jpeg.START):
        return jpeg.walk_mjpeg(data)
    if head.startswith(mpeg_ps.PACK):
        return mpeg_ps.walk_mpeg_ps(data)
    if mpeg_ts.packet_layout(data) is not None:
        return mpeg_ts.walk_mpeg_ts(data)
    return None
