"""What lies behind the packets of an ASF file: indexes, another file, or bytes that are nobody's."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.decoding.containers.asf import _DATA, _FILE, MAGIC, walk_asf
from pipelines.decoding.containers.source_bytes import SourceBytes
from pipelines.decoding.containers.structure import StructureError

INDEX = bytes(range(16))


def part(kind: bytes, body: bytes) -> bytes:
    return kind + (24 + len(body)).to_bytes(8, "little") + body


def walk(path: Path, behind: bytes) -> int:
    """Checks a file of three packets with `behind` after them; how often the walk paused."""
    packet = 100
    facts = part(_FILE, bytes(64) + bytes(4) + 2 * packet.to_bytes(4, "little") + bytes(4))
    header = part(MAGIC, bytes(6) + facts)
    packets = part(_DATA, bytes(16) + (3).to_bytes(8, "little") + bytes(2) + bytes(3 * packet))
    path.write_bytes(header + packets + behind)
    with open(path, "rb") as file:
        return sum(1 for _ in walk_asf(SourceBytes(file)))


def test_a_second_file_is_found_behind_indexes_but_not_in_bytes_of_nobody(tmp_path: Path) -> None:
    film = tmp_path / "a.wmv"
    with pytest.raises(StructureError, match="second file"):
        walk(film, part(INDEX, bytes(30)) + part(MAGIC, bytes(10)))
    alone = walk(film, part(INDEX, bytes(30)))
    zeros = bytes(24 * 60_000)  # would be sixty thousand objects without a length
    assert walk(film, part(INDEX, bytes(30)) + zeros + part(MAGIC, bytes(10))) == alone


def test_a_walk_over_many_objects_pauses(tmp_path: Path) -> None:
    film = tmp_path / "a.wmv"
    assert walk(film, part(INDEX, b"") * 50_000) == walk(film, b"") + 2
