"""World models: losses over updates, and how fast an open-loop prediction goes wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ipv_bench.run_record import METRICS_FILE
from reports.figures.drawn import PlannedFigure
from reports.figures.panels import Curve, Panel, PanelPlot
from reports.readers.jsonl_blocks import as_number, read_lines, whole_number
from reports.scores.score_table import PretrainedRun

LOSSES = (("image_loss", "image loss"), ("kl_loss", "KL loss"), ("loss", "loss"))
"""Logged name → title, in the order of the panels."""

MAX_POINTS = 400
"""Points of a loss curve on the page; longer logs are averaged in blocks."""


@dataclass(frozen=True)
class OpenLoop:
    """Prediction error of one pre-training run at its last validation.

    Attributes:
        updates: when it was validated.
        model: (H,) mean squared error of each frame predicted ahead.
        copy: (H,) the same for repeating the last frame that was seen.
    """

    updates: int
    model: np.ndarray
    copy: np.ndarray


def labels_of(runs: Sequence[PretrainedRun]) -> list[str]:
    """Short names without `pretrain/`."""
    return [run.name.removeprefix("pretrain/") for run in runs]


def loss_figure(runs: Sequence[PretrainedRun], width: float) -> PlannedFigure | None:
    """Losses over updates, one line per run; None when nothing was logged. `width` in points."""
    panels = []
    for name, title in LOSSES:
        lines = [
            _line(label, run.updates, run.values[name], index)
            for index, (label, run) in enumerate(zip(labels_of(runs), runs, strict=True))
            if name in run.values and np.isfinite(run.values[name]).any()
        ]
        if lines:
            panels.append(Panel(title=title, curves=lines, y_label="nats", x_label="updates"))
    if not panels:
        return None
    caption = (
        "Losses of the world models on training segments, as logged: each point is a mean over the updates since the "
        f"one before; logs of more than {MAX_POINTS} lines are averaged in blocks. One line per run, no interval."
    )
    plot = PanelPlot(panels, 3, width)
    return PlannedFigure("pretraining_losses", "World-model losses", caption, plot, tuple(run.source for run in runs))


def _line(label: str, updates: np.ndarray, values: np.ndarray, style_index: int) -> Curve:
    finite = np.isfinite(values)
    x, y = updates[finite], values[finite]
    if len(x) > MAX_POINTS:
        edges = np.linspace(0, len(x), MAX_POINTS + 1).astype(int)[:-1]
        sizes = np.diff(np.append(edges, len(x)))
        x, y = np.add.reduceat(x, edges) / sizes, np.add.reduceat(y, edges) / sizes
    return Curve(label, x, y, y, y, style_index, 1)


def open_loop_error(run: PretrainedRun) -> OpenLoop | None:
    """The last validation of a run that holds errors over the horizon; None without one."""
    log = Path(run.source) / METRICS_FILE
    found = None
    if log.is_file():
        for line in read_lines(log):
            model, copy = _horizon(line, MODEL_KEY), _horizon(line, COPY_KEY)
            if model is not None and copy is not None and len(model) == len(copy):
                found = OpenLoop(whole_number(line.get("updates")), model, copy)
    return found


MODEL_KEY, COPY_KEY = "open_loop_mse", "copy_last_mse"


def _horizon(line: Mapping[str, Any], key: str) -> np.ndarray | None:
    values = line.get(key)
    if not isinstance(values, list) or not values:
        return None
    numbers = np.array([as_number(one) for one in values], dtype=np.float64)
    return numbers if np.isfinite(numbers).all() else None


def prediction_figure(runs: Sequence[PretrainedRun], width: float) -> PlannedFigure | None:
    """Open-loop prediction error over the horizon, one panel per run, against copying the last frame."""
    panels, shown = [], []
    for label, run in zip(labels_of(runs), runs, strict=True):
        error = open_loop_error(run)
        if error is None:
            continue
        shown.append(run.source)
        ahead = np.arange(1, len(error.model) + 1, dtype=np.float64)
        lines = [
            Curve("world model, open loop", ahead, error.model, error.model, error.model, 0),
            Curve("copying the last frame", ahead, error.copy, error.copy, error.copy, 1),
        ]
        title = f"{label}, {error.updates} updates"
        panels.append(
            Panel(title, lines, y_label="mean squared error", x_label="frames ahead", y_range=_from_zero(error))
        )
    if not panels:
        return None
    caption = (
        "Mean squared error (images in [0, 1]) of frames predicted without seeing them, on validation segments at each "
        "run's last validation, against repeating the last frame that was seen. No interval."
    )
    plot = PanelPlot(panels, 3, width)
    return PlannedFigure("prediction_error", "Open-loop prediction error", caption, plot, tuple(shown))


def _from_zero(error: OpenLoop) -> tuple[float, float]:
    top = float(max(np.nanmax(error.model), np.nanmax(error.copy)))
    return 0.0, 1.05 * top if top > 0 else 1.0
