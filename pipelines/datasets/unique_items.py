"""Source items in the order of an inventory, with ids that occur once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from pipelines.datasets.base import SourceItem


def sorted_unique(items: Iterable[SourceItem]) -> tuple[SourceItem, ...]:
    """Sort by source id and path; a second item of the same id becomes a problem `duplicate_id` under an id of its own.

    The first one by path is kept.
    """
    ordered = sorted(items, key=lambda item: (item.source_id, item.path))
    seen: Counter[str] = Counter()
    taken = {item.source_id for item in ordered}
    unique = []
    for item in ordered:
        seen[item.source_id] += 1
        if seen[item.source_id] == 1:
            unique.append(item)
            continue
        new_id = f"{item.source_id} (duplicate {seen[item.source_id]})"
        while new_id in taken:
            new_id += "'"
        taken.add(new_id)
        problem = ("duplicate_id", f"another item is called {item.source_id!r} too")
        unique.append(replace(item, source_id=new_id, frames=None, boxes=None, excluded="", problem=problem))
    return tuple(sorted(unique, key=lambda item: item.source_id))
