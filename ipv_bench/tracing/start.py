"""Where a chain begins: what the user named."""

from __future__ import annotations

from pathlib import Path

from ipv_bench.analysis_record import ANALYSIS_FILE
from ipv_bench.checkpoint_index import INDEX_FILE
from ipv_bench.errors import InputError
from ipv_bench.run_record import RUN_FILE
from ipv_bench.shard_set import MANIFEST_FILE
from ipv_bench.tracing.link import Link, Links
from ipv_bench.tracing.report_links import FIGURES, figure_link, find_report, read_report, report_link
from ipv_bench.tracing.run_links import analysis_link, checkpoint_link, run_link
from ipv_bench.tracing.set_links import set_link

DEFAULT_REPORT = "report"
EXPECTED = "a figure of a report, a report, a run, a checkpoint, an analysis, or a shard set"


def trace(named: str) -> Link:
    """The chain below what the user named, checked.

    Args:
        named: a figure (its file, `REPORT/NAME`, or its name alone for the report in `report/`), or the folder or the
            record of a report, run, checkpoint, analysis or shard set.

    Raises:
        InputError: nothing of the kind is there; or the report's record is damaged.
        UnknownNameError: the report has no figure of that name.
    """
    links, path = Links(), Path(named)
    if "://" in named:
        raise InputError(f"{named} is an address", expected=f"{EXPECTED} on this machine", fix="copy it here first")
    if path.is_file() and path.parent.name == FIGURES and find_report(path.parent.parent):
        return figure_link(links, read_report(path.parent.parent), path.stem, path.name)
    folder = path.parent if path.is_file() else path
    if folder.is_dir():
        found = _of_folder(links, folder)
        if found is not None:
            return found
    for report, name in ((path.parent, path.name), (path.parent.parent, path.name), (Path(DEFAULT_REPORT), named)):
        if not path.exists() and find_report(report):
            return figure_link(links, read_report(report), _figure_name(name))
    what = "holds nothing that can be traced" if path.exists() else "does not exist"
    raise InputError(
        f"{named} {what}", expected=EXPECTED, fix="name one, such as report/figures/NAME.svg or runs/…/seed0"
    )


def _figure_name(text: str) -> str:
    """A figure's name, given with or without the ending of one of its files."""
    stem, dot, ending = text.rpartition(".")
    return stem if dot and ending in ("svg", "pdf", "png", "csv", "gif") else text


def _of_folder(links: Links, folder: Path) -> Link | None:
    if find_report(folder):
        return report_link(links, read_report(folder))
    for name, make in ((RUN_FILE, run_link), (INDEX_FILE, checkpoint_link), (ANALYSIS_FILE, analysis_link)):
        if (folder / name).is_file():
            return make(links, folder)
    return set_link(links, folder) if (folder / MANIFEST_FILE).is_file() else None
