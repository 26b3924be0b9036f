"""The `doctor` command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ipv_bench.cli import common_options
from ipv_bench.errors import FindingsError

if TYPE_CHECKING:
    from ipv_bench.doctor_check import Check


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
@common_options
def doctor(as_json: bool) -> None:
    """Check this machine: packages, codecs, GPU, offscreen rendering, disk; each defect with its fix."""
    from ipv_bench import doctor as room

    checks = room.examine()
    if as_json:
        click.echo(room.as_json(checks))
    else:
        _print_table(checks)
    defects = [check.name for check in checks if check.is_defect]
    if defects:
        raise FindingsError(
            f"{len(defects)} of {len(checks)} checks failed: {', '.join(defects)}",
            expected="none",
            fix="follow the fix that stands beside each of them above, then run `ipv-bench doctor` again",
        )


def _print_table(checks: list[Check]) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    colours = {"ok": "green", "missing": "yellow", "wrong": "red"}
    for check in checks:
        state = f"[{colours[check.state]}]{check.state:<8}[/]"
        note = " (optional)" if check.optional and check.state != "ok" else ""
        console.print(f"{state}{escape(f'{check.name:<38} {check.found}{note}')}", soft_wrap=True)
        if check.fix:
            console.print("        → " + check.fix, soft_wrap=True, markup=False)
