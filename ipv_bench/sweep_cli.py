"""The `sweep` command."""

from __future__ import annotations

from pathlib import Path

import click

from ipv_bench.cli import common_options


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[status] FILE")
@click.option(
    "--on", type=click.Choice(["local", "slurm", "ray"]), default="local", show_default=True, help="Where jobs run."
)
@click.option("--jobs", type=click.IntRange(min=1), help="Jobs at a time [here one per core, else as many as fit].")
@click.option("--dry-run", is_flag=True, help="Print the jobs, their order and estimated hours; run nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan or the status as JSON.")
@common_options
def sweep(words: tuple[str, ...], on: str, jobs: int | None, dry_run: bool, as_json: bool) -> None:
    """Make the runs that FILE asks for: methods, tasks, data sets, seeds, or the runs that figures need.

    `sweep status FILE` says where each job stands. Run it again to go on: what is finished is left out.
    `protocol:v1/cpu-night` instead of FILE runs a frozen protocol with every method.
    """
    from ipv_bench.errors import UsageError
    from ipv_bench.extras import require
    from ipv_bench.sweeps import sweep as room

    *first, file = words
    if first not in ([], ["status"]):
        raise UsageError(
            f"sweep {' '.join(words)}",
            expected="`sweep FILE` or `sweep status FILE`",
            fix="name one file; several sweeps are as many commands",
        )
    if on in ("slurm", "ray"):
        require(f"`ipv-bench sweep --on {on}`", on)
    if first:
        room.status(Path(file), as_json)
    else:
        room.sweep(Path(file), on, jobs or 0, dry_run, as_json)
