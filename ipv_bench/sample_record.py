"""What a sample release says of itself, in a hidden file that no data set's reader looks at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipv_bench.bounded_json import read_json
from ipv_bench.errors import InputError

RECORD_FILE = ".ipv-bench-sample.json"


def read_sample_record(folder: str | Path) -> Mapping[str, Any]:
    """`dataset`, `videos` and `seed` that a sample release was made with; empty where the folder does not say.

    Raises:
        InputError: its record is damaged.
    """
    path = Path(folder) / RECORD_FILE
    if not path.is_file():
        return {}
    found: dict[str, Any] = read_json(path, error=InputError, expect=dict, fix=f"delete {folder}, it is made again")
    return found
