"""A whole report: from runs or score files to a folder with one page, figures, tables and their provenance."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ipv_bench import __version__
from ipv_bench.atomic_file import disk_errors, write_bytes, write_json
from ipv_bench.bounded_json import read_json
from ipv_bench.errors import InputError
from ipv_bench.file_names import relative_path_inside
from ipv_bench.folder_kind import REPORT_FILE
from ipv_bench.progress import say
from ipv_bench.run_record import package_versions
from reports.computation import Computation
from reports.config import ReportConfig
from reports.figures.drawing import Drawing
from reports.figures.kept_drawings import KeptDrawings
from reports.figures.paper_figures import Wanted, wanted_figures
from reports.figures.selection import check_names
from reports.frozen.check import check_runs
from reports.frozen.checked_run import CheckedRuns
from reports.frozen.figure import plain_name, split_names
from reports.frozen.result import result_bytes
from reports.missing_commands import MissingCommands, missing_commands
from reports.page.contents import Contents, compute
from reports.page.report_page import report_page
from reports.published_places import PublishedPlaces
from reports.readers.analyses import Analyses, analysis_folders
from reports.readers.registry import read_sources
from reports.scores.checks import check
from reports.scores.findings import Finding, in_order, note
from reports.scores.known_ranges import outside_known_ranges
from reports.scores.normalise import multiplied
from reports.scores.score_table import Collection, select, tidy
from reports.statistics.intervals import CURVE_RESAMPLES, TABLE_RESAMPLES
from reports.tables.provenance import file_hashes, provenance_records
from reports.tables.tables import to_csv, to_latex, to_markdown
from reports.terminal import summary

PAGE_FILE, DATA_FILE = "report.html", "data.parquet"
PACKAGES = ("ipv-bench", "numpy", "pandas", "pyarrow", "matplotlib", "rliable", "scipy")


@dataclass(frozen=True)
class Request:
    """What a report is made of and how.

    Attributes:
        sources, out, missing_commands, allow_mixed, seed: see `make_report`.
        config: the report's config.
        figures: names of the figures asked for.
        resamples: bootstrap draws of all intervals; None: 2,000 for curves and 50,000 for tables.
    """

    sources: Sequence[str | Path]
    out: Path
    config: ReportConfig
    figures: Sequence[str]
    missing_commands: str | Path | None
    allow_mixed: bool
    resamples: int | None
    seed: int


@dataclass(frozen=True)
class Written:
    """A report that was written.

    Attributes:
        files: names of its files, relative to its folder.
        summary: what the terminal shows.
        kept_summary: what it shows when nothing has changed; it lies in the report's folder, as published.
        findings: all of them, in order.
    """

    files: tuple[str, ...]
    summary: str
    kept_summary: str
    findings: tuple[Finding, ...]


def write_report(request: Request) -> Written:
    """Read runs, compute everything and write the report; errors as of `make_report`."""
    config, out = request.config, request.out
    protocols, figures = split_names(request.figures)
    wanted = wanted_figures(figures, config.figures)
    collection = _read(request, wanted)
    for figure in wanted.described.values():
        check_names(figure, collection.runs)
    draws = request.resamples
    computation = Computation(config, request.seed, draws or CURVE_RESAMPLES, draws or TABLE_RESAMPLES)
    kept = KeptDrawings(out, config.formats)
    with Drawing(config.formats, config.drawing_processes, kept) as drawing:
        frozen = [check_runs(name, collection) for name in protocols]
        analyses = Analyses([Path(source) for source in request.sources])
        contents = compute(collection, wanted, computation, drawing, out, analyses, frozen)
        findings = in_order([*collection.findings, *contents.findings, *_without_reference()])
        commands = _commands(contents, collection, request.sources)
        places = PublishedPlaces(request.sources, out)
        contents.tables = {name: places.table(table) for name, table in contents.tables.items()}
        published = [places.finding(finding) for finding in findings]
        page = places.page(report_page(contents, collection, published, computation, commands))
    results = {f"{plain_name(one.name)}.json": one for one in frozen}
    files = _write(out, page, contents, collection, published, computation, commands, results, places)
    kept.write()
    if request.missing_commands is not None:
        _write_commands(Path(request.missing_commands), commands)
    return Written(files, summary(contents, findings), summary(contents, published), tuple(findings))


def _without_reference() -> list[Finding]:
    """A note where rliable, which the statistics are held to, is not installed: Python 3.14 has no builds of it."""
    if find_spec("rliable"):
        return []
    return [
        note(
            "no_rliable",
            "rliable is not installed here; the statistics are computed by ipv-bench alone, as always. Where it is "
            "installed, tests hold them to rliable's numbers",
            "Python 3.11, 3.12 or 3.13 if you want both; rliable and arch have no builds for 3.14",
        )
    ]


def _read(request: Request, wanted: Wanted) -> Collection:
    """Read, choose and check the runs; none need exist where their commands or figures of other material are wanted."""
    config, sources = request.config, request.sources
    commands_alone = bool(wanted.described) and request.missing_commands is not None
    if commands_alone and not any(Path(source).is_file() or _has_entries(Path(source)) for source in sources):
        return Collection(())
    needs_runs = (
        not commands_alone and not wanted.made and not any(any(analysis_folders(Path(source))) for source in sources)
    )
    collection = read_sources(sources, config.read_options, needs_runs=needs_runs)
    chosen = select(collection.runs, config.where)
    if collection.runs and not chosen:
        raise InputError(
            f"none of the {len(collection.runs)} runs fits where: {config.where}",
            expected="at least one run",
            fix="correct `where` in the report's config",
        )
    runs, multiplications = multiplied(chosen, config.normalise.factors)
    checked = check(
        replace(collection, runs=runs),
        allow_mixed=request.allow_mixed,
        grid=config.grid,
        needs_scores=not commands_alone,
    )
    ranges = outside_known_ranges(checked.runs, config.normalise)
    return replace(checked, findings=(*checked.findings, *multiplications, *ranges))


def _has_entries(path: Path) -> bool:
    return path.is_dir() and any(not entry.name.startswith(".") for entry in path.iterdir())


def _commands(contents: Contents, collection: Collection, sources: Sequence[str | Path]) -> MissingCommands:
    folders = [str(source) for source in sources if "://" not in str(source) and not Path(source).is_file()]
    there = [*collection.runs, *(one.run for one in collection.left_out)]
    return missing_commands(contents.missing, collection.pretraining, folders[0] if folders else "runs", there)


def _write_commands(path: Path, commands: MissingCommands) -> None:
    write_bytes(path, commands.text().encode())
    first, second = len(commands.pretraining), len(commands.finetuning)
    say(f"{path}: {first} pre-training and {second} fine-tuning commands")
    for reason, number in commands.planned.items():
        say(f"  {number} runs without a command: {reason}")
    if first and second:
        say(f"  lines 1 to {first} (pre-training) must be done before lines {first + 1} to {first + second} start")


def _write(
    out: Path,
    page: str,
    contents: Contents,
    collection: Collection,
    findings: Sequence[Finding],
    computation: Computation,
    commands: MissingCommands,
    results: Mapping[str, CheckedRuns],
    places: PublishedPlaces,
) -> tuple[str, ...]:
    files: dict[str, bytes] = {name: result_bytes(one) for name, one in results.items()}
    for figure in contents.figures:
        files |= {f"figures/{figure.name}.{kind}": data for kind, data in figure.files.items()}
    files |= {f"figures/{moving.name}.gif": moving.data for moving in contents.moving}
    for table in contents.tables.values():
        files[f"tables/{table.name}.csv"] = to_csv(table).encode()
        files[f"tables/{table.name}.tex"] = to_latex(table).encode()
        files[f"tables/{table.name}.md"] = to_markdown(table).encode()
    files[PAGE_FILE] = page.encode("utf-8", "replace")
    # It reads the runs' files again, for their hashes: what cannot be read is no fault of the folder written to.
    record = places.values(_report_record(files, contents, collection, findings, computation))
    _remove_earlier(out, files)
    with disk_errors(out):
        # First of all what will be here: a report that is killed leaves nothing that the next one takes for its own.
        write_json(out / REPORT_FILE, {"unfinished": True, "files": sorted(files)})
        for name, data in files.items():
            write_bytes(out / name, data)
        _write_data(out / DATA_FILE, collection, places)
        write_json(out / REPORT_FILE, record | {"planned_runs": dict(commands.planned)})
    return (*sorted(files), DATA_FILE, REPORT_FILE)


def _write_data(path: Path, collection: Collection, places: PublishedPlaces) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    frame = tidy(collection.runs)
    for name in ("source", "env_fingerprint"):
        frame[name] = frame[name].astype(object).map(places.text).astype("category")
    table = pa.Table.from_pandas(frame, preserve_index=False)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_bytes(path, sink.getvalue().to_pybytes())


def _remove_earlier(out: Path, files: Mapping[str, bytes]) -> None:
    """Delete what an earlier report wrote here and this one does not: stale figures would be taken for new ones."""
    try:
        earlier = read_json(out / REPORT_FILE, expect=dict).get("files")
    except InputError:
        return
    for name in earlier if isinstance(earlier, list) else []:
        with suppress(InputError):  # a name that leads out of the folder is not ours
            path = relative_path_inside(out, name, REPORT_FILE)
            inside = path.parent.name in ("figures", "tables") and path.parent.parent == out
            ours = inside or (path.parent == out and path.name.startswith("protocol_"))
            if ours and name not in files and path.is_file():
                path.unlink()


def _report_record(
    files: Mapping[str, bytes],
    contents: Contents,
    collection: Collection,
    findings: Sequence[Finding],
    computation: Computation,
) -> dict[str, Any]:
    shown = {figure.name: figure.made_from for figure in contents.figures}
    shown |= {moving.name: moving.made_from for moving in contents.moving}
    return {
        "ipv_bench": __version__,
        "packages": package_versions(PACKAGES),
        "config": computation.config.model_dump(mode="json"),
        "seed": computation.seed,
        "curve_resamples": computation.curve_resamples,
        "table_resamples": computation.table_resamples,
        "files": sorted(files),
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
        "figures": {name: {"made_from": list(sources)} for name, sources in shown.items()},
        "made_from": file_hashes(source for sources in shown.values() for source in sources),
        "findings": [finding.as_dict() for finding in findings],
        "unknown_files": [{"path": one.path, "reason": one.reason} for one in collection.unknown],
        "runs": provenance_records(collection.runs, collection.pretraining),
        "lines": contents.lines,
        "missing_runs": [
            {
                "figure": run.figure,
                "method": run.label,
                "suite": run.suite,
                "task": run.task,
                "seed": run.seed,
                "drawn": run.drawn,
            }
            for run in contents.missing
        ],
    }
