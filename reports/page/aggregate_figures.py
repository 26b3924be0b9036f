"""The figures of a suite's final scores: interval bars of the statistics, and performance profiles."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from reports.computation import Computation
from reports.figures.bars import BarPlot, IntervalBar
from reports.figures.drawn import PlannedFigure
from reports.figures.panels import Curve, PanelPlot
from reports.figures.profiles import profile_panel, profile_thresholds
from reports.suite_scores import SuiteScores
from reports.tables.comparison_tables import STATISTIC_NAMES, k_of_n, steps_text
from reports.tables.tables import Estimate, Table
from reports.text import file_name


def bars_figure(
    suite: str,
    scores: SuiteScores,
    scale: str,
    styles: Mapping[str, int],
    table: Table,
    computation: Computation,
) -> PlannedFigure:
    """Per statistic a bar for each method: point and interval, as `table` has them."""
    groups = []
    rows = [row for row in table.rows if row[0] == (suite or "–")]
    for title in STATISTIC_NAMES.values():
        cells = {str(row[1]): row[list(table.columns).index(title)] for row in rows}
        bars = [
            IntervalBar(label, cell.point, cell.low, cell.high, styles[label], _count(scores.final[label]))
            for label, cell in cells.items()
            if isinstance(cell, Estimate)
        ]
        if bars:
            groups.append((title, bars))
    tasks = k_of_n(scores)
    caption = f"Final scores ({scale}) over {tasks} tasks. Tick: estimate; bar: interval. {table.note}"
    title = f"{suite or 'tasks'}: aggregates of final scores"
    note = f"Final scores ({scale}). {_note(scores, computation, 'bar')}"
    plot = BarPlot(groups, computation.width, note if computation.config.figure_notes else "")
    return PlannedFigure(file_name(f"intervals_{suite or 'tasks'}"), title, caption, plot)


def profile_figure(
    suite: str, scores: SuiteScores, scale: str, styles: Mapping[str, int], computation: Computation
) -> PlannedFigure:
    """Per method the share of runs and tasks above each score, with a band."""
    thresholds = profile_thresholds(scores.final.values())
    lines = []
    for label, final in scores.final.items():
        found = computation.profile(final, thresholds, f"profile:{suite}:{label}")
        none = np.full(len(thresholds), np.nan)
        low, high = (none, none) if found.num_runs[1] == 1 else (found.low, found.high)
        number = _count(final)
        lines.append(Curve(label, thresholds, found.point, low, high, styles[label], number, stairs=True))
    caption = (
        f"Share of runs and tasks whose final score ({scale}) is above the threshold, over {k_of_n(scores)} tasks; "
        f"thresholds at the scores themselves; band: {100 * computation.config.confidence:g} % stratified bootstrap "
        f"interval ({computation.curve_resamples:,} resamples)."
    )
    note = _note(scores, computation, "band") if computation.config.figure_notes else ""
    plot = PanelPlot([profile_panel(lines, scale)], 1, computation.width, note)
    title = f"{suite or 'tasks'}: performance profile"
    return PlannedFigure(file_name(f"profile_{suite or 'tasks'}"), title, caption, plot)


def _note(scores: SuiteScores, computation: Computation, shape: str) -> str:
    """What stands in a figure of final scores itself."""
    counts = sorted({_count(final) for final in scores.final.values()})
    number = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    steps = [end for label in scores.final for end in scores.read_at(label)]
    each = [int(one) for final in scores.final.values() for one in np.isfinite(final).sum(axis=0)]
    per_task = str(min(each)) if min(each) == max(each) else f"{min(each)} to {max(each)}"
    interval = f"{100 * computation.config.confidence:g} % stratified bootstrap interval"
    band = f"n = 1, so no {shape}" if max(each) == 1 else f"{shape}: {interval}"
    return (
        f"{number} runs a method (n = {per_task} per task, {k_of_n(scores)} tasks), read at "
        f"{steps_text(min(steps), max(steps))} env steps; {band}."
    )


def _count(final: np.ndarray) -> int:
    return int(np.isfinite(final).sum())
