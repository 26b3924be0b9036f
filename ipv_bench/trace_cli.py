"""The `trace` command."""

from __future__ import annotations

import click

from ipv_bench.cli import common_options


@click.command()
@click.argument("file", metavar="FIGURE_OR_RUN")
@click.option("--json", "as_json", is_flag=True, help="Print the chain as JSON, with whole hashes.")
@common_options
def trace(file: str, as_json: bool) -> None:
    """From a figure back to the videos: figure, runs, checkpoints, shard sets, shards, source files.

    FIGURE_OR_RUN: a figure's file or name, or a report, run, checkpoint, analysis or shard set. Every hash on the way
    is compared with the files that are here; what is not here is said, and what differs is an error (status 4).
    """
    from ipv_bench.errors import FindingsError
    from ipv_bench.progress import say
    from ipv_bench.tracing.link import broken_links
    from ipv_bench.tracing.show import as_json as to_json
    from ipv_bench.tracing.show import tree
    from ipv_bench.tracing.start import trace as room

    top = room(file)
    if as_json:
        click.echo(to_json(top))
    else:
        for line in tree(top):
            say(line)
    broken = [f"{link.kind} {link.name}" for link in broken_links(top)]
    if broken:
        raise FindingsError(
            f"the chain is broken at {', '.join(broken[:5])}" + (f" and {len(broken) - 5} more" if broken[5:] else ""),
            expected="every file as recorded",
            fix="each broken link says what was found and what to do",
        )
