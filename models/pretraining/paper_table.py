"""A method's published pre-training beside a config's values, for `pretrain --dry-run`."""

from __future__ import annotations

from typing import Any

from ipv_bench.config import flatten
from models.methods.base import find_method
from models.methods.published_pretraining import PublishedPretraining, PublishedRow
from models.pretraining.config import PretrainConfig


def paper_table(config: PretrainConfig) -> str:
    """A text table: the published value, ours, and `=` where they are equal or `≠` where not.

    A method says what was published by an attribute `published_pretraining`; empty for one that has none.
    """
    published: PublishedPretraining | None = getattr(find_method(config.method), "published_pretraining", None)
    if published is None:
        return ""
    values = flatten(config.model_dump(mode="json"))
    heads = ("hyper-parameter", published.column, "released", "", "here", "config key", "source", "why")
    cells: list[tuple[str, ...]] = [heads]
    cells += [_cells(row, values[row.key]) for row in published.rows]
    shown = [column for column in range(len(cells[0])) if column == 3 or any(line[column] for line in cells[1:])]
    widths = {column: max(len(line[column]) for line in cells) for column in shown}
    lines = ["  ".join(line[column].ljust(widths[column]) for column in shown).rstrip() for line in cells]
    return "\n".join([published.title, *lines])


def _cells(row: PublishedRow, ours: Any) -> tuple[str, ...]:
    equal = ours == row.expected
    here = "by size" if ours is None else str(ours)
    return (
        row.name, row.value, row.released, "=" if equal else "≠", here, row.key, row.source, "" if equal else row.why
    )  # fmt: skip
