"""Analyses (`ipv-bench analyze`) among what a report was given."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ipv_bench.analysis_record import AnalysisRecord, is_analysis, read_analysis, read_arrays
from ipv_bench.errors import InputError
from reports.readers.analysis_layout import check_layout
from reports.scores.findings import Finding, refusal


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
        """Its arrays, checked against what its kind has.

        Raises:
            InputError: they are absent, damaged, or not those of this kind.
        """
        arrays = read_arrays(self.folder)
        check_layout(self.record, arrays, self.folder)
        return arrays

    @property
    def sets(self) -> list[str]:
        """Names of its shard sets."""
        return [str(entry.get("name", "")) for entry in self.record.shard_sets]

    def numbers(self, label: str) -> Mapping[str, Any]:
        """What was measured of a model."""
        found = self.record.numbers.get("models", {}).get(label, {})
        return found if isinstance(found, dict) else {}


class Analyses:
    """The analyses of a report. A damaged one becomes a finding and the others go on, as with runs.

    Arrays are read when a kind is first asked for: a report of scores alone reads none of them.

    Args:
        sources: paths that the report was given.

    Raises:
        InputError: one analysis was named by itself, with nothing else, and is damaged (here, or in `of`).
    """

    def __init__(self, sources: Sequence[Path]) -> None:
        self._alone = len(sources) == 1 and is_analysis(sources[0])
        self._findings: dict[Path, Finding] = {}
        folders = sorted({folder for source in sources for folder in analysis_folders(source)})
        self._found = [one for folder in folders if (one := self._opened(folder)) is not None]

    def of(self, kind: str) -> list[Analysis]:
        """Whole analyses of one kind, by path."""
        return [one for one in self._found if one.record.kind == kind and self._is_whole(one)]

    @property
    def findings(self) -> list[Finding]:
        """What was damaged among all that was asked for so far, by path."""
        return [self._findings[folder] for folder in sorted(self._findings)]

    def refuse(self, analysis: Analysis, error: InputError) -> None:
        """Leave an analysis out from now on, with a finding that says why."""
        self._refuse(analysis.folder, error)

    def _refuse(self, folder: Path, error: InputError) -> None:
        if self._alone:
            raise error
        text = error.found + (f" (expected: {error.expected})" if error.expected else "")
        self._findings[folder] = refusal("bad_analysis", text, error.fix, [str(folder)])

    def _opened(self, folder: Path) -> Analysis | None:
        try:
            return Analysis(folder, read_analysis(folder))
        except InputError as error:
            self._refuse(folder, error)
            return None

    def _is_whole(self, analysis: Analysis) -> bool:
        if analysis.folder in self._findings:
            return False
        try:
            return analysis.arrays is not None
        except InputError as error:
            self.refuse(analysis, error)
            return False


NOT_DRAWABLE = (KeyError, TypeError, ValueError, IndexError, AttributeError)
"""What figures and tables of an analysis raise where its numbers are not what the command writes."""


def not_drawable(analysis: Analysis, error: Exception) -> InputError:
    """The error for an analysis of which a figure or table could not be made."""
    command = f"`ipv-bench analyze {analysis.record.kind}`"
    found = f"{analysis.folder} is not what {command} writes: {type(error).__name__}: {error}"
    return InputError(
        found[:300], expected=f"an analysis that {command} of this version made", fix=f"run {command} again"
    )


def analysis_folders(source: Path) -> Iterator[Path]:
    """Folders with a complete analysis: the path itself, or below it."""
    for place, inner, _ in os.walk(source):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if is_analysis(place):
            inner.clear()
            yield Path(place)


def folders_of(analyses: Iterable[Analysis]) -> tuple[str, ...]:
    """Folders of analyses, for the record of a figure that shows them."""
    return tuple(dict.fromkeys(str(analysis.folder) for analysis in analyses))
