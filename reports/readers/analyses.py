"""Analyses (`ipv-bench analyze`) among what a report was given."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ipv_bench.analysis_record import AnalysisRecord, is_analysis, read_analysis, read_arrays


@dataclass(frozen=True)
class Analysis:
    """An analysis that was found.

    Attributes:
        folder: where it is.
        record: its `analysis.json`.
    """

    folder: Path
    record: AnalysisRecord

    @cached_property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Its arrays.

        Raises:
            InputError: they are absent or damaged.
        """
        return read_arrays(self.folder)

    @property
    def sets(self) -> list[str]:
        """Names of its shard sets."""
        return [str(entry.get("name", "")) for entry in self.record.shard_sets]

    def numbers(self, label: str) -> Mapping[str, Any]:
        """What was measured of a model."""
        found = self.record.numbers.get("models", {}).get(label, {})
        return found if isinstance(found, dict) else {}


def find_analyses(sources: Sequence[Path], kind: str) -> list[Analysis]:
    """Analyses of one kind in folders, by path.

    Raises:
        InputError: one of them is damaged.
    """
    folders = sorted({folder for source in sources for folder in analysis_folders(source)})
    found = [Analysis(folder, read_analysis(folder)) for folder in folders]
    return [analysis for analysis in found if analysis.record.kind == kind]


def analysis_folders(source: Path) -> list[Path]:
    """Folders with a complete analysis: the path itself, or below it."""
    found = []
    for place, inner, _ in os.walk(source):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if is_analysis(place):
            inner.clear()
            found.append(Path(place))
    return found


def folders_of(analyses: Iterable[Analysis]) -> tuple[str, ...]:
    """Folders of analyses, for the record of a figure that shows them."""
    return tuple(dict.fromkeys(str(analysis.folder) for analysis in analyses))
