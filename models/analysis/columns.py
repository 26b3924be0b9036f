"""Which frames of a clip a strip shows."""

from __future__ import annotations

import numpy as np


def spread_columns(length: int, count: int, include: int | None = None) -> list[int]:
    """At most `count` frames spread evenly over 0 … `length` - 1, the first and the last among them, and `include`."""
    found = set(np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(int)).tolist())
    return sorted(found | ({include} if include is not None else set()))
