"""All figures and tables of a report, computed from runs that were read and checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ipv_bench.errors import UnknownNameError
from ipv_bench.joined_sets import told_sets
from reports.computation import Computation
from reports.figures.agents import value_gap_figure
from reports.figures.curve_figures import Sheet, aggregate_sheet, sources_of, style_indices, task_sheets
from reports.figures.drawing import Drawing
from reports.figures.drawn import DrawnFigure, PlannedFigure
from reports.figures.paper_figures import Material, Wanted
from reports.figures.predictions import prediction_figures
from reports.figures.pretraining import loss_figure, prediction_figure
from reports.figures.selection import MissingRun
from reports.figures.separation import analysis_figures
from reports.figures.wanted import PlannedWanted, plan_wanted
from reports.frozen.checked_run import CheckedRuns
from reports.frozen.figure import figure_of, plain_name
from reports.frozen.result import deviation_table, entries, result_table
from reports.grouping import Grouping
from reports.page.aggregate_figures import bars_figure, profile_figure
from reports.readers.analyses import NOT_DRAWABLE, Analyses, not_drawable
from reports.readers.moving_pictures import MovingPicture, moving_pictures
from reports.scores.align import Dropped
from reports.scores.ends import FinalScore, unequal_ends
from reports.scores.findings import Finding, warning
from reports.scores.normalise import normalise
from reports.scores.score_table import Collection, ScoredRun
from reports.suite_scores import Ends, Pooled, SuiteScores, pooled, suite_scores
from reports.tables.comparison_tables import Comparison
from reports.tables.latent_action_table import latent_action_table, latent_action_verdicts
from reports.tables.prediction_table import prediction_table
from reports.tables.provenance import provenance_table
from reports.tables.result_tables import (
    dropped_table,
    left_out_entirely,
    pretraining_table,
    run_table,
    unknown_table,
)
from reports.tables.tables import Table


@dataclass
class Contents:
    """What a report shows.

    Attributes:
        drawing: draws the figures below from when they are added.
        described: figures that were asked for by name.
        curves: learning curves of each task.
        aggregates: aggregate curves, intervals and profiles.
        pretraining: world-model losses and prediction errors.
        analyses: what world models see, predict and separate.
        moving: predictions as moving pictures.
        verdicts: sentences of analyses.
        latent_actions: sentences of pre-training runs that have latent actions.
        agents: what agents expected beside what their episodes brought.
        tables: name → table.
        findings: what was found while computing.
        missing: runs that described figures lack.
        lines: figure → its lines, each with the folders or files of its runs.
    """

    drawing: Drawing
    described: list[PlannedFigure] = field(default_factory=list)
    curves: list[PlannedFigure] = field(default_factory=list)
    aggregates: list[PlannedFigure] = field(default_factory=list)
    pretraining: list[PlannedFigure] = field(default_factory=list)
    analyses: list[PlannedFigure] = field(default_factory=list)
    moving: list[MovingPicture] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)
    latent_actions: list[str] = field(default_factory=list)
    agents: list[PlannedFigure] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    missing: list[MissingRun] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    lines: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @cached_property
    def figures(self) -> list[DrawnFigure]:
        """All figures, drawn, in the order of the page; none may be added any more."""
        groups = (self.described, self.aggregates, self.curves, self.pretraining, self.analyses, self.agents)
        return self.drawing.finish([plan for group in groups for plan in group])

    def drawn(self, planned: Sequence[PlannedFigure]) -> list[DrawnFigure]:
        """The drawings of some of the figures."""
        names = {plan.name for plan in planned}
        return [figure for figure in self.figures if figure.name in names]

    def add_figure(self, plan: PlannedFigure, to: list[PlannedFigure]) -> None:
        """Plan a figure."""
        to.append(plan)
        self.drawing.add(plan)

    def add_table(self, table: Table | None) -> None:
        """Keep a table that has rows."""
        if table is not None and table.rows:
            self.tables[table.name] = table

    def add_sheet(self, sheet: Sheet, to: list[PlannedFigure]) -> None:
        """Plan a figure; keep what its alignment dropped, and what could not be drawn."""
        self.add_figure(sheet.planned, to)
        for curves in sheet.curves:
            self.dropped += curves.dropped
            self.findings += [warning("not_drawn", f"{sheet.planned.title}: {problem}") for problem in curves.problems]


def compute(
    collection: Collection,
    wanted: Wanted,
    computation: Computation,
    drawing: Drawing,
    out: Path,
    analyses: Analyses,
    frozen: Sequence[CheckedRuns] = (),
) -> Contents:
    """Compute everything, while it is drawn.

    Args:
        collection: what was read, cleaned by the checks.
        wanted: figures asked for by name; without any, every suite gets its curves and aggregates.
        computation: how numbers are computed.
        drawing: draws the figures.
        out: the report's folder, for links.
        analyses: for figures that are not made from runs.
        frozen: runs held to frozen protocols, each of which gets a figure and its tables.
    """
    contents = Contents(drawing)
    comparison = Comparison(computation)
    config = computation.config
    normalised = normalise(collection.runs, config.normalise)
    contents.findings += normalised.findings
    contents.dropped += [left_out_entirely(one) for one in collection.left_out]
    _add_wanted(contents, plan_wanted(wanted, normalised.runs, Material(analyses, collection, computation)))
    for checked in frozen:
        _add_frozen(contents, checked, collection, computation)
    grouping = Grouping(collection.runs)
    if config.baseline and config.baseline not in grouping.labels:
        raise UnknownNameError("method in baseline:", config.baseline, grouping.labels)
    styles = style_indices(grouping.labels)
    suites: dict[str, SuiteScores] = {}
    shown: dict[str, tuple[str, ...]] = {}
    finals: dict[int, FinalScore] = {}
    for suite in sorted({run.suite for run in collection.runs if run.num_points}):
        raw = [run for run in collection.runs if run.suite == suite and run.num_points]
        groups = grouping.groups(raw)
        ends = Ends(groups, config)
        tasks = list(ends.tasks)
        contents.findings += unequal_ends(suite, list(ends.tasks.values()))
        finals |= {
            id(one.run): one
            for task in tasks
            for label, runs in groups.items()
            for one in ends.scores(runs, task, label)
        }
        scaled = grouping.groups([run for run in normalised.poolable if run.suite == suite and run.num_points])
        scores = _suite_scores(contents, suite, pooled(scaled, tasks, config.min_tasks), ends, computation)
        if scores is not None:
            suites[suite] = scores
            used = [run for label in scores.final for run in scaled[label] if run.task_id in scores.tasks]
            shown[suite] = sources_of(used)
        if not wanted and not frozen:
            for sheet in task_sheets(suite, groups, tasks, random_levels(raw), styles, computation):
                contents.add_sheet(sheet, contents.curves)
            if scores is not None and len(tasks) > 1:
                chosen = {label: scaled[label] for label in scores.final}
                sheet = aggregate_sheet(suite, chosen, scores, normalised.scales[suite], styles, computation)
                contents.add_sheet(sheet, contents.aggregates)
        contents.add_table(comparison.final_scores(suite, groups, ends))
    _add_aggregates(contents, suites, shown, normalised.scales, styles, comparison)
    contents.findings += comparison.findings()
    _add_pretraining(contents, collection, computation)
    if not wanted:
        for figure in analysis_figures(analyses, computation):
            contents.add_figure(figure, contents.analyses)
        _add_predictions(contents, analyses, computation)
    contents.findings += analyses.findings
    gaps, unread = value_gap_figure(collection.runs, computation.width, grouping)
    contents.findings += unread
    if gaps is not None:
        contents.add_figure(gaps, contents.agents)
    _add_lists(contents, collection, finals, out)
    return contents


def _add_wanted(contents: Contents, planned: PlannedWanted) -> None:
    """Keep figures that were asked for, and what they lack."""
    for figure in planned.pictures:
        contents.add_figure(figure, contents.described)
    for sheet in planned.sheets:
        contents.add_sheet(sheet, contents.described)
    contents.findings += planned.findings
    contents.missing += planned.missing
    contents.lines |= planned.lines


def _add_frozen(contents: Contents, checked: CheckedRuns, collection: Collection, computation: Computation) -> None:
    """A protocol's figure and tables, and a warning where runs deviate from it."""
    name = plain_name(checked.name)
    figure = figure_of(checked)
    if figure is not None:
        following = replace(collection, runs=tuple(one.run for one in checked.following))
        runs = normalise(following.runs, computation.config.normalise).runs
        asked = Wanted({name: figure}, {}, {}, frozenset())
        planned = plan_wanted(asked, runs, Material(Analyses(()), following, computation))
        planned.missing.clear()  # a sweep of the protocol makes them: an entry's name does not give its command
        more = f"`ipv-bench sweep protocol:{checked.name}` makes them"
        planned.findings = [replace(one, fix=more) if one.code == "missing_runs" else one for one in planned.findings]
        _add_wanted(contents, planned)
    else:
        contents.findings.append(warning("no_protocol_run", f"no run follows protocol {checked.name}"))
    contents.add_table(result_table(checked, entries(checked), name))
    contents.add_table(deviation_table(checked, f"{name}_deviations"))
    if checked.deviating:
        fields = Counter(deviation.field for one in checked.deviating for deviation in one.deviations)
        shown = ", ".join(f"{field} ({number})" for field, number in fields.most_common(5))
        contents.findings.append(
            warning(
                "protocol_deviations",
                f"{len(checked.deviating)} runs deviate from protocol {checked.name} and are not among its results: "
                f"{shown}",
                f"the table {name}_deviations lists each field",
                [one.run.name for one in checked.deviating],
            )
        )


def _suite_scores(
    contents: Contents, suite: str, chosen: Pooled, ends: Ends, computation: Computation
) -> SuiteScores | None:
    """Numbers of the tasks that every method was run on; None, with a warning, when there are none."""
    name = suite or "runs without a suite"
    if chosen.left_out:
        shown = ", ".join(f"{label} ({number} of {len(chosen.every)})" for label, number in chosen.left_out.items())
        contents.findings.append(
            warning(
                "methods_left_out",
                f"{name}: methods that were run on few of its tasks are not in the aggregates, which would shrink to "
                f"these tasks: {shown}",
                "run them on more tasks, or set min_tasks in the report's config",
                chosen.left_out,
            )
        )
    if chosen.tasks and len(chosen.tasks) < len(chosen.every):
        contents.findings.append(
            warning(
                "tasks_left_out",
                f"{name}: aggregates are over {len(chosen.tasks)} of {len(chosen.every)} tasks, those of which every "
                "method has scores on one scale",
                "run the missing tasks, or choose runs with `where` in the report's config",
                sorted(set(chosen.every) - set(chosen.tasks)),
            )
        )
    scores, dropped = suite_scores(chosen, ends, computation.config)
    contents.dropped += dropped
    lost = [one for one in dropped if not one.points]
    if lost:
        shown = "; ".join(f"{one.run}: {one.reason}" for one in lost[:3])
        contents.findings.append(
            warning(
                "tasks_not_read",
                f"{name}: {len(lost)} times a task gave no number: {shown}",
                "",
                [one.run for one in lost],
            )
        )
    if scores is None:
        text = f"{name}: no task has final scores of every method, so there is no aggregate"
        contents.findings.append(warning("no_aggregate", text, "choose runs with `where` in the report's config"))
    return scores


def _add_aggregates(
    contents: Contents,
    suites: Mapping[str, SuiteScores],
    shown: Mapping[str, tuple[str, ...]],
    scales: Mapping[str, str],
    styles: Mapping[str, int],
    comparison: Comparison,
) -> None:
    """Tables that compare methods, and per suite interval bars and performance profiles of the runs in `shown`."""
    table = comparison.aggregates(suites, scales)
    contents.add_table(table)
    contents.add_table(comparison.ranking(suites))
    contents.add_table(comparison.differences(suites))
    contents.add_table(comparison.improvement(suites))
    contents.add_table(comparison.sample_efficiency(suites, scales))
    for suite, scores in suites.items():
        if table is None:
            continue
        bars = bars_figure(suite, scores, scales[suite], styles, table, comparison.computation)
        contents.add_figure(replace(bars, made_from=shown[suite]), contents.aggregates)
        profile = profile_figure(suite, scores, scales[suite], styles, comparison.computation)
        contents.add_figure(replace(profile, made_from=shown[suite]), contents.aggregates)


def _add_pretraining(contents: Contents, collection: Collection, computation: Computation) -> None:
    if collection.pretraining:
        for make in (loss_figure, prediction_figure):
            figure = make(collection.pretraining, computation.width)
            if figure is not None:
                contents.add_figure(figure, contents.pretraining)


def _add_predictions(contents: Contents, analyses: Analyses, computation: Computation) -> None:
    """Figures, tables, verdicts and moving pictures of `analyze predict`; what is not what it writes is said."""
    number = 0
    for analysis in analyses.of("predict"):
        name = f"predict_{number + 1}" if number else "predict"
        where = told_sets(analysis.sets)
        try:
            table = prediction_table(f"{name}_overall", where, analysis)
            figures = prediction_figures(name, where, analysis, computation)
        except NOT_DRAWABLE as error:
            analyses.refuse(analysis, not_drawable(analysis, error))
            continue
        number += 1
        contents.add_table(table)
        contents.verdicts += [f"{where}: {verdict}" for verdict in analysis.record.verdicts]
        for figure in figures:
            contents.add_figure(figure, contents.analyses)
        moving, unread = moving_pictures(name, analysis)
        contents.moving += moving
        contents.findings += unread


def _add_lists(contents: Contents, collection: Collection, finals: Mapping[int, FinalScore], out: Path) -> None:
    contents.add_table(run_table(collection.runs, collection.left_out, finals, out))
    contents.add_table(pretraining_table(collection.pretraining, out))
    contents.add_table(latent_action_table(collection.pretraining, out))
    contents.latent_actions += latent_action_verdicts(collection.pretraining)
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
