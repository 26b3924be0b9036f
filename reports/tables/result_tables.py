"""Tables that list: every run that was read, what alignment left out, files that were not used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ipv_bench.joined_sets import told_sets
from reports.scores.align import Dropped
from reports.scores.ends import FinalScore
from reports.scores.score_table import LeftOut, PretrainedRun, ScoredRun, UnknownFile
from reports.tables.provenance import run_link
from reports.tables.tables import Cell, Table


def run_table(
    runs: Sequence[ScoredRun], left_out: Sequence[LeftOut], finals: Mapping[int, FinalScore], page_folder: Path
) -> Table:
    """Every scored run, the final score that was read from it, and from which evaluations.

    Args:
        runs: that were used.
        left_out: that were not, with the reason.
        finals: id of a run → its final score.
        page_folder: the report's folder, for links.
    """
    rows: list[list[Cell]] = []
    for run, reason in [*((run, "") for run in runs), *((one.run, one.reason) for one in left_out)]:
        final = finals.get(id(run))
        rows.append(
            [
                run_link(run.source, run.source, page_folder),
                run.suite or "–",
                run.task,
                run.label,
                run.seed,
                told_sets(run.pretraining.get("data") or []) or "–",
                run.status,
                run.num_points,
                float(run.env_steps[-1]) if run.num_points else None,
                final.score if final else None,
                _evaluations(final) if final else reason or "–",
                run.format,
            ]
        )
    columns = ["run", "suite", "task", "method", "seed", "pre-training", "status", "evaluations"]
    columns += ["last env step", "final score", "read from", "format"]
    note = "Final scores as logged; read from: the evaluations (env steps) that a final score is made of."
    return Table("runs", "Every run that was read", columns, rows, note)


def _evaluations(final: FinalScore) -> str:
    if final.number == 1:
        return f"the evaluation at {final.first:.15g}"
    return f"{final.number} evaluations from {final.first:.15g} to {final.last:.15g}"


def left_out_entirely(one: LeftOut) -> Dropped:
    """A run that no number is made of, for the list of what was left out."""
    steps = one.run.env_steps
    first, last = (float(steps[0]), float(steps[-1])) if len(steps) else (float("nan"), float("nan"))
    return Dropped(one.run.name, one.reason, len(steps), first, last)


def pretraining_table(runs: Sequence[PretrainedRun], page_folder: Path) -> Table | None:
    """Every pre-training run."""
    rows: list[list[Cell]] = []
    for run in runs:
        made = run.record.get("pretraining") or {}
        rows.append(
            [
                run_link(run.source, run.source, page_folder),
                str(run.record.get("method", "")),
                told_sets(made.get("data") or []) or "–",
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
    return (
        Table("left_out", "Runs and evaluations that were left out of curves, tables or both", columns, rows)
        if rows
        else None
    )


def unknown_table(files: Sequence[UnknownFile]) -> Table | None:
    """Files that no reader could use."""
    rows: list[list[Cell]] = [[one.path, one.reason] for one in files]
    return Table("files_not_used", "Files that were not used", ["file", "reason"], rows) if rows else None
