"""The `export` command."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from ipv_bench.cli import common_options


@click.command()
@click.argument("source", metavar="SOURCE")  # text: a Path would cut s3:// to s3:/
@click.option("--to", "target", type=click.Choice(["hf", "lerobot"]), required=True, help="Whose layout.")
@click.option("--out", type=click.Path(path_type=Path), help="New folder [export/<to>/<name of SOURCE>].")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a config field.")
@common_options
def export(source: str, target: Literal["hf", "lerobot"], out: Path | None, overrides: tuple[str, ...]) -> None:
    """Write SOURCE, a shard set or a run, for other people's tools.

    hf: a folder for the Hugging Face hub, with its card. lerobot: a LeRobot v3 data set of a shard set, or of the
    replay of a fine-tuning run.
    """
    if "://" in source:
        from ipv_bench.extras import require

        require(source, "s3")

    from ipv_bench.exports.export import export as run_export

    run_export(source, target, out, overrides)
