"""Logs of one JSON object per line, many lines at a time: a call per line costs more than its parsing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ipv_bench.bounded_json import parse_json
from ipv_bench.errors import RunError

BLOCK_BYTES = 1 << 20
"""Text that is parsed at once: bounds the memory, whatever the size of the log."""


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Lines of a log in order; a last line that is cut off is left out.

    Bytes of zero, with which a crashed machine's file system or an interrupted copy fills a log, are passed over.

    Raises:
        RunError: a line before the last one is not a JSON object; the line is named.
    """
    number = 0
    with open(path, "rb") as file:
        while lines := file.readlines(BLOCK_BYTES):
            if not lines[-1].endswith(b"\n"):
                lines.pop()
            lines = [line.replace(b"\0", b"") for line in lines]
            whole = [line for line in lines if line.strip()]
            try:
                parsed = json.loads(b"[" + b",".join(whole) + b"]")
            except (ValueError, RecursionError):
                parsed = []
            if len(parsed) != len(whole) or not all(isinstance(line, dict) for line in parsed):
                # Find the line that is wrong; lines of this block before it were not given out yet.
                yield from (_object(path, place, line) for place, line in enumerate(lines, number + 1) if line.strip())
            else:
                yield from parsed
            number += len(lines)


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    found: dict[str, Any] = parse_json(
        line, f"{path} line {number}", error=RunError, expect=dict, nan=True, fix="restore the file from a backup"
    )
    return found


def whole_number(value: Any) -> int:
    """A count that a log gives; 0 where it is none."""
    number = as_number(value)
    return int(number) if math.isfinite(number) else 0


def as_number(value: Any) -> float:
    """A number as a float; NaN for null, texts, true, and whole numbers beyond a float's range."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return float("nan")
    try:
        return float(value)
    except OverflowError:
        return float("nan")
