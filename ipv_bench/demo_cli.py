"""The `demo` command."""

from __future__ import annotations

from pathlib import Path

import click

from ipv_bench.cli import common_options


@click.command()
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default="demo", show_default=True, help="Its workspace."
)
@common_options
def demo(out: Path) -> None:
    """Everything on sample data: videos, shards, pre-training, agents, figures. Goes on where it was stopped."""
    from ipv_bench.extras import require

    require("`ipv-bench demo`", "train", "dmc")

    from ipv_bench.demo import run_demo

    run_demo(out)
