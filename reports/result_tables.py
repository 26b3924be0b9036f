"""The tables of a report: final scores, aggregates, comparisons, and every run that was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ipv_bench.errors import InputError
from reports.align import Dropped
from reports.analysis import Computation, Groups, joint_alignment
from reports.figures.curve_figures import file_name
from reports.figures.panels import short_number
from reports.provenance import run_link
from reports.score_table import PretrainedRun, ScoredRun, UnknownFile
from reports.statistics import STATISTICS, Interval, label_of
from reports.tables import Cell, Estimate, Table

STATISTIC_NAMES = {name: label_of(name, 4) for name in STATISTICS}


def estimate(found: Interval, column_statistic: str = "") -> Estimate:
    """A cell; its statistic is named where it is not what the column says."""
    label = "" if found.label == STATISTIC_NAMES.get(column_statistic, column_statistic) else found.label
    return Estimate(float(found.point), float(found.low), float(found.high), label)


def final_score_table(suite: str, groups: Groups, tasks: Sequence[str], computation: Computation) -> Table | None:
    """Final scores per task, as they were logged: rows tasks, columns methods."""
    labels = list(groups)
    rows: list[list[Cell]] = []
    statistic = computation.config.statistic
    for task in tasks:
        try:
            aligned = joint_alignment(groups, [task], computation.config.grid)
        except InputError:
            continue  # the curves' panel and the warnings say why
        any_group = next(iter(aligned.values()))
        cells: list[Cell] = [task, f"{short_number(float(any_group.env_steps[-1]))}"]
        for label in labels:
            if label not in aligned:
                cells.append(None)
                continue
            scores = aligned[label].final(computation.config.final_window)
            cells.append(estimate(computation.interval(scores, statistic, f"final:{task}:{label}"), statistic))
        rows.append(cells)
    if not rows:
        return None
    window = computation.config.final_window
    when = f"mean over the last {window:g} env steps" if window else "the last env step that all methods reached"
    note = (
        f"{STATISTIC_NAMES[statistic]} over runs, with {100 * computation.config.confidence:g} % stratified bootstrap "
        f"interval ({computation.table_resamples:,} resamples, seed {computation.seed}); scores as logged, at {when}."
    )
    name = file_name(f"final_scores_{suite}") if suite else "final_scores"
    title = f"{suite}: final scores per task" if suite else "Final scores per task"
    return Table(name, title, ["task", "env steps", *labels], rows, note)


def aggregate_table(
    matrices: Mapping[str, Mapping[str, np.ndarray]], scales: Mapping[str, str], computation: Computation
) -> Table | None:
    """Aggregates over tasks: one row per suite and method.

    Args:
        matrices: suite → label → (R, M) final scores.
        scales: suite → what the scores are ("return / 1000", "return, not normalised").
        computation: how.
    """
    rows: list[list[Cell]] = []
    for suite, by_label in matrices.items():
        for label, scores in by_label.items():
            number = int(np.isfinite(scores).sum())
            cells: list[Cell] = [suite or "–", label, scores.shape[1], number, scales.get(suite, "")]
            for statistic in STATISTICS:
                found = computation.interval(scores, statistic, f"aggregate:{suite}:{label}:{statistic}")
                cells.append(estimate(found, statistic))
            rows.append(cells)
    if not rows:
        return None
    note = (
        f"Final scores over tasks, {100 * computation.config.confidence:g} % stratified bootstrap intervals "
        f"({computation.table_resamples:,} resamples, seed {computation.seed}"
        f"{', tasks resampled as well' if computation.config.resample_tasks else ''}). "
        "Optimality gap: lower is better; the others: higher is better."
    )
    columns = ["suite", "method", "tasks", "runs", "scale", *(STATISTIC_NAMES[name] for name in STATISTICS)]
    return Table("aggregates", "Aggregates of final scores", columns, rows, note)


def run_table(runs: Sequence[ScoredRun], page_folder: Path) -> Table:
    """Every scored run."""
    rows: list[list[Cell]] = []
    for run in runs:
        rows.append(
            [
                run_link(run.source, run.source, page_folder),
                run.suite or "–",
                run.task,
                run.label,
                run.seed,
                "+".join(map(str, run.pretraining.get("data") or [])) or "–",
                run.status,
                run.num_points,
                float(run.env_steps[-1]) if run.num_points else None,
                float(run.scores[-1]) if run.num_points else None,
                run.format,
            ]
        )
    columns = ["run", "suite", "task", "method", "seed", "pre-training", "status", "evaluations"]
    return Table("runs", "Every run that was read", [*columns, "last env step", "last score", "format"], rows)


def pretraining_table(runs: Sequence[PretrainedRun], page_folder: Path) -> Table | None:
    """Every pre-training run."""
    rows: list[list[Cell]] = []
    for run in runs:
        made = run.record.get("pretraining") or {}
        rows.append(
            [
                run_link(run.source, run.source, page_folder),
                str(run.record.get("method", "")),
                "+".join(map(str, made.get("data") or [])) or "–",
                "all" if made.get("num_videos") is None else str(made["num_videos"]),
                str(run.record.get("seed", "")),
                str(run.record.get("status", "")),
                int(run.updates[-1]) if len(run.updates) else 0,
                _last(run, "image_loss"),
                _last(run, "kl_loss"),
            ]
        )
    columns = ["run", "method", "data", "videos", "seed", "status", "updates", "last image loss", "last KL loss"]
    return Table("pretraining_runs", "Every pre-training run that was read", columns, rows) if rows else None


def _last(run: PretrainedRun, name: str) -> float | None:
    values = run.values.get(name)
    finite = values[np.isfinite(values)] if values is not None else np.zeros(0)
    return float(finite[-1]) if len(finite) else None


def dropped_table(dropped: Sequence[Dropped]) -> Table | None:
    """What alignment left out, once each."""
    unique = sorted({(one.run, one.reason, one.points, one.first, one.last) for one in dropped}, key=str)
    rows: list[list[Cell]] = [[run, reason, points, first, last] for run, reason, points, first, last in unique]
    columns = ["run", "reason", "evaluations", "from env step", "to env step"]
    return Table("left_out", "Evaluations left out by the alignment", columns, rows) if rows else None


def unknown_table(files: Sequence[UnknownFile]) -> Table | None:
    """Files that no reader could use."""
    rows: list[list[Cell]] = [[one.path, one.reason] for one in files]
    return Table("files_not_used", "Files that were not used", ["file", "reason"], rows) if rows else None
