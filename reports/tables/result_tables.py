"""Tables that list: every run that was read, what alignment left out, files that were not used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reports.scores.align import Dropped
from reports.scores.score_table import PretrainedRun, ScoredRun, UnknownFile
from reports.tables.provenance import run_link
from reports.tables.tables import Cell, Table


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
