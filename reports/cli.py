"""The command of this room: `report`."""

from __future__ import annotations

from pathlib import Path

import click

from ipv_bench.cli import common_options


@click.command()
@click.argument("sources", metavar="RUNS_OR_FILES...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("report"), show_default=True, help="Folder of the report."
)
@click.option(
    "--figures", multiple=True, metavar="NAMES", help="Figures: paper, fig5a, fig9 (9a to 9d), own, protocol:NAME."
)
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML: alignment, statistics, figures.")
@click.option("--strict", is_flag=True, help="Exit with status 4 when there is a warning or a refusal.")
@click.option("--allow-mixed", is_flag=True, help="Pool runs of different environments, labelled as such.")
@click.option(
    "--missing-commands",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write one command per run that the figures lack.",
)
@click.option("--resamples", type=click.IntRange(min=1), help="Bootstrap draws [2000 for curves, 50000 for tables].")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the resampling.")
@common_options
def report(
    sources: tuple[Path, ...],
    out: Path,
    figures: tuple[str, ...],
    config_file: Path | None,
    strict: bool,
    allow_mixed: bool,
    missing_commands: Path | None,
    resamples: int | None,
    seed: int,
) -> None:
    """Statistics, figures, tables and one HTML page from run folders or score files."""
    from reports.report import make_report

    make_report(
        sources,
        out,
        figures=figures,
        config_file=config_file,
        strict=strict,
        allow_mixed=allow_mixed,
        missing_commands=missing_commands,
        resamples=resamples,
        seed=seed,
    )
