"""The frame counts that others published, to be shown beside ours."""

from __future__ import annotations

import csv
from importlib import resources


def published_table(name: str) -> list[dict[str, str]]:
    """Rows of `pipelines/datasets/tables/<name>.csv`; its comment lines say where it is from."""
    text = (resources.files("pipelines.datasets") / "tables" / f"{name}.csv").read_text()
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
