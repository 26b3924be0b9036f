"""Keeps what a fault test tried, for the table in docs/faults.md: `IPV_BENCH_FAULT_RESULTS=FILE make test-slow`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def record(name: str, **facts: Any) -> None:
    """Put one entry into the JSON file that the environment names; without one nothing is kept."""
    if not os.environ.get("IPV_BENCH_FAULT_RESULTS"):
        return
    path = Path(os.environ["IPV_BENCH_FAULT_RESULTS"])
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | {name: facts}, indent=1, sort_keys=True) + "\n")
