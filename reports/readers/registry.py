"""Finds out what each given path is, and reads it: every format is tried on every file and folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

from ipv_bench.errors import InputError, IpvBenchError
from ipv_bench.plugins import all_plugins, find_plugin
from reports.readers.archive import is_archive, unpacked
from reports.readers.base import FIELDS_FILE, Read, Reader, ReadOptions
from reports.scores.findings import Finding, note, refusal
from reports.scores.score_table import Collection, PretrainedRun, ScoredRun, UnknownFile, in_order

MEMBERS = ("name", "accepts", "read")

_REPORT_FILES = ("report.html", "report.json")
_LISTED_PER_KIND = 20
"""Unknown files of one folder and suffix that are listed one by one; more become one line."""


class _Reading:
    """What was found so far."""

    def __init__(self, options: ReadOptions) -> None:
        self.options = options
        self.runs: list[ScoredRun] = []
        self.pretraining: list[PretrainedRun] = []
        self.findings: list[Finding] = []
        self.unknown: list[UnknownFile] = []

    def add(self, read: Read) -> None:
        self.runs += read.runs
        self.pretraining += read.pretraining
        self.findings += read.findings


@cache
def readers() -> tuple[Reader, ...]:
    """All readers in the order in which they are asked: other packages' before ours. The first that accepts reads.

    Raises:
        PluginError: a reader of another package does not work, or takes a name that is taken.
    """
    return tuple(find_plugin("readers", plugin.name).load(MEMBERS) for plugin in all_plugins("readers"))


def read_sources(sources: Iterable[str | Path], options: ReadOptions | None = None) -> Collection:
    """Read runs from run folders, folders of anything, score files, and tar archives of these.

    A path that is given twice, or lies in a folder that is given as well, is read once. What cannot be used inside a
    folder becomes a finding; a file that was named itself must be readable.

    Args:
        sources: paths.
        options: what to read where a log has several scores.

    Raises:
        InputError: a path does not exist, a named file is damaged or of no known format, or nothing has a run.
    """
    reading = _Reading(options or ReadOptions())
    given = [Path(source) for source in sources]
    for path in _outermost(given):
        _read_given(path, reading)
    if not reading.runs and not reading.pretraining:
        raise _nothing_found(given, reading)
    return Collection(
        tuple(in_order(reading.runs)),
        tuple(sorted(reading.pretraining, key=lambda run: run.source)),
        tuple(reading.unknown),
        tuple(reading.findings),
    )


def _outermost(paths: Sequence[Path]) -> list[Path]:
    kept: dict[Path, Path] = {}
    resolved = [(path.resolve(), path) for path in paths]
    for full, path in resolved:
        if not any(other != full and other in full.parents for other, _ in resolved):
            kept.setdefault(full, path)
    return list(kept.values())


def _read_given(path: Path, reading: _Reading) -> None:
    if not path.exists():
        raise InputError(
            f"{path} does not exist", expected="a run, a folder of runs, or a score file", fix="check the path"
        )
    reader = _reader_of(path)
    if reader:
        reading.add(reader.read(path, reading.options))
    elif path.is_dir():
        _walk(path, reading)
    elif is_archive(path):
        with unpacked(path) as (folder, renamed):
            inside = _Reading(reading.options)
            _walk(folder, inside)
            reading.add(
                Read(*(tuple(map(renamed, items)) for items in (inside.runs, inside.pretraining, inside.findings)))
            )
            reading.unknown += map(renamed, inside.unknown)
    else:
        raise InputError(
            f"{path} is of no known format", expected=_known_formats(), fix="docs/reports/formats.md shows each"
        )


def _reader_of(path: Path) -> Reader | None:
    return next((reader for reader in readers() if reader.accepts(path)), None)


def _known_formats() -> str:
    return f"one of {', '.join(reader.name for reader in readers())}"


def _walk(root: Path, reading: _Reading) -> None:
    unknown: list[UnknownFile] = []
    for folder, inner, names in os.walk(root):
        here = Path(folder)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if here != root and _reader_of(here):
            inner.clear()
            _read_found(here, reading, unknown)
            continue
        if all((here / name).is_file() for name in _REPORT_FILES):
            reading.findings.append(note("earlier_report", f"{here} is a report; it was passed over"))
            inner.clear()
            continue
        for name in sorted(names):
            if not name.startswith(".") and name != FIELDS_FILE:
                _read_found(here / name, reading, unknown)
    reading.unknown += _shortened(unknown)


def _read_found(path: Path, reading: _Reading, unknown: list[UnknownFile]) -> None:
    reader = _reader_of(path)
    if reader is None:
        unknown.append(UnknownFile(str(path), "no known format"))
        return
    try:
        reading.add(reader.read(path, reading.options))
    except IpvBenchError as error:
        unknown.append(UnknownFile(str(path), error.found))
        text = error.found + (f" (expected: {error.expected})" if error.expected else "")
        reading.findings.append(refusal("unreadable", text, error.fix, [str(path)]))


def _shortened(unknown: Sequence[UnknownFile]) -> Iterator[UnknownFile]:
    kinds: dict[tuple[Path, str, str], list[UnknownFile]] = {}
    for file in unknown:
        path = Path(file.path)
        kinds.setdefault((path.parent, path.suffix, file.reason), []).append(file)
    for (folder, suffix, reason), files in kinds.items():
        if len(files) <= _LISTED_PER_KIND:
            yield from files
        else:
            yield UnknownFile(f"{folder}/*{suffix}", f"{len(files)} files: {reason}")


def _nothing_found(given: Sequence[Path], reading: _Reading) -> InputError:
    found = f"no runs in {', '.join(map(str, given)) or 'nothing'}"
    if reading.unknown:
        shown = "; ".join(f"{file.path} ({file.reason})" for file in reading.unknown[:5])
        more = f"; and {len(reading.unknown) - 5} more" if len(reading.unknown) > 5 else ""
        found += f"; files that could not be used: {shown}{more}"
    return InputError(found, expected=_known_formats(), fix="docs/reports/formats.md shows each with an example")
