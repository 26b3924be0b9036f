"""`ipv-bench report`: makes a report, or finds that nothing has changed since the one that is there.

The libraries that compute and draw take longer to load than an unchanged report takes to recognise, so only the whole
report imports them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ipv_bench.atomic_file import disk_errors
from ipv_bench.config import build, read_config_file
from ipv_bench.errors import FindingsError, InputError, OutputError
from ipv_bench.folder_kind import REPORT_FILE, refuse_other_kind
from ipv_bench.progress import say
from reports.config import ReportConfig
from reports.earlier_report import EarlierReport
from reports.scores.findings import Finding, needs_attention

PAGE_FILE = "report.html"


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
    """Read runs, compute everything and write the report; nothing is done again where nothing has changed.

    Args:
        sources: run folders, folders of them, or score files of other projects.
        out: folder that is written; files of an earlier report in it are replaced.
        figures: names of figures, `paper` or `fig5a,fig6`; empty: the config's own, else curves and aggregates.
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
    names = list(figures) or list(config.figures)
    _check_writable(out)
    settings = {
        "config": config.model_dump(mode="json"),
        "figures": names,
        "allow_mixed": allow_mixed,
        "resamples": resamples,
        "seed": seed,
    }
    other_inputs = [config.normalise.human] if config.normalise.human else []
    earlier = EarlierReport(out, sources, other_inputs, settings)
    # The commands that make missing runs depend on more than the report does.
    found = earlier.unchanged() if missing_commands is None else None
    if found is not None:
        summary, findings = found
    else:
        from reports.full_report import Request, write_report

        request = Request(sources, out, config, names, missing_commands, allow_mixed, resamples, seed)
        written = write_report(request)
        summary, findings = written.summary, list(written.findings)
        earlier.remember(written.files, written.kept_summary)
    say(f"{summary}\n\n{out / PAGE_FILE}")
    if strict and needs_attention(findings):
        _fail_strictly(findings, out)
    _refuse_mixed(findings, out)
    return out / PAGE_FILE


def _read_config(path: str | Path | None) -> ReportConfig:
    """The report's config; a relative path in it is looked for beside it first."""
    config = build(ReportConfig, read_config_file(path) if path else {})
    human = config.normalise.human
    if path and human and (beside := Path(path).parent / human).is_file():
        rules = config.normalise.model_copy(update={"human": str(beside)})
        return config.model_copy(update={"normalise": rules})
    return config


def _check_writable(out: Path) -> None:
    """Fail before the work, not after it."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file", expected="a folder, or nothing yet", fix="choose another --out")
    if (out / "__init__.py").exists():
        raise OutputError(
            f"{out} is a Python package", expected="a folder for the report", fix="choose another --out, such as report"
        )
    refuse_other_kind(out, REPORT_FILE)
    probe = out / ".ipv-bench-write-test"
    try:
        with disk_errors(out):
            out.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
    except OSError as error:  # such as a name that the file system does not take
        raise OutputError(
            f"cannot write {out}: {error.strerror}", expected="a folder to write into", fix="choose another --out"
        ) from error


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
