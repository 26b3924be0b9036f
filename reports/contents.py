"""All figures and tables of a report, computed from runs that were read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ipv_bench.errors import InputError
from reports.align import Dropped
from reports.analysis import Computation, Grouping, common_tasks, final_aggregate
from reports.config import FigureConfig
from reports.figures.bars import IntervalBar, draw_interval_bars
from reports.figures.curve_figures import (
    Sheet,
    aggregate_sheet,
    described_sheet,
    file_name,
    style_indices,
    task_sheets,
)
from reports.figures.drawn import DrawnFigure, finish
from reports.figures.panels import Curve
from reports.figures.pretraining import loss_figure, prediction_figure
from reports.figures.profiles import draw_profiles
from reports.figures.selection import MissingRun, select_panels
from reports.findings import Finding, warning
from reports.provenance import provenance_table
from reports.result_tables import (
    STATISTIC_NAMES,
    aggregate_table,
    dropped_table,
    final_score_table,
    pretraining_table,
    run_table,
    unknown_table,
)
from reports.score_table import Collection, ScoredRun
from reports.statistics import STATISTICS
from reports.tables import Estimate, Table

PROFILE_POINTS = 101


@dataclass
class Contents:
    """What a report shows.

    Attributes:
        described: figures that were asked for by name.
        curves: learning curves of each task.
        aggregates: aggregate curves, intervals and profiles.
        pretraining: world-model losses and prediction errors.
        tables: name → table.
        findings: what was found while computing.
        missing: runs that described figures lack.
    """

    described: list[DrawnFigure] = field(default_factory=list)
    curves: list[DrawnFigure] = field(default_factory=list)
    aggregates: list[DrawnFigure] = field(default_factory=list)
    pretraining: list[DrawnFigure] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    missing: list[MissingRun] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)

    @property
    def figures(self) -> list[DrawnFigure]:
        """All figures, in the order of the page."""
        return [*self.described, *self.aggregates, *self.curves, *self.pretraining]

    def add_table(self, table: Table | None) -> None:
        """Keep a table that has rows."""
        if table is not None and table.rows:
            self.tables[table.name] = table

    def add_sheet(self, sheet: Sheet, to: list[DrawnFigure]) -> None:
        """Keep a figure, what its alignment dropped, and what could not be drawn."""
        to.append(sheet.drawn)
        for curves in sheet.curves:
            self.dropped += curves.dropped
            self.findings += [warning("not_drawn", f"{sheet.drawn.title}: {problem}") for problem in curves.problems]


def compute(
    collection: Collection, described: Mapping[str, FigureConfig], computation: Computation, out: Path
) -> Contents:
    """Compute and draw everything.

    Args:
        collection: what was read, cleaned by the checks.
        described: figures asked for by name; without any, every suite gets its curves and aggregates.
        computation: how numbers are computed.
        out: the report's folder, for links.
    """
    contents = Contents()
    runs, scales = normalise(collection.runs, computation.config)
    for name, figure in described.items():
        _add_described(contents, name, figure, runs, computation)
    grouping = Grouping(collection.runs)
    styles = style_indices(grouping.labels)
    matrices: dict[str, dict[str, np.ndarray]] = {}
    for suite in sorted({run.suite for run in collection.runs}):
        raw = [run for run in collection.runs if run.suite == suite]
        scaled = grouping.groups([run for run in runs if run.suite == suite])
        groups = grouping.groups(raw)
        tasks = sorted({run.task_id for run in raw if run.num_points})
        if not tasks:
            continue
        if not described:
            for sheet in task_sheets(suite, groups, tasks, random_levels(raw), styles, computation):
                contents.add_sheet(sheet, contents.curves)
            if len(tasks) > 1:
                sheet = aggregate_sheet(suite, scaled, tasks, scales[suite], styles, computation)
                contents.add_sheet(sheet, contents.aggregates)
        contents.add_table(final_score_table(suite, groups, tasks, computation))
        matrices[suite] = _final_matrix(contents, suite, scaled, computation)
    _add_aggregates(contents, matrices, scales, styles, computation)
    _add_pretraining(contents, collection)
    _add_lists(contents, collection, out)
    return contents


def _add_described(
    contents: Contents, name: str, figure: FigureConfig, runs: Sequence[ScoredRun], computation: Computation
) -> None:
    selections = select_panels(name, figure, runs)
    contents.add_sheet(described_sheet(name, figure, selections, computation), contents.described)
    missing = list({repr(run): run for selection in selections for run in selection.missing}.values())
    contents.missing += missing
    if missing:
        labels = dict.fromkeys(f"{run.label}: {run.suite}/{run.task} seed {run.seed}" for run in missing)
        contents.findings.append(
            warning(
                "missing_runs",
                f"{name} lacks {len(missing)} runs",
                "`--missing-commands FILE` writes the commands that make them",
                labels,
            )
        )


def _final_matrix(
    contents: Contents, suite: str, groups: Mapping[str, Sequence[ScoredRun]], computation: Computation
) -> dict[str, np.ndarray]:
    """Label → (R, M) final normalised scores over the tasks that every method was run on."""
    present = {label: runs for label, runs in groups.items() if any(run.num_points for run in runs)}
    tasks = common_tasks(present)
    if not tasks:
        contents.findings.append(
            warning(
                "no_common_task",
                f"{suite or 'unknown suite'}: no task was run by every method, so there is no aggregate",
                "run each method on the same tasks, or choose runs with `where` in the report's config",
                present,
            )
        )
        return {}
    try:
        return final_aggregate(present, tasks, computation.config.grid, computation.config.final_window)
    except InputError as error:
        contents.findings.append(warning("no_aggregate", f"{suite}: {error.found}", error.fix))
        return {}


def _add_aggregates(
    contents: Contents,
    matrices: Mapping[str, Mapping[str, np.ndarray]],
    scales: Mapping[str, str],
    styles: Mapping[str, int],
    computation: Computation,
) -> None:
    """The table of aggregates, and per suite interval bars and performance profiles."""
    table = aggregate_table(matrices, scales, computation)
    contents.add_table(table)
    for suite, by_label in matrices.items():
        if table is None or not by_label:
            continue
        groups = []
        for statistic in STATISTICS:
            column = list(table.columns).index(STATISTIC_NAMES[statistic])
            cells = {str(row[1]): row[column] for row in table.rows if row[0] == (suite or "–")}
            bars = [
                IntervalBar(label, cell.point, cell.low, cell.high, styles[label])
                for label, cell in cells.items()
                if isinstance(cell, Estimate)
            ]
            groups.append((STATISTIC_NAMES[statistic], bars))
        title = f"{suite or 'tasks'}: aggregates of final scores"
        tasks = next(iter(by_label.values())).shape[1]
        caption = f"Final scores ({scales[suite]}) over {tasks} tasks. Tick: estimate; bar: interval. {table.note}"
        name = file_name(f"intervals_{suite or 'tasks'}")
        contents.aggregates.append(finish(draw_interval_bars(groups), name, title, caption))
        contents.aggregates.append(_profile_figure(suite, by_label, scales[suite], styles, computation))


def _profile_figure(
    suite: str, matrices: Mapping[str, np.ndarray], scale: str, styles: Mapping[str, int], computation: Computation
) -> DrawnFigure:
    every = np.concatenate([scores[np.isfinite(scores)] for scores in matrices.values()])
    thresholds = np.linspace(min(0.0, float(every.min())), float(every.max()), PROFILE_POINTS)
    lines = []
    for label, scores in matrices.items():
        found = computation.profile(scores, thresholds, f"profile:{suite}:{label}")
        lines.append(Curve(label, thresholds, found.point, found.low, found.high, styles[label], scores.shape[0]))
    caption = (
        f"Share of runs and tasks whose final score ({scale}) is above the threshold; band: "
        f"{100 * computation.config.confidence:g} % stratified bootstrap interval "
        f"({computation.curve_resamples:,} resamples)."
    )
    name = file_name(f"profile_{suite or 'tasks'}")
    return finish(draw_profiles(lines, "score"), name, f"{suite or 'tasks'}: performance profile", caption)


def _add_pretraining(contents: Contents, collection: Collection) -> None:
    if collection.pretraining:
        for figure in (loss_figure(collection.pretraining), prediction_figure(collection.pretraining)):
            if figure is not None:
                contents.pretraining.append(figure)


def _add_lists(contents: Contents, collection: Collection, out: Path) -> None:
    contents.add_table(run_table(collection.runs, out))
    contents.add_table(pretraining_table(collection.pretraining, out))
    contents.add_table(provenance_table(collection.runs, collection.pretraining, out))
    contents.add_table(dropped_table(contents.dropped))
    contents.add_table(unknown_table(collection.unknown))


def random_levels(runs: Sequence[ScoredRun]) -> dict[str, float]:
    """Task id → mean score of the uniform random policy over all episodes that the runs recorded of it."""
    scores: dict[str, list[float]] = {}
    for run in runs:
        played = run.record.get("random_policy")
        values = (
            played.get("successes" if run.metric == "success" else "returns") if isinstance(played, Mapping) else None
        )
        if isinstance(values, list):
            scores.setdefault(run.task_id, []).extend(float(one) for one in values if isinstance(one, int | float))
    return {task: float(np.mean(values)) for task, values in scores.items() if values}


def normalise(runs, config):
    return list(runs), {run.suite: run.metric for run in runs}
