"""The figure of a protocol: a panel per task, and the aggregate of each suite, of the runs that follow it."""

from __future__ import annotations

from collections.abc import Sequence

from ipv_bench.frozen_protocol import PREFIX
from reports.config import FigureConfig, MethodLine, PanelConfig
from reports.frozen.checked_run import CheckedRun, CheckedRuns
from reports.frozen.entries import known_entries


def plain_name(name: str) -> str:
    """A protocol's name as names of figures and files are written: `protocol_v1_cpu-night`."""
    return "protocol_" + name.removeprefix(PREFIX).replace("/", "_")


def split_names(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of protocols, without `protocol:`, and the other figures; several may stand in one text."""
    wanted = [part.strip() for name in names for part in name.split(",") if part.strip()]
    protocols = dict.fromkeys(name.removeprefix(PREFIX) for name in wanted if name.startswith(PREFIX))
    return list(protocols), [name for name in wanted if not name.startswith(PREFIX)]


def figure_of(checked: CheckedRuns) -> FigureConfig | None:
    """Its description; None where no run follows the protocol."""
    protocol = checked.protocol
    lines = [_line(name, runs) for name, runs in known_entries(checked.following).items()]
    if not lines:
        return None
    suites: dict[str, list[str]] = {}
    for task in protocol.tasks:
        suites.setdefault(task.partition("/")[0], []).append(task.partition("/")[2])
    panels = [PanelConfig(show="tasks", suite=suite, tasks=tasks) for suite, tasks in suites.items()]
    panels += [PanelConfig(show="aggregate", suite=suite, tasks=tasks) for suite, tasks in suites.items() if tasks[1:]]
    return FigureConfig(
        title=protocol.title,
        caption=f"{protocol.about} Runs that follow the protocol.",
        source=f"protocol {checked.name}, SHA-256 {checked.sha256[:12]}…",
        methods=lines,
        panels=panels,
        seeds=protocol.seeds,
        y_label="normalised score",
        ignore_changes="all",  # the lines are entries, each of one method and what it chose
        preset=protocol.preset,
    )


def _line(name: str, runs: Sequence[CheckedRun]) -> MethodLine:
    run = runs[0].run
    usual = {"pretraining.kind": run.pretraining.get("kind"), "pretraining.data": run.pretraining.get("data") or []}
    variants = sorted({one.run.variant for one in runs})  # several where a suite's presets have not what is fixed
    variant = variants[0] if len(variants) == 1 else {"any": variants}
    return MethodLine(label=name, where={"method": run.method, "variant": variant}, usual=usual)
