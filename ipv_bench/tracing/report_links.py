"""Figure → the runs, logs and analyses that it shows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipv_bench.analysis_record import ANALYSIS_FILE, ARRAYS_FILE
from ipv_bench.bounded_json import read_json
from ipv_bench.errors import InputError, IpvBenchError, UnknownNameError
from ipv_bench.file_names import is_file_name, relative_path_inside, shown
from ipv_bench.folder_kind import REPORT_FILE
from ipv_bench.run_record import EVALUATIONS_FILE, METRICS_FILE, RUN_FILE
from ipv_bench.tracing.checked_file import difference, sha256_of
from ipv_bench.tracing.link import Link, Links, text_of
from ipv_bench.tracing.places import find
from ipv_bench.tracing.run_links import analysis_link, run_link

FIGURES = "figures"
MAX_REPORT_BYTES = 1 << 30
SOURCE_FILES = (RUN_FILE, EVALUATIONS_FILE, METRICS_FILE, ANALYSIS_FILE, ARRAYS_FILE)
"""Files of a run or an analysis whose hashes a report records; no other is opened, whatever `report.json` names."""
_AGAIN = "make the report again with the same `ipv-bench report` command"


@dataclass(frozen=True)
class Report:
    """What `report.json` says.

    Attributes:
        folder: of the report.
        figures: name → paths of what it shows; None in a report of an older version, which does not say.
        files: file → sha256; empty in a report of an older version.
        hashes: path of a run, log or analysis → its files → sha256.
        runs: paths of all runs.
    """

    folder: Path
    figures: dict[str, list[str] | None]
    files: dict[str, str]
    hashes: dict[str, dict[str, str]]
    runs: list[str]


def read_report(folder: Path) -> Report:
    """Read the record of a report.

    Raises:
        InputError: it is damaged, or was never finished.
    """
    path = folder / REPORT_FILE
    values = read_json(path, error=InputError, expect=dict, limit=MAX_REPORT_BYTES, fix=_AGAIN)
    if values.get("unfinished"):
        raise InputError(f"{folder} holds a report that was interrupted", expected="a whole report", fix=_AGAIN)
    runs = [text_of(one, "source") for one in _dicts(values.get("runs"))]
    figures: dict[str, list[str] | None] = {}
    lines = _mapping(values.get("lines"))
    for name in _texts(values.get("files")):
        folder_name, _, file = name.partition("/")
        if folder_name == FIGURES and is_file_name(file):
            figures[file.rpartition(".")[0]] = _of_lines(lines.get(file.rpartition(".")[0]))
    for name, entry in _mapping(values.get("figures")).items():
        if name in figures and isinstance(entry, dict):
            figures[name] = _texts(entry.get("made_from"))
    hashes = {source: _hashes(entry) for source, entry in _mapping(values.get("made_from")).items()}
    return Report(folder, figures, _hashes(values.get("sha256")), hashes, list(dict.fromkeys(filter(None, runs))))


def _of_lines(lines: object) -> list[str] | None:
    """What a figure that was asked for by name shows, as reports of older versions have it."""
    found = [run for line in _dicts(lines) for run in _texts(line.get("runs"))]
    return list(dict.fromkeys(found)) or None


def _dicts(values: object) -> list[dict[str, Any]]:
    return [one for one in values if isinstance(one, dict)] if isinstance(values, list) else []


def _texts(values: object) -> list[str]:
    return [one for one in values if isinstance(one, str)] if isinstance(values, list) else []


def _mapping(values: object) -> dict[str, Any]:
    return values if isinstance(values, dict) else {}


def _hashes(values: object) -> dict[str, str]:
    return {name: value for name, value in _mapping(values).items() if isinstance(value, str)}


def report_link(links: Links, report: Report) -> Link:
    """The link of a whole report."""
    link = Link("report", str(report.folder), words=f"{len(report.figures)} figures of {len(report.runs)} runs")
    wanted = [name for name in report.files if not name.startswith(f"{FIGURES}/")]
    _check_files(link, report, wanted)
    if not wanted:
        link.state = "not recorded"
        link.words += "; the report is of an older version, which recorded no hash of its files"
    link.made_from = [figure_link(links, report, name) for name in sorted(report.figures)]
    return link


def figure_link(links: Links, report: Report, name: str, file: str = "") -> Link:
    """The link of a figure.

    Args:
        links: of the chain.
        report: that it belongs to.
        name: of the figure.
        file: its one file that was asked for; empty: all of its files.

    Raises:
        UnknownNameError: the report has no such figure.
    """
    if name not in report.figures:
        raise UnknownNameError(f"figure of {report.folder}", name, report.figures)
    wanted = [one for one in report.files if one.partition("/")[0] == FIGURES and _is_of(one, name, file)]
    link = Link("figure", f"{report.folder}/{FIGURES}/{file or name}")
    _check_files(link, report, wanted)
    if not wanted:
        link.state, link.words = "not recorded", "the report is of an older version, which recorded no hash of it"
    sources = report.figures[name]
    if sources is None:
        unknown = "recorded no hash of it nor" if not wanted else "did not record"
        if link.state != "broken":
            link.state = "not recorded"
        link.words = (
            f"the report is of an older version, which {unknown} which of its {len(report.runs)} runs a figure "
            f"shows: all are traced; {_AGAIN} to know"
        )
        sources = report.runs
    elif not sources:
        link.words += "; made from no run"
    link.made_from = [_source(links, report, one) for one in sources]
    unproved = [one for one in sources if not report.hashes.get(one)]
    if unproved:
        if link.state != "broken":
            link.state = "not recorded"
        link.words += f"; {len(unproved)} of them by their recorded place, without proof"
    return link


def _is_of(path: str, name: str, file: str) -> bool:
    own = path.partition("/")[2]
    return own == file if file else own.rpartition(".")[0] == name


def _check_files(link: Link, report: Report, names: list[str]) -> None:
    link.facts = {"sha256": {name: report.files[name] for name in names}}
    first = [f"{Path(name).name} {report.files[name]}" for name in names[:1]]
    link.words = "; ".join(filter(None, [link.words, "sha256 of " + first[0] if first else ""]))
    for name in names:
        _check(link, report.folder, name, report.files[name], f"the file was changed: {_AGAIN}")


def _check(link: Link, folder: Path, name: str, sha256: str, fix: str) -> None:
    """Break the link when a file is another one, or when its name leads out of the folder: it is not opened then."""
    try:
        problem = difference(relative_path_inside(folder, name, REPORT_FILE), sha256, fix)
    except IpvBenchError as refused:
        problem = refused
    if problem is not None:
        link.broken(problem)


def _source(links: Links, report: Report, recorded: str) -> Link:
    """The link of one run, log or analysis that a figure shows."""
    hashes = report.hashes.get(recorded, {})
    if "" in hashes:
        return _log(report, recorded, hashes[""])
    main = next((name for name in (RUN_FILE, ANALYSIS_FILE) if name in hashes), RUN_FILE)
    place = find(recorded, report.folder, lambda path: _is_ours(path), lambda path: _fits(path, main, hashes))
    if place.path is None:
        other = find(recorded, report.folder, Path.exists, lambda path: True).path
        state = "not recorded" if not hashes and other is not None else "not here"
        words = "a log of another project: nothing says what it was made from" if state == "not recorded" else ""
        words = words or "; ".join(f"{name} sha256 {sha256}" for name, sha256 in hashes.items())
        return Link("log" if state == "not recorded" else "run", recorded, state, words, {"sha256": hashes})  # type: ignore[arg-type]
    make = analysis_link if (place.path / ANALYSIS_FILE).is_file() and main == ANALYSIS_FILE else run_link
    return _unchanged(make(links, place.path), place.path, hashes)


def _is_ours(path: Path) -> bool:
    return (path / RUN_FILE).is_file() or (path / ANALYSIS_FILE).is_file()


def _fits(path: Path, main: str, hashes: Mapping[str, str]) -> bool:
    return main not in hashes or sha256_of(path / main) == hashes[main]


def _unchanged(link: Link, folder: Path, hashes: Mapping[str, str]) -> Link:
    """The link of a run or analysis whose files must be those that the report read."""
    for name, sha256 in hashes.items():
        if name in SOURCE_FILES:
            _check(link, folder, name, sha256, f"the run went on or was changed since the report: {_AGAIN}")
        else:
            found = f"{REPORT_FILE} has a sha256 of {shown(name)} in {folder}"
            link.broken(InputError(found, expected=f"only {', '.join(SOURCE_FILES)}", fix=_AGAIN))
    return link


def _log(report: Report, recorded: str, sha256: str) -> Link:
    """The link of a log of another project, or of a result file of a protocol."""
    words = f"sha256 {sha256}; what it was made from, another project knows"
    link = Link("log", recorded, "ok", words, {"sha256": sha256})
    place = find(recorded, report.folder, Path.is_file, lambda path: sha256_of(path) == sha256)
    if place.path is None:
        link.state = "not here"
        return link
    link.name = str(place.path)
    if not place.fits:
        problem = difference(place.path, sha256, f"the log was changed since the report: {_AGAIN}")
        return link.broken(problem or InputError(f"{place.path} was changed", expected=f"sha256 {sha256}", fix=_AGAIN))
    return link


def find_report(folder: Path) -> bool:
    """Whether a folder holds a report."""
    return os.path.isfile(folder / REPORT_FILE)
