"""What the kept runs of benchmarks/miniature.py say: table, gate, report."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from kept_record import check_alike, is_kept
from learning import run_score
from miniature_protocol import GATE, RUN_FILES, Line, Scale, kept, run_path

from ipv_bench.cli import run
from ipv_bench.run_record import read_jsonl, read_record
from reports.statistics.intervals import TABLE_RESAMPLES, interval

CONFIG = Path(__file__).with_name("miniature.yaml")


def kept_runs(scale: Scale, target: str, line: Line) -> list[Path]:
    """Folders of a line's kept runs."""
    seeds = scale.extra_seeds if line.extra else scale.seeds
    wanted = [kept(scale, run_path(target, line, seed)) for seed in seeds]
    found = [path for path in wanted if is_kept(path, RUN_FILES)]
    check_alike(found, same_model=True)
    return found


def summary(scale: Scale) -> dict[str, Any]:
    """Scores of kept runs with 95 % intervals, the random policy's beside them, what pre-training took, the gate."""
    tasks = scores(scale)
    for task, rows in tasks.items():
        for name, row in rows.items():
            print(f"{task:20} {name:22} mean {row['mean']:6.1f}  {ends(row)}n={row['n']}", file=sys.stderr)  # fmt: skip
    return {"tasks": tasks, "pretraining": dict(pretraining(scale)), "gate": gate(scores(GATE))}


def scores(scale: Scale) -> dict[str, dict[str, Any]]:
    """Task → line, or `random` → mean and interval of its kept runs, those of the scale's seeds alone."""
    tasks: dict[str, Any] = {}
    for target in scale.targets:
        rows, random_returns = {}, {}
        for line in scale.lines:
            folders = kept_runs(scale, target, line)
            for folder in folders:
                played = (read_record(folder).model_extra or {}).get("random_policy", {})
                random_returns |= dict(zip(played.get("seeds", ()), played.get("returns", ()), strict=True))
            if folders:
                rows[line.name] = with_interval([run_score(folder) for folder in folders])
        if random_returns:
            rows["random"] = with_interval(list(random_returns.values()))
        if rows:
            tasks[f"dmcr/{target}"] = rows
    return tasks


def with_interval(scores: Sequence[float]) -> dict[str, Any]:
    """Mean and its 95 % bootstrap interval over runs (over episodes for the random policy); one has no interval."""
    found = interval(np.asarray(scores)[:, None], "mean", TABLE_RESAMPLES, np.random.default_rng(0))
    low, high = (float(found.low), float(found.high)) if len(scores) > 1 else (None, None)
    return {
        "mean": float(np.mean(scores)), "low": low, "high": high, "n": len(scores),
        "scores": [float(score) for score in scores],
    }  # fmt: skip


def ends(row: dict[str, Any]) -> str:
    """The interval of a row for people, where it has one."""
    return "" if row["low"] is None else f"95 % [{row['low']:6.1f}, {row['high']:6.1f}]  "


def pretraining(scale: Scale) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of each kept model: when its prediction beat copying first, and how it ended."""
    for path in sorted(scale.kept.glob("pretrain/*/*/seed0/metrics.jsonl")):
        lines = [line for line in read_jsonl(path) if "open_loop_mse" in line]
        ratios = [
            (one["updates"], float(np.mean(one["open_loop_mse"]) / np.mean(one["copy_last_mse"])), one["wall_seconds"])
            for one in lines
        ]
        better = next((found for found in ratios if found[1] < 1), None)
        yield (
            str(path.parent.relative_to(scale.kept)),
            {
                "copy_ratio": ratios[-1][1] if ratios else None,
                "beats_copying_after": {"updates": better[0], "minutes": round(better[2] / 60, 1)} if better else None,
            },
        )


def gate(tasks: dict[str, Any]) -> bool | None:
    """Whether DreamerV2's interval lies above the random policy's on the first target; None without several runs."""
    rows = tasks.get("dmcr/cheetah_run", {})
    if any(rows.get(name, {}).get("n", 0) < 2 for name in ("random", "dreamerv2")):
        return None
    return bool(rows["dreamerv2"]["low"] > rows["random"]["high"])


def write_report(scale: Scale, out: Path) -> Path:
    """The report of what is kept: curves, intervals, probability of improvement; equal runs give equal bytes."""
    words = ["report", str(scale.kept), "--config", str(CONFIG), "--figures", "miniature", "--out", str(out), "--quiet"]
    if run(words):
        raise SystemExit(f"the report of {scale.kept} failed")
    return out


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a report by name, those that say how it was drawn apart."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.is_file() and ".drawn" not in path.parts}  # fmt: skip
