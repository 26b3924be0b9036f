"""The structure of FLV files: tags one after another, each followed by its length."""

from __future__ import annotations

from collections.abc import Generator

from pipelines.decoding.containers.source_bytes import SourceBytes
from pipelines.decoding.containers.structure import Structure, broken, cut_off

_KINDS = frozenset({8, 9, 15, 18})
_TICK_TAGS = 20_000


def walk_flv(data: SourceBytes) -> Generator[None, None, Structure]:
    """Check a file; the structure is the generator's value.

    Raises:
        StructureError: it does not hold together.
    """
    size, position = data.size_bytes, int.from_bytes(data.at(5, 4), "big")
    pictures = tags = wrong = 0
    wrong_place = 0
    while position + 4 < size:
        head = data.at(position, 4 + 11 + 5)
        if len(head) < 15:
            raise cut_off(size, position + 15)
        kind, length = head[4] & 0x1F, int.from_bytes(head[5:8], "big")
        if (kind not in _KINDS or position + 15 + length > size) and data.is_text_from(position + 4):
            break
        if kind not in _KINDS:
            raise broken(f"a tag of the unknown kind {kind}", position + 4)
        end = position + 15 + length
        if end > size:
            raise cut_off(size, end)
        if kind == 9 and length:
            pictures += _is_picture(head[15:])
        stated = int.from_bytes(data.at(end, 4), "big")
        if stated != 11 + length and end + 4 <= size:
            wrong, wrong_place = wrong + 1, end
        tags, position = tags + 1, end
        if tags % _TICK_TAGS == 0:
            yield
    if 0 < wrong < tags:  # a few writers state none of them right
        raise broken("a tag whose length is stated in two ways", wrong_place)
    return Structure([pictures])


def _is_picture(head: bytes) -> bool:
    if head[0] & 0x80:  # "enhanced": the low bits say what it is
        return head[0] & 0x0F in (1, 3)
    frame, codec = head[0] >> 4, head[0] & 0x0F
    if frame == 5:
        return False  # a command for the player
    return codec not in (7, 12) or (len(head) > 1 and head[1] == 1)
