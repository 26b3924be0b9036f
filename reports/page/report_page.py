"""The report's page: which sections it has and what stands in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ipv_bench import __version__
from reports.computation import Computation
from reports.figures.drawn import DrawnFigure
from reports.grouping import Grouping
from reports.missing_commands import MissingCommands
from reports.page import html
from reports.page.contents import Contents
from reports.readers.moving_pictures import MovingPicture
from reports.scores.align import FILL_WORDS
from reports.scores.findings import Finding
from reports.scores.score_table import Collection
from reports.tables.comparison_tables import END_RULES
from reports.tables.tables import Link, Table

COMMANDS_SHOWN = 200
MOVING_BYTES = 12 << 20
"""Moving pictures inside the page, together; those beyond are links to the files beside it."""


def report_page(
    contents: Contents,
    collection: Collection,
    findings: Sequence[Finding],
    computation: Computation,
    commands: MissingCommands,
) -> str:
    """The page's markup.

    Args:
        contents: figures and tables.
        collection: what was read.
        findings: all findings, in order.
        computation: how numbers were computed.
        commands: what makes the missing runs.
    """
    methods = Grouping(collection.runs).labels
    labels = list(dict.fromkeys([*methods, *(label for plan in contents.described for label in plan.plot.labels())]))
    page = html.Page(computation.config.title, _subtitle(collection), labels)

    def _table(table: Table | None) -> str:
        files = [Link(kind.upper(), f"tables/{table.name}.{kind}") for kind in ("csv", "md", "tex")] if table else []
        return html.table(table, files, methods=frozenset(labels)) if table else ""

    tables = dict(contents.tables)
    files = [html.link(Link(name, name)) for name in ("data.parquet", "report.json")]
    every = f"<p>All scores: {files[0]}; provenance, findings and settings: {files[1]}.</p>"
    page.section("Summary", _summary(collection, findings), _table(tables.pop("aggregates", None)), every)
    page.section("Warnings", html.finding_list(findings))
    if contents.described:
        page.section("Figures", *map(_figure, contents.drawn(contents.described)), _commands(commands))
    protocols = [name for name in tables if name.startswith("protocol_")]
    if protocols:
        page.section("Protocols", *(_table(tables.pop(name)) for name in protocols))
    if contents.aggregates:
        page.section("Aggregates", *map(_figure, contents.drawn(contents.aggregates)))
    compared = [name for name in ("ranking", "differences", "improvement", "sample_efficiency") if name in tables]
    if compared:
        page.section("Comparisons", *(_table(tables.pop(name)) for name in compared))
    if contents.curves:
        page.section("Learning curves", *map(_figure, contents.drawn(contents.curves)))
    finals = [name for name in tables if name.startswith("final_scores")]
    if finals:
        page.section("Final scores", *(_table(tables.pop(name)) for name in finals))
    if contents.agents:
        page.section("Imagination against episodes", *map(_figure, contents.drawn(contents.agents)))
    if contents.pretraining or "pretraining_runs" in tables:
        page.section(
            "Pre-training",
            html.bullet_list(contents.latent_actions) if contents.latent_actions else "",
            *map(_figure, contents.drawn(contents.pretraining)),
            *(_table(tables.pop(name, None)) for name in ("latent_actions", "pretraining_runs")),
        )
    if contents.analyses:
        measured = [name for name in tables if name.startswith("predict") and name.endswith("_overall")]
        page.section(
            "What world models see, predict and separate",
            html.bullet_list(contents.verdicts) if contents.verdicts else "",
            *(_table(tables.pop(name)) for name in measured),
            *map(_figure, contents.drawn(contents.analyses)),
            *_moving(contents.moving),
        )
    page.section("Runs", *(_table(tables.pop(name, None)) for name in ("runs", "left_out", "files_not_used")))
    page.section(
        "Provenance", _table(tables.pop("provenance", None)) or html.paragraph("The runs state no provenance.")
    )
    page.section("How it was computed", *_method(computation), *map(_table, tables.values()))
    return page.render()


def _subtitle(collection: Collection) -> str:
    formats = Counter(run.format for run in collection.runs)
    shown = ", ".join(f"{count} × {name}" for name, count in sorted(formats.items()))
    return f"{len(collection.runs)} scored runs ({shown or 'none'}), {len(collection.pretraining)} pre-training runs"


def _summary(collection: Collection, findings: Sequence[Finding]) -> str:
    counts = Counter(finding.level for finding in findings)
    tasks = {run.task_id for run in collection.runs}
    methods = {run.label for run in collection.runs}
    return html.bullet_list(
        [
            f"{len(methods)} methods on {len(tasks)} tasks, {len(collection.runs)} runs, each of them listed below.",
            f"Refusals: {counts['refusal']}; warnings: {counts['warning']}; notes: {counts['note']}.",
            f"Runs that were read and left out, listed with the reason: {len(collection.left_out)}. "
            f"Files that could not be used: {len(collection.unknown)}.",
        ]
    )


def _figure(drawn: DrawnFigure) -> str:
    files = [Link(kind.upper(), f"figures/{drawn.name}.{kind}") for kind in sorted(drawn.files)]
    return f"<h3>{html.text(drawn.title)}</h3>" + html.figure(drawn.svg, drawn.caption, files)


def _moving(pictures: Sequence[MovingPicture]) -> list[str]:
    """Moving pictures, inside the page as long as they leave it a size that browsers open quickly."""
    parts, left = [], MOVING_BYTES
    for one in pictures:
        inside = len(one.data) <= left
        left -= len(one.data) if inside else 0
        file = Link("GIF", f"figures/{one.name}.gif")
        parts.append(
            f"<h3>{html.text(one.title)}</h3>" + html.moving_picture(one.data if inside else None, one.caption, file)
        )
    return parts


def _commands(commands: MissingCommands) -> str:
    lines = [*commands.pretraining, *commands.finetuning]
    if not lines:
        return ""
    first, second = len(commands.pretraining), len(commands.finetuning)
    said = f"{first} pre-training and {second} fine-tuning commands make the missing runs"
    shown = "\n".join(html.text(line) for line in lines[:COMMANDS_SHOWN])
    more = f"\n… and {len(lines) - COMMANDS_SHOWN} more" if len(lines) > COMMANDS_SHOWN else ""
    return f"<details><summary>{html.text(said)}</summary><pre>{shown}{more}</pre></details>"


def _method(computation: Computation) -> list[str]:
    config = computation.config
    grid = config.grid
    return [
        html.bullet_list(
            [
                "Statistics are those of rliable (Agarwal et al., 2021): IQM, median, mean, optimality gap, "
                "performance profiles, probability of improvement.",
                f"Intervals: {100 * config.confidence:g} % percentile bootstrap, stratified: one draw takes whole runs "
                f"with replacement within each task, all steps together. {computation.curve_resamples:,} draws for "
                f"curves and profiles, {computation.table_resamples:,} for tables; seed {computation.seed}.",
                f"Final scores: read at {END_RULES[config.final_at]}. A run that ends before "
                f"{config.grid.min_length:g} of the median end of its method's runs of the task is left out.",
                "Scores of different scales are never pooled: tasks or runs on another scale than most are left out.",
                "Every task weighs the same, whatever its number of runs. Fewer than 4 runs: the mean is shown and "
                "named so, since trimming a quarter of them cuts nothing.",
                f"Alignment: {grid.points} of the runs' evaluations, at most {grid.max_points} points, "
                f"{FILL_WORDS[grid.fill]}, over the range that all runs of a line cover. What this left out is listed.",
                "The x-axis counts simulator control steps (agent steps times action repeat).",
                f"Made by ipv-bench {__version__}. The same command on the same files gives the same bytes.",
            ]
        )
    ]
