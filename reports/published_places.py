"""Where runs lie, as a report that is passed on may say it: no folders of this machine above those that were given.

A source that was given relative to the working folder keeps its words. Of an absolute one stays the way to it from the
report's folder, where both lie in one workspace, else its name: `ipv-bench trace` finds either again, the second one
from the folder that the source lies in.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ipv_bench.machine_traces import in_one_workspace, without_machine
from reports.scores.findings import Finding
from reports.tables.tables import Cell, Link, Table


class PublishedPlaces:
    """Puts what is told in the place of this machine's paths.

    Args:
        sources: what the report is made of, as they were given.
        out: the report's folder.
    """

    def __init__(self, sources: Sequence[str | Path], out: Path) -> None:
        told: dict[str, str] = {}
        for source in map(str, sources):
            name = source if not os.path.isabs(source) else _from_report(source, out) or _shortest(source, sources)
            told |= dict.fromkeys((os.path.realpath(source), os.path.abspath(source), source), name)
        told |= {html.escape(place): html.escape(name) for place, name in told.items()}
        self._told = {place: name for place, name in told.items() if place != name and os.path.isabs(place)}
        places = sorted(self._told, key=len, reverse=True)
        self._pattern = (
            re.compile(rf"(?<![\w./-])({'|'.join(map(re.escape, places))})(?![\w-]|\.\w)") if places else None
        )

    def text(self, text: str) -> str:
        """A text in which the sources are called as they are told, and nothing else tells of this machine."""
        return str(without_machine(self._told_in(text)))

    def _told_in(self, text: str) -> str:
        return self._pattern.sub(lambda found: self._told[found[1]], text) if self._pattern else text

    def page(self, page: str) -> str:
        """The markup of a page in which the sources are called as they are told."""
        return self._told_in(page)

    def values(self, value: Any) -> Any:
        """Values for `report.json`, keys included; see `text`."""
        return without_machine(self._told_in_all(value))

    def _told_in_all(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {self._told_in_all(key): self._told_in_all(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._told_in_all(item) for item in value]
        return self._told_in(value) if isinstance(value, str) else value

    def finding(self, finding: Finding) -> Finding:
        """See `text`."""
        subjects = tuple(map(self.text, finding.subjects))
        return replace(finding, text=self.text(finding.text), fix=self.text(finding.fix), subjects=subjects)

    def table(self, table: Table) -> Table:
        """See `text`."""
        return replace(
            table, rows=[[self._cell(cell) for cell in row] for row in table.rows], note=self.text(table.note)
        )

    def _cell(self, cell: Cell) -> Cell:
        if isinstance(cell, Link):
            return replace(cell, text=self.text(cell.text))
        return self.text(cell) if isinstance(cell, str) else cell


def _from_report(source: str, out: Path) -> str:
    """The way from the report's folder; empty where they do not lie in one workspace."""
    return os.path.relpath(os.path.abspath(source), os.path.abspath(out)) if in_one_workspace(source, out) else ""


def _shortest(source: str, sources: Sequence[str | Path]) -> str:
    """As many of its last parts as tell it from the other sources."""
    parts = Path(os.path.abspath(source)).parts[1:]
    others = [Path(os.path.abspath(other)).parts[1:] for other in sources if str(other) != source]
    for number in range(1, len(parts)):
        if all(other[-number:] != parts[-number:] for other in others):
            return "/".join(parts[-number:])
    return "/".join(parts[-1:])
