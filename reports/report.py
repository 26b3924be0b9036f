"""`ipv-bench report`: from runs or score files to a folder with one page, figures, tables and their provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ipv_bench import __version__
from ipv_bench.atomic_file import disk_errors, write_bytes, write_json
from ipv_bench.config import build, read_config_file
from ipv_bench.errors import FindingsError, InputError, OutputError
from ipv_bench.progress import say
from ipv_bench.run_record import package_versions
from reports.analysis import Computation
from reports.config import ReportConfig
from reports.figures.drawing import Drawing
from reports.figures.kept_drawings import KeptDrawings
from reports.figures.selection import check_names, described_figures
from reports.missing_commands import MissingCommands, missing_commands
from reports.page.contents import Contents, compute
from reports.page.report_page import report_page
from reports.readers.registry import read_sources
from reports.scores.checks import check
from reports.scores.findings import Finding, in_order, needs_attention, note
from reports.scores.known_ranges import outside_known_ranges
from reports.scores.normalise import multiplied
from reports.scores.score_table import Collection, select, tidy
from reports.statistics.intervals import CURVE_RESAMPLES, TABLE_RESAMPLES
from reports.tables.provenance import provenance_records
from reports.tables.tables import to_csv, to_latex, to_markdown
from reports.terminal import show_summary

PAGE_FILE, REPORT_FILE, DATA_FILE = "report.html", "report.json", "data.parquet"
PACKAGES = ("ipv-bench", "numpy", "pandas", "pyarrow", "matplotlib", "rliable", "scipy")


def make_report(
    sources: Sequence[str | Path],
    out: str | Path = "report",
    *,
    figures: Sequence[str] = (),
    config_file: str | Path | None = None,
    strict: bool = False,
    allow_mixed: bool = False,
    missing_commands: str | Path | None = None,
    resamples: int | None = None,
    seed: int = 0,
) -> Path:
    """Read runs, compute everything and write the report.

    Args:
        sources: run folders, folders of them, or score files of other projects.
        out: folder that is written; files of an earlier report in it are replaced.
        figures: names of figures, `fig5a` or `fig5a,fig6`; empty: the config's own, else curves and aggregates.
        config_file: YAML with the fields of `ReportConfig`.
        strict: raise FindingsError, after everything is written, when there is a warning or a refusal.
        allow_mixed: pool runs whose environments differ.
        missing_commands: file to write the commands of missing runs to.
        resamples: bootstrap draws of all intervals; None: 2,000 for curves and 50,000 for tables.
        seed: of the resampling.

    Returns:
        The page's path.

    Raises:
        InputError: nothing can be used; or, after everything is written, runs were left out because their environment
            differs from that of the runs they belong to.
        UnknownNameError: a figure, method, task or field that is not known.
        ConfigError: the config has unknown fields or wrong values.
        OutputError: `out` cannot be written.
        FindingsError: see `strict`.
    """
    out = Path(out)
    config = _read_config(config_file)
    described = described_figures(list(figures) or list(config.figures), config.figures)
    _check_writable(out)
    may_be_empty = bool(described) and missing_commands is not None
    collection = _read(sources, config, allow_mixed, may_be_empty=may_be_empty)
    for figure in described.values():
        check_names(figure, collection.runs)
    computation = Computation(config, seed, resamples or CURVE_RESAMPLES, resamples or TABLE_RESAMPLES)
    kept = KeptDrawings(out, config.formats)
    drawing = Drawing(config.formats, config.drawing_processes, kept)
    contents = compute(collection, described, computation, drawing, out)
    findings = in_order([*collection.findings, *contents.findings, *_without_reference()])
    commands = _commands(contents, collection, sources)
    page = report_page(contents, collection, findings, computation, commands)
    _write(out, page, contents, collection, findings, computation)
    kept.write()
    if missing_commands is not None:
        _write_commands(Path(missing_commands), commands)
    show_summary(contents, findings, out / PAGE_FILE)
    if strict and needs_attention(findings):
        _fail_strictly(findings, out)
    _refuse_mixed(findings, out)
    return out / PAGE_FILE


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


def _read_config(path: str | Path | None) -> ReportConfig:
    """The report's config; a relative path in it is looked for beside it first."""
    config = build(ReportConfig, read_config_file(path) if path else {})
    human = config.normalise.human
    if path and human and (beside := Path(path).parent / human).is_file():
        rules = config.normalise.model_copy(update={"human": str(beside)})
        return config.model_copy(update={"normalise": rules})
    return config


def _read(sources: Sequence[str | Path], config: ReportConfig, allow_mixed: bool, *, may_be_empty: bool) -> Collection:
    """Read, choose and check the runs.

    Args:
        may_be_empty: figures were asked for and the commands that make their runs: no run need exist yet.
    """
    if may_be_empty and not any(Path(source).is_file() or _has_entries(Path(source)) for source in sources):
        return Collection(())
    collection = read_sources(sources, config.read_options)
    chosen = select(collection.runs, config.where)
    if collection.runs and not chosen:
        raise InputError(
            f"none of the {len(collection.runs)} runs fits where: {config.where}",
            expected="at least one run",
            fix="correct `where` in the report's config",
        )
    runs, multiplications = multiplied(chosen, config.normalise.factors)
    checked = check(replace(collection, runs=runs), allow_mixed=allow_mixed, grid=config.grid)
    ranges = outside_known_ranges(checked.runs, config.normalise)
    return replace(checked, findings=(*checked.findings, *multiplications, *ranges))


def _has_entries(path: Path) -> bool:
    return path.is_dir() and next(path.iterdir(), None) is not None


def _check_writable(out: Path) -> None:
    """Fail before the work, not after it."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file", expected="a folder, or nothing yet", fix="choose another --out")
    if (out / "__init__.py").exists():
        raise OutputError(
            f"{out} is a Python package", expected="a folder for the report", fix="choose another --out, such as report"
        )
    probe = out / ".ipv-bench-write-test"
    try:
        with disk_errors(out):
            out.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
    except OSError as error:  # such as a name that the file system does not take
        raise OutputError(f"cannot write {out}: {error.strerror}", fix="choose another --out") from error


def _commands(contents: Contents, collection: Collection, sources: Sequence[str | Path]) -> MissingCommands:
    folders = [str(source) for source in sources if Path(source).is_dir()]
    return missing_commands(contents.missing, collection.pretraining, folders[0] if folders else "runs")


def _write_commands(path: Path, commands: MissingCommands) -> None:
    write_bytes(path, commands.text().encode())
    first, second = len(commands.pretraining), len(commands.finetuning)
    say(f"{path}: {first} pre-training and {second} fine-tuning commands")
    if first and second:
        say(f"  lines 1 to {first} (pre-training) must be done before lines {first + 1} to {first + second} start")


def _write(
    out: Path,
    page: str,
    contents: Contents,
    collection: Collection,
    findings: Sequence[Finding],
    computation: Computation,
) -> None:
    files: dict[str, bytes] = {}
    for figure in contents.figures:
        files |= {f"figures/{figure.name}.{kind}": data for kind, data in figure.files.items()}
    for table in contents.tables.values():
        files[f"tables/{table.name}.csv"] = to_csv(table).encode()
        files[f"tables/{table.name}.tex"] = to_latex(table).encode()
        files[f"tables/{table.name}.md"] = to_markdown(table).encode()
    files[PAGE_FILE] = page.encode("utf-8", "replace")
    _remove_earlier(out, files)
    with disk_errors(out):
        # First of all what will be here: a report that is killed leaves nothing that the next one takes for its own.
        write_json(out / REPORT_FILE, {"unfinished": True, "files": sorted(files)})
        for name, data in files.items():
            write_bytes(out / name, data)
        _write_data(out / DATA_FILE, collection)
        write_json(out / REPORT_FILE, _report_record(files, contents, collection, findings, computation))


def _write_data(path: Path, collection: Collection) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(tidy(collection.runs), preserve_index=False)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_bytes(path, sink.getvalue().to_pybytes())


def _remove_earlier(out: Path, files: Mapping[str, bytes]) -> None:
    """Delete what an earlier report wrote here and this one does not: stale figures would be taken for new ones."""
    try:
        earlier = json.loads((out / REPORT_FILE).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    for name in earlier if isinstance(earlier, list) else []:
        path = out / str(name)
        ours = path.parent.name in ("figures", "tables") and path.parent.parent.resolve() == out.resolve()
        if ours and str(name) not in files and path.is_file():
            path.unlink()


def _report_record(
    files: Mapping[str, bytes],
    contents: Contents,
    collection: Collection,
    findings: Sequence[Finding],
    computation: Computation,
) -> dict[str, Any]:
    return {
        "ipv_bench": __version__,
        "packages": package_versions(PACKAGES),
        "config": computation.config.model_dump(mode="json"),
        "seed": computation.seed,
        "curve_resamples": computation.curve_resamples,
        "table_resamples": computation.table_resamples,
        "files": sorted(files),
        "findings": [finding.as_dict() for finding in findings],
        "unknown_files": [{"path": one.path, "reason": one.reason} for one in collection.unknown],
        "runs": provenance_records(collection.runs, collection.pretraining),
        "missing_runs": [
            {"figure": run.figure, "method": run.label, "suite": run.suite, "task": run.task, "seed": run.seed}
            for run in contents.missing
        ],
    }


def _refuse_mixed(findings: Sequence[Finding], out: Path) -> None:
    """End with an error when runs were left out of a pool: who asked for them must not overlook it."""
    mixed = [finding for finding in findings if finding.code == "mixed_environments" and finding.level == "refusal"]
    if mixed:
        raise InputError(
            "runs of different environments are not pooled:\n"
            + "\n".join(f"    {finding.text}" for finding in mixed[:10]),
            expected="runs of one method and suite with one env_fingerprint",
            fix=f"{mixed[0].fix}; {out / PAGE_FILE} is written without those runs",
        )


def _fail_strictly(findings: Sequence[Finding], out: Path) -> None:
    serious = [finding for finding in findings if finding.level != "note"]
    shown = "\n".join(f"    {finding.level}: {finding.text}" for finding in serious[:20])
    raise FindingsError(
        f"the report has {len(serious)} warnings or refusals:\n{shown}",
        expected="none, with --strict",
        fix=f"see {out / PAGE_FILE}; the report is complete",
    )
