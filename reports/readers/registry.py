"""Finds out what each given path is, and reads it: every format is tried on every file and folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from functools import cache, partial
from pathlib import Path

from ipv_bench.analysis_record import is_analysis
from ipv_bench.errors import ConfigError, InputError, IpvBenchError, PluginError
from ipv_bench.plugins import all_plugins, clashes, find_plugin
from reports.readers.archive import is_archive, unpacked
from reports.readers.base import FIELDS_FILE, Read, Reader, ReadOptions
from reports.readers.config_beside import FILES as CONFIG_FILES
from reports.readers.near_miss import near_miss, why_not
from reports.readers.one_run_many_logs import one_log_per_run
from reports.readers.run_names import NamesError
from reports.scores.findings import Finding, few_of_a_kind, note, refusal
from reports.scores.identity import with_plain_names, without_pseudo_tasks
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
        self.unnamed: list[tuple[str, NamesError]] = []

    def add(self, read: Read) -> None:
        self.runs += [with_plain_names(run) for run in read.runs]
        self.pretraining += read.pretraining
        self.findings += read.findings


@cache
def readers() -> tuple[Reader, ...]:
    """All readers in the order in which they are asked: other packages' before ours. The first that accepts reads.

    Raises:
        PluginError: a reader of another package does not work, or takes a name that is taken.
    """
    for name in clashes("readers"):
        find_plugin("readers", name)  # says who gives it twice
    return tuple(plugin.load(MEMBERS) for plugin in all_plugins("readers"))


def read_sources(
    sources: Iterable[str | Path], options: ReadOptions | None = None, *, needs_runs: bool = True
) -> Collection:
    """Read runs from run folders, folders of anything, score files, and tar archives of these.

    A path that is given twice, or lies in a folder that is given as well, is read once. What cannot be used inside a
    folder becomes a finding; a file that was named itself must be readable, unless several were named: then what
    cannot be used is listed as if it had been found, so that one odd file among many does not stop the report.

    Args:
        sources: paths.
        options: what to read where a log has several scores, and how to name what says no names.
        needs_runs: without any run there is nothing to do.

    Raises:
        InputError: a path does not exist, a named file is damaged or of no known format, or nothing has a run.
    """
    reading = _Reading(options or ReadOptions())
    given = _outermost([Path(source) for source in sources])
    for path in given:
        _read_given(path, reading, alone=len(given) == 1)
    if needs_runs and not reading.runs and not reading.pretraining:
        raise _nothing_found(given, reading)
    runs, findings = without_pseudo_tasks(reading.runs)
    runs, twins = one_log_per_run(runs)
    asked = list(_names_needed(reading.unnamed))
    return Collection(
        tuple(in_order(runs)),
        tuple(sorted(reading.pretraining, key=lambda run: run.source)),
        tuple(_plain_file(file) for file in _shortened(reading.unknown)),
        tuple(map(_plain_finding, [*few_of_a_kind([*reading.findings, *findings, *twins]), *asked])),
    )


def _plain_file(file: UnknownFile) -> UnknownFile:
    return UnknownFile(_encodable(file.path), _encodable(file.reason))


def _plain_finding(finding: Finding) -> Finding:
    return replace(
        finding,
        text=_encodable(finding.text),
        fix=_encodable(finding.fix),
        subjects=tuple(map(_encodable, finding.subjects)),
    )


def _encodable(text: str) -> str:
    """Text that can be written as UTF-8: a file's name may hold any bytes."""
    return text.encode("utf-8", "replace").decode()


def _outermost(paths: Sequence[Path]) -> list[Path]:
    kept: dict[Path, Path] = {}
    resolved = [(path.resolve(), path) for path in paths]
    for full, path in resolved:
        if not any(other != full and other in full.parents for other, _ in resolved):
            kept.setdefault(full, path)
    return list(kept.values())


def _read_given(path: Path, reading: _Reading, *, alone: bool) -> None:
    if not path.exists():
        raise InputError(
            f"{path} does not exist", expected="a run, a folder of runs, or a score file", fix="check the path"
        )
    if path.is_dir():
        _walk(path, reading, alone=alone)
    elif is_archive(path):
        _read_archive(path, reading, alone=alone)
    elif not alone:
        _read_found(path, reading)
    else:
        if not _is_regular(path):
            raise InputError(f"{path} is no plain file", expected="a file or a folder", fix="write it to a file first")
        reader = _reader_of(path, reading.options)
        if reader is None:
            raise near_miss(path, reading.options, _known_formats())
        reading.add(_read(reader, path, reading.options))


def _read_archive(path: Path, reading: _Reading, *, alone: bool) -> None:
    try:
        with unpacked(path) as (folder, renamed):
            inside = _Reading(reading.options)
            _walk(folder, inside, alone=False)
            reading.add(
                Read(*(tuple(map(renamed, items)) for items in (inside.runs, inside.pretraining, inside.findings)))
            )
            reading.unknown += map(renamed, inside.unknown)
            reading.unnamed += [(renamed(UnknownFile(where, "")).path, error) for where, error in inside.unnamed]
    except InputError as error:
        if alone:
            raise
        _refuse(path, error, reading)


def _questions(options: ReadOptions) -> Iterator[tuple[Reader, Callable[[Path], bool]]]:
    """What to ask of a path, in order: first whether the user's `columns:` and `names:` make it readable."""
    if options.columns or options.names:
        for reader in readers():
            if hasattr(reader, "fits"):
                yield reader, partial(reader.fits, options=options)
    for reader in readers():
        yield reader, reader.accepts


def _reader_of(path: Path, options: ReadOptions) -> Reader | None:
    for reader, fits in _questions(options):
        try:
            if fits(path):
                return reader
        except Exception:  # noqa: BLE001  (a look at a foreign file must not end the report; others are asked)
            continue
    return None


def _read(reader: Reader, path: Path, options: ReadOptions) -> Read:
    """What a reader finds; whatever goes wrong in it is an error about this path.

    Raises:
        InputError: the file cannot be used.
        ConfigError: `run_fields.yaml` or the config's `names:` or `columns:` are wrong.
    """
    try:
        return reader.read(path, options)
    except IpvBenchError:
        raise
    except MemoryError:
        raise InputError(
            f"{path} does not fit into memory", expected="a file of scores", fix="leave the file out"
        ) from None
    except Exception as error:  # a reader met what it does not expect: the other files are read all the same
        raise InputError(
            f"{path} cannot be read as {reader.name}: {type(error).__name__}: {str(error)[:200]}",
            expected="a file as docs/reports/formats.md shows it",
            fix="mend the file, or leave it out",
        ) from error


def _known_formats() -> str:
    return f"one of {', '.join(reader.name for reader in readers())}"


def _walk(root: Path, reading: _Reading, *, alone: bool) -> None:
    for folder, inner, names in os.walk(root, onerror=lambda error: _refuse_folder(error, reading)):
        here = Path(folder)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in [name for name in inner if (here / name).is_symlink()]:
            reading.unknown.append(UnknownFile(str(here / name), "a link to a folder: not followed; give it by itself"))
        if is_analysis(here):  # no scores in it; figures of analyses find it by themselves
            inner.clear()
            continue
        reader = _reader_of(here, reading.options)
        uses: Sequence[str] = ()
        if reader:
            _read_found(here, reading, reader, must=alone and here == root)
            uses = getattr(reader, "uses", ())
            if not uses:
                inner.clear()
                continue
        if all((here / name).is_file() for name in _REPORT_FILES):
            reading.findings.append(note("earlier_report", f"{here} is a report; it was passed over"))
            inner.clear()
            continue
        for name in sorted(names):
            passed_over = name.startswith(".") or name == FIELDS_FILE or name in CONFIG_FILES
            if not passed_over and not any(fnmatch(name, pattern) for pattern in uses):
                _read_found(here / name, reading)


def _refuse_folder(error: OSError, reading: _Reading) -> None:
    reading.unknown.append(UnknownFile(str(error.filename), f"cannot be opened: {error.strerror}"))


def _is_regular(path: Path) -> bool:
    """Whether a path is a plain file: reading a pipe or a device may never end."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _read_found(path: Path, reading: _Reading, reader: Reader | None = None, *, must: bool = False) -> None:
    if reader is None:
        if not _is_regular(path):
            kind = "a link to nothing" if path.is_symlink() and not path.exists() else "no plain file"
            reading.unknown.append(UnknownFile(str(path), kind))
            return
        reader = _reader_of(path, reading.options)
    if reader is None:
        reading.unknown.append(UnknownFile(str(path), why_not(path, reading.options)))
        return
    try:
        reading.add(_read(reader, path, reading.options))
    except NamesError as error:
        reading.unknown.append(UnknownFile(str(path), error.found))
        reading.unnamed.append((str(path), error))
    except (InputError, ConfigError, PluginError) as error:
        if must and (isinstance(error, ConfigError) or not hasattr(reader, "uses")):
            raise
        _refuse(path, error, reading)


def _refuse(path: Path, error: IpvBenchError, reading: _Reading) -> None:
    reading.unknown.append(UnknownFile(str(path), error.found))
    text = error.found + (f" (expected: {error.expected})" if error.expected else "")
    reading.findings.append(refusal("unreadable", text, error.fix, [str(path)]))


def _names_needed(unnamed: Sequence[tuple[str, NamesError]]) -> Iterator[Finding]:
    """One question per kind of path: a thousand logs of one layout need one line."""
    kinds: dict[str, list[tuple[str, NamesError]]] = {}
    for where, error in unnamed:
        kinds.setdefault(error.pattern, []).append((where, error))
    for same in kinds.values():
        error = same[0][1]
        places = [where for where, _ in same]
        more = f" (and {len(places) - 1} more logs of this layout)" if len(places) > 1 else ""
        yield refusal("names_needed", f"{error.found}{more}; not used", error.fix, places)


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
    unknown = list(_shortened(reading.unknown))
    if unknown:
        shown = "; ".join(f"{file.path} ({file.reason})" for file in unknown[:5])
        more = f"; and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        found += f"; files that could not be used: {shown}{more}"
    asked = list(_names_needed(reading.unnamed))
    fixes = [finding.fix for finding in (*asked, *reading.findings) if finding.level == "refusal" and finding.fix]
    fix = fixes[0] if fixes else "docs/reports/formats.md shows each with an example"
    return InputError(found, expected=_known_formats(), fix=fix)
