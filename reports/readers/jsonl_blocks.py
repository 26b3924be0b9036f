"""Logs of one JSON object per line, many lines at a time: a call per line costs more than its parsing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ipv_bench.run_record import read_jsonl

BLOCK_BYTES = 1 << 20
"""Text that is parsed at once: bounds the memory, whatever the size of the log."""


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """As `ipv_bench.run_record.read_jsonl`: a last line that is cut off is left out.

    Raises:
        RunError: a line before the last one is not JSON; the line is named.
    """
    number = 0
    with open(path, "rb") as file:
        while lines := file.readlines(BLOCK_BYTES):
            if not lines[-1].endswith(b"\n"):
                lines.pop()
            try:
                parsed = json.loads(b"[" + b",".join(lines) + b"]")
            except ValueError:
                parsed = None
            if parsed is None or len(parsed) != len(lines):
                # Find the line that is wrong; lines of this block before it were not given out yet.
                yield from _one_by_one(path, number)
                return
            yield from parsed
            number += len(lines)


def _one_by_one(path: Path, skip: int) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(read_jsonl(path)):
        if number >= skip:
            yield line
