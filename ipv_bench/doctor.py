"""Checks of the machine: each line is ok, missing or wrong, with the exact command that fixes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from ipv_bench import doctor_machine as machine
from ipv_bench import doctor_packages as packages
from ipv_bench.doctor_check import Check
from ipv_bench.doctor_plugins import plugins


def examine(folder: str | Path = ".") -> list[Check]:
    """All checks, in the order of the report.

    Args:
        folder: where shards and runs would be written; its disk is looked at.
    """
    groups: list[Callable[[], Iterator[Check]]] = [
        packages.python,
        packages.base,
        packages.extras,
        packages.clashes,
        plugins,
        machine.codecs,
        machine.rendering,
        machine.accelerator,
        machine.processor,
        machine.compiler,
        lambda: machine.disk(Path(folder)),
    ]
    return [check for group in groups for check in group()]


def as_json(checks: list[Check]) -> str:
    """The report as one JSON object: {ok, checks: [...]}."""
    return json.dumps({"ok": not any(c.is_defect for c in checks), "checks": [asdict(c) for c in checks]}, indent=2)
