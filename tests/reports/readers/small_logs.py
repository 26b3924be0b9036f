"""Small logs in other projects' formats, as their tools write them."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

EVAL_RETURN: tuple[tuple[int, float], ...] = ((1000, 1.0), (2000, 2.0), (3000, 3.0))


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    """A text file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def jsonl(*lines: Mapping[str, Any]) -> str:
    """One JSON object per line."""
    return "".join(json.dumps(line) + "\n" for line in lines)


def events(
    folder: Path,
    scalars: Mapping[str, Iterable[tuple[int, float]]] | None = None,
    name: str = "events.out.tfevents.1700000000.host",
    began: float = 1.7e9,
) -> Path:
    """An event file with scalars: tag → (step, value); its checksums are zeros."""
    folder.mkdir(parents=True, exist_ok=True)
    data = b""
    for tag, points in (scalars or {"eval_return": EVAL_RETURN}).items():
        for number, (step, value) in enumerate(points):
            point = _bytes(1, tag.encode()) + b"\x15" + struct.pack("<f", value)
            event = b"\x09" + struct.pack("<d", began + number) + b"\x10" + _varint(step)
            event += _bytes(5, _bytes(1, point))
            data += struct.pack("<Q", len(event)) + bytes(4) + event + bytes(4)
    (folder / name).write_bytes(data)
    return folder / name


def _bytes(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])
