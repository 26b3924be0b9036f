"""Commands of stage one: `sample`, `prepare`, `verify`, `inspect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import click

from ipv_bench.cli import common_options
from ipv_bench.extras import require

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("folder", metavar="[DIR]", required=False, type=_PATH)
@click.option("--dataset", default="ssv2", show_default=True, help="Whose layout: ssv2, human36m, ...")
@click.option("--videos", type=int, default=64, show_default=True, help="How many videos.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the contents.")
@common_options
def sample(folder: Path | None, dataset: str, videos: int, seed: int) -> None:
    """Write a tiny release in its genuine on-disk layout (default DIR: data/raw/<dataset>)."""
    from pipelines.samples.sample import write_sample

    write_sample(dataset, folder or Path("data/raw") / dataset, videos, seed)


@click.command()
@click.argument("name", metavar="NAME")
@click.option("--source", type=_PATH, help="Raw release.  [default: data/raw/<name>, else data/raw/<NAME>]")
@click.option("--out", type=_PATH, help="Shard set.  [default: data/shards/<name>]")
@click.option("--profile", default="paper", show_default=True, help="Rules: paper or official-code.")
@click.option("--workers", type=int, help="Decoder processes.  [default: one per core]")
@click.option(
    "--executor",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where: this machine's cores, or a Ray cluster (RAY_ADDRESS).",
)
@click.option("--limit", type=int, help="Take the first N source items only.")
@click.option("--dry-run", is_flag=True, help="Count, and estimate bytes and time from a timed sample.")
@click.option(
    "--retry-failed", is_flag=False, flag_value="all", metavar="[REASON]", help="Try quarantined items again."
)
@click.option("--strict", is_flag=True, help="Exit with status 4 when an item is quarantined.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a config field.")
@common_options
def prepare(
    name: str,
    source: Path | None,
    out: Path | None,
    profile: str,
    workers: int | None,
    executor: str,
    limit: int | None,
    dry_run: bool,
    retry_failed: str | None,
    strict: bool,
    overrides: tuple[str, ...],
) -> None:
    """Make the raw release NAME a shard set.

    NAME: ssv2, human36m, youtube-driving, ego4d, rlbench, folder, episodes, lerobot, or a plug-in. Runs and figures
    call the set so too, unless `--set name=OTHER` says otherwise.
    """
    if executor == "ray":
        require("`ipv-bench prepare --executor ray`", "ray")
    if "decoder=decord" in overrides:  # asked for again once all of the config is known; here it costs no import
        require("decoder=decord", "decord")

    from ipv_bench.set_name import default_places
    from pipelines.prepare import Job
    from pipelines.prepare import prepare as run_prepare

    usual_source, usual_out = default_places(name, overrides)
    job = Job(
        name,
        source or usual_source,
        out or usual_out,
        profile,
        workers,
        "ray" if executor == "ray" else "local",
        limit,
        retry_failed,
        strict,
        overrides,
    )
    if dry_run:
        from pipelines.dry_run import dry_run as run_dry

        run_dry(job)
    else:
        run_prepare(job)


@click.command()
@click.argument("folder", metavar="SHARDS")  # text: a Path would cut s3:// to s3:/
@click.option(
    "--decode", metavar="all|N", help="Decode all samples, or N of them.  [default: 0; all source items with --source]"
)
@click.option("--source", type=_PATH, metavar="DIR", help="Compare with the raw release: decode it again.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@common_options
def verify(folder: str, decode: str | None, source: Path | None, as_json: bool) -> None:
    """Check a shard set: every byte, the index, what plain webdataset reads; says how to repair."""
    _require_store(folder)

    from ipv_bench.errors import FindingsError, UsageError
    from ipv_bench.progress import say
    from pipelines.shards.verify import verify as run_verify

    if decode is not None and decode != "all" and not (decode.isdecimal() and len(decode) < 19):
        raise UsageError(
            f"--decode {decode!r}",
            expected="all, or a number of samples",
            fix="`--decode all`, `--decode 100`, or leave it out: bytes and tables are checked all the same",
        )
    how_many: Literal["all"] | int = "all" if decode == "all" else int(decode or 0)
    result = run_verify(folder, how_many)
    if source is not None:
        from pipelines.verify_source import verify_source

        verify_source(Path(folder), source, "all" if decode is None else how_many, result)
    if as_json:
        click.echo(json.dumps(result.as_json(), indent=2, sort_keys=True))
    else:
        for line in result.lines():
            say(line)
    if result.findings:
        raise FindingsError(
            f"{folder} has {len(result.findings)} defects",
            expected="every file as `prepare` wrote it",
            fix="what stands above says of each how it is repaired; then verify again",
        )


@click.command()
@click.argument("folder", metavar="SHARDS")  # text: a Path would cut s3:// to s3:/
@click.option("--contact-sheet", type=_PATH, metavar="FILE", help="Write a picture of frames from the set (PNG).")
@click.option("--json", "as_json", is_flag=True, help="Print the statistics as JSON.")
@common_options
def inspect(folder: str, contact_sheet: Path | None, as_json: bool) -> None:
    """Statistics of a shard set: counts, lengths, labels, bytes; a contact sheet on request."""
    _require_store(folder)

    from ipv_bench.progress import say
    from pipelines.shards.inspect_set import inspect as run_inspect

    result = run_inspect(folder, contact_sheet)
    if as_json:
        click.echo(json.dumps(result.as_json(), indent=2, sort_keys=True))
    else:
        for line in result.lines():
            say(line)


def _require_store(place: str) -> None:
    if "://" in place:
        require(place, "s3")
