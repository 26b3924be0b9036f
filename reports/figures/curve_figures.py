"""Learning curves as figures: those of every report, and those that a YAML describes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ipv_bench.planned import Planned
from reports.computation import Computation
from reports.config import FigureConfig
from reports.figures.drawn import PlannedFigure
from reports.figures.panels import Curve, Panel, PanelPlot
from reports.figures.selection import Selection, missing_lines
from reports.group_curves import CurveResult, Curves, curves
from reports.grouping import Groups
from reports.scores.align import FILL_WORDS
from reports.scores.score_table import ScoredRun
from reports.suite_scores import SuiteScores
from reports.text import file_name, short_number

PANELS_PER_SHEET = 30
COLUMNS_OF_SHEET = 5
METRIC_NAMES = {"return": "return", "success": "success rate", "score": "score"}


@dataclass(frozen=True)
class Sheet:
    """A figure with the curves behind it, for the list of what was dropped."""

    planned: PlannedFigure
    curves: tuple[Curves, ...]


def to_line(result: CurveResult, style_index: int) -> Curve:
    """The drawable line of a computed curve."""
    found = result.interval
    one_run = found.num_runs[1] == 1 and not np.any(found.width)
    none = np.full(np.shape(found.point), np.nan)
    return Curve(
        result.label,
        result.aligned.env_steps,
        np.asarray(found.point),
        none if one_run else np.asarray(found.low),
        none if one_run else np.asarray(found.high),
        style_index,
        sum(result.aligned.num_runs),
    )


def style_indices(labels: Sequence[str]) -> dict[str, int]:
    """Label → style, the same in all figures of a report."""
    return {label: index for index, label in enumerate(labels)}


def task_sheets(
    suite: str,
    groups: Groups,
    tasks: Sequence[str],
    levels: Mapping[str, float],
    styles: Mapping[str, int],
    computation: Computation,
) -> list[Sheet]:
    """Learning curves of each task of a suite, at most 30 panels a sheet.

    Args:
        suite: name of the suite; empty when unknown.
        groups: label → runs of the suite, scores as they were logged.
        tasks: task ids in order.
        levels: task id → mean score of the random policy, where it was measured.
        styles: label → style index.
        computation: how.
    """
    sheets = []
    starts = range(0, len(tasks), PANELS_PER_SHEET)
    for number, start in enumerate(starts, start=1):
        chosen = tasks[start : start + PANELS_PER_SHEET]
        results = [
            curves(_of_task(groups, task), [task], computation, computation.config.statistic, f"task:{task}")
            for task in chosen
        ]
        panels = [
            Panel(
                title=task.removeprefix(f"{suite}/").replace("_", " "),
                curves=[to_line(line, styles[line.label]) for line in result.lines],
                y_label=metric_name(_runs(groups, task)),
                missing=result.problems,
                level=("random policy", levels[task]) if task in levels else None,
            )
            for task, result in zip(chosen, results, strict=True)
        ]
        part = f" ({number} of {len(starts)})" if len(starts) > 1 else ""
        name = file_name(f"curves_{suite or 'tasks'}") + (f"_{number}" if len(starts) > 1 else "")
        caption = (
            f"Learning curves per task{part}. {how(computation, results)} Each line ends where the first of its own "
            "runs ends; the table of final scores names the env steps at which it reads each task."
        )
        columns = 3 if len(chosen) <= 9 else COLUMNS_OF_SHEET
        plot = PanelPlot(panels, columns, computation.width, note(computation, results))
        title = f"{suite or 'tasks'}: learning curves{part}"
        shown = sources_of(run for task in chosen for run in _runs(groups, task))
        sheets.append(Sheet(PlannedFigure(name, title, caption, plot, shown), tuple(results)))
    return sheets


def aggregate_sheet(
    suite: str,
    groups: Groups,
    scores: SuiteScores,
    y_label: str,
    styles: Mapping[str, int],
    computation: Computation,
) -> Sheet:
    """One line per method over the tasks of a suite that its tables aggregate.

    Args:
        groups: label → runs of the suite, normalised where a rule is known.
        scores: what the tables aggregate.
        y_label: what the scores are.
    """
    result = curves(groups, scores.tasks, computation, computation.config.statistic, f"aggregate:{suite}")
    number = f"{len(scores.tasks)} of {len(scores.every)} tasks"
    panel = Panel(
        title=f"{suite or 'all'}, {number}",
        curves=[to_line(line, styles[line.label]) for line in result.lines],
        y_label=y_label,
        missing=result.problems,
    )
    caption = (
        f"Aggregate over the {number} that every method was run on. {how(computation, [result])} "
        f"{ends_beside_table(result, scores)}"
    )
    name = file_name(f"aggregate_{suite or 'tasks'}")
    plot = PanelPlot([panel], 1, computation.width, note(computation, [result]))
    shown = sources_of(run for task in scores.tasks for run in _runs(groups, task))
    return Sheet(PlannedFigure(name, f"{suite or 'tasks'}: aggregate", caption, plot, shown), (result,))


def ends_beside_table(result: Curves, scores: SuiteScores) -> str:
    """Where each line ends and where the tables read that method, so that two numbers are not taken for one."""
    same, other = [], []
    for line in result.lines:
        end, tasks = float(line.aligned.env_steps[-1]), len(line.aligned.tasks)
        first, last = scores.read_at(line.label)
        if first == last == end and tasks == len(scores.tasks):
            same.append(f"{line.label} {short_number(end)}")
            continue
        read = short_number(first) if first == last else f"{short_number(first)} to {short_number(last)}"
        fewer = f" over {tasks} tasks" if tasks != len(scores.tasks) else ""
        other.append(f"{line.label} at {short_number(end)}{fewer}, tables read at {read}")
    parts = []
    if same:
        parts.append(f"Lines end where the tables read the final scores: {', '.join(same)} env steps.")
    if other:
        parts.append(
            f"Lines end where the shortest run of any of their tasks ends, tables read each task at its own end: "
            f"{'; '.join(other)}."
        )
    return " ".join(parts)


def described_sheet(
    name: str, figure: FigureConfig, selections: Sequence[Selection], computation: Computation
) -> Sheet:
    """A figure from its description; panels and lines without runs name what is missing."""
    labels = list(dict.fromkeys(label for selection in selections for label in selection.groups))
    styles = style_indices(labels)
    planned = Planned()
    panels, results = [], []
    for index, selection in enumerate(selections):
        result = curves(selection.groups, selection.tasks, computation, figure.statistic, f"{name}:{index}")
        panels.append(
            Panel(
                title=selection.title,
                curves=[to_line(line, styles[line.label]) for line in result.lines],
                y_label=selection.config.y_label,
                missing=[
                    *missing_lines(selection.missing, planned),
                    *result.problems,
                    *_fewer_tasks(selection, result),
                ],
                x_range=selection.config.x_range,
                y_range=selection.config.y_range,
            )
        )
        results.append(result)
    runs = [run for selection in selections for group in selection.groups.values() for run in group]
    caption = " ".join(
        part
        for part in (
            figure.caption,
            f"Layout: {figure.source}." if figure.source else "",
            how(computation, results, figure.statistic),
            fingerprint_text(runs),
        )
        if part
    )
    plot = PanelPlot(panels, figure.columns, computation.width, note(computation, results, figure.statistic))
    return Sheet(PlannedFigure(name, figure.title, caption, plot, sources_of(runs)), tuple(results))


def _fewer_tasks(selection: Selection, result: Curves) -> list[str]:
    """An aggregate must not pass for one over all of the figure's tasks."""
    drawn = result.lines[0].aligned.tasks if result.lines else selection.tasks
    if len(drawn) == len(selection.tasks):
        return []
    return [f"over {len(drawn)} of {len(selection.tasks)} tasks: those with runs of every line"]


def how(computation: Computation, results: Sequence[Curves], statistic: str | None = None) -> str:
    """How the lines of a figure were computed, and of how many runs."""
    lines = [line for result in results for line in result.lines]
    if not lines:
        return "No runs."
    grid = computation.config.grid
    return (
        f"Line: {_statistics_text(lines, statistic)} of {_runs_text(lines)}; {_band_text(computation, lines)} "
        f"({computation.curve_resamples:,} resamples, seed {computation.seed}). "
        f"Grid: {grid.points} of evaluations, {FILL_WORDS[grid.fill]}, x-axis in env steps (simulator control steps)."
    )


def note(computation: Computation, results: Sequence[Curves], statistic: str | None = None) -> str:
    """What stands in the figure file itself, for those who see it without its caption."""
    lines = [line for result in results for line in result.lines]
    if not lines or not computation.config.figure_notes:
        return ""
    ends = sorted({float(line.aligned.env_steps[-1]) for line in lines})
    until = short_number(ends[0]) if len(ends) == 1 else f"{short_number(ends[0])} to {short_number(ends[-1])}"
    return (
        f"Line: {_statistics_text(lines, statistic)} of {_runs_text(lines)}; {_band_text(computation, lines)}. "
        f"x: env steps (simulator control steps), until {until}."
    )


def _statistics_text(lines: Sequence[CurveResult], statistic: str | None) -> str:
    """What the lines are: where all are the same, their number of runs, which follows, is not said twice."""
    labels = sorted({line.interval.label for line in lines}) or [statistic or ""]
    return " or ".join(labels) if len(labels) > 1 else labels[0].partition(" (n=")[0]


def _runs_text(lines: Sequence[CurveResult]) -> str:
    """How many runs a line has: in all, and for each of its tasks."""
    totals = [sum(line.aligned.num_runs) for line in lines]
    each = [number for line in lines for number in line.aligned.num_runs]
    tasks = [len(line.aligned.tasks) for line in lines]
    if max(tasks) == 1:
        return f"n = {_span(totals)} runs"
    return f"{_span(totals)} runs (n = {_span(each)} per task, {_span(tasks)} tasks)"


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _band_text(computation: Computation, lines: Sequence[CurveResult]) -> str:
    percent = f"{100 * computation.config.confidence:g} %"
    band = f"band: {percent} stratified bootstrap interval"
    single = [max(line.aligned.num_runs) == 1 for line in lines]
    if all(single):
        return "n = 1, so no band"
    return f"{band} (none where n = 1)" if any(single) else band


def fingerprint_text(runs: Sequence[ScoredRun]) -> str:
    """The environments' fingerprints of a figure's runs, for its caption."""
    found = sorted({json.dumps(run.env_fingerprint, sort_keys=True, default=str) for run in runs} - {"{}"})
    if not found:
        return "" if not runs else "The runs state no environment fingerprint."
    shown = [", ".join(f"{key} {value}" for key, value in json.loads(one).items()) for one in found[:4]]
    more = f" (and {len(found) - 4} more)" if len(found) > 4 else ""
    return f"Environment: {'; '.join(shown)}{more}."


def sources_of(runs: Iterable[ScoredRun]) -> tuple[str, ...]:
    """Folders or files of runs, each once, for the record of a figure that shows them."""
    return tuple(dict.fromkeys(run.source for run in runs))


def metric_name(runs: Sequence[ScoredRun]) -> str:
    """What the scores of runs are called."""
    names = sorted({METRIC_NAMES[run.metric] for run in runs})
    return " / ".join(names) or "score"


def _of_task(groups: Groups, task: str) -> dict[str, list[ScoredRun]]:
    return {label: [run for run in runs if run.task_id == task] for label, runs in groups.items()}


def _runs(groups: Groups, task: str) -> list[ScoredRun]:
    return [run for runs in groups.values() for run in runs if run.task_id == task]
