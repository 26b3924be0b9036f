"""Agents: what they expected beside what their episodes brought, and their model's error on the newest episodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ipv_bench.errors import InputError
from ipv_bench.run_record import METRICS_FILE
from reports.figures.curve_figures import style_indices
from reports.figures.drawn import PlannedFigure
from reports.figures.panels import Curve, Panel, PanelPlot
from reports.grouping import Grouping
from reports.readers.jsonl_blocks import as_number, read_lines
from reports.readers.run_format1 import RunFormat1
from reports.scores.findings import Finding, warning
from reports.scores.score_table import ScoredRun

MEASURES = (("value_gap", "value gap"), ("episode_image_loss", "image loss of the newest episode"))
"""Logged name → axis title, one panel of each task."""

MAX_POINTS = 60
"""Points of a line; longer logs are averaged in blocks. Single episodes scatter too much to be read."""


def value_gap_figure(
    runs: Sequence[ScoredRun], width: float, grouping: Grouping
) -> tuple[PlannedFigure | None, list[Finding]]:
    """Value gap and model error over env steps, one line per run, by task; None when nothing was logged.

    `width` in points; names and colours are those of `grouping`, as in the report's other figures. A log that is
    damaged gives a finding and no line: the run's scores stand in another file.
    """
    logs: list[tuple[ScoredRun, list[Mapping[str, Any]]]] = []
    findings: list[Finding] = []
    for run in runs:
        try:
            logs.append((run, list(_examined(run)) if run.format == RunFormat1.name else []))
        except (InputError, OSError) as error:
            found = error.found if isinstance(error, InputError) else f"{run.source}/{METRICS_FILE}: {error.strerror}"
            text = f"{found}; its scores are used, its training log is not"
            findings.append(warning("unreadable_log", text, "restore the file from a backup", [run.name]))
    styles = style_indices(grouping.labels)
    panels = []
    for task in sorted({run.task_id for run, lines in logs if lines}):
        for name, title in MEASURES:
            curves = []
            for run, lines in logs:
                values = _values(lines, name)
                if run.task_id == task and values is not None:
                    label = grouping.label(run)
                    curves.append(_curve(label, *values, styles[label]))
            if curves:
                panels.append(Panel(f"{task}: {title}", curves, y_label=title, x_label="env steps"))
    if not panels:
        return None, findings
    caption = (
        "What agents expected of their own training episodes. Value gap: the return that the imagination promises from "
        "an episode's states, less the return that the episode brought from there, over the latter's size: 1 is twice "
        "as much as came. Image loss: of the model on the episode just played; where it rises while the losses on the "
        "replay fall, the policy has come to states that the model does not know. One line per run, episodes averaged "
        f"in {MAX_POINTS} blocks at most, no interval."
    )
    shown = tuple(run.source for run, lines in logs if lines)
    plot = PanelPlot(panels, 2, width)
    return PlannedFigure("value_gap", "Imagination against episodes", caption, plot, shown), findings


def _examined(run: ScoredRun) -> Iterator[Mapping[str, Any]]:
    log = Path(run.source) / METRICS_FILE
    if log.is_file():
        yield from (line for line in read_lines(log) if "value_gap" in line)


def _values(lines: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Env steps and values of one measure, finite ones, in blocks."""
    pairs = [(as_number(line.get("env_steps")), as_number(line.get(name))) for line in lines]
    kept = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    kept = kept[np.isfinite(kept).all(axis=1)]
    if not len(kept):
        return None
    edges = np.linspace(0, len(kept), min(MAX_POINTS, len(kept)) + 1).astype(int)[:-1]
    blocks = np.add.reduceat(kept, edges, axis=0) / np.diff(np.append(edges, len(kept)))[:, None]
    return blocks[:, 0], blocks[:, 1]


def _curve(label: str, steps: np.ndarray, values: np.ndarray, style_index: int) -> Curve:
    return Curve(label, steps, values, values, values, style_index, 1)
