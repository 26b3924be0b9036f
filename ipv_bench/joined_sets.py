"""Several shard sets in one name: for people, and as the part of a run folder's path that says what a run saw."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

LONGEST_FOLDER = 200
"""Characters of a folder's name (`ipv_bench.file_names.folder_name`)."""


def told_sets(names: Iterable[object], joint: str = "+") -> str:
    """For people: `ssv2+human36m`; sets of one name are counted, `25 x ssv2`. Empty: there are none."""
    return joint.join(_counted(names, " x "))


def sets_folder(names: Iterable[str]) -> str:
    """As a part of a path: `ssv2+human36m`; where that is long, sets of one name are counted, `25xssv2`, and where that
    is still long, the number of sets and eight letters and digits that other sets do not share stand for them."""
    names = list(names)
    joined = "+".join(names)
    if len(joined) > LONGEST_FOLDER:
        joined = "+".join(_counted(names, "x"))
    if len(joined) > LONGEST_FOLDER:
        joined = f"{len(names)}-sets-{hashlib.sha256('+'.join(names).encode()).hexdigest()[:8]}"
    return joined


def _counted(names: Iterable[object], times: str) -> list[str]:
    counts = Counter(map(str, names))
    return [name if count == 1 else f"{count}{times}{name}" for name, count in counts.items()]
