"""What the kept runs of benchmarks/miniature.py say: table, gate, report."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from cpu_seconds import CPU_FILE
from kept_record import check_alike
from learning import ends, run_score
from miniature_protocol import (
    GATE,
    LATER_PAIRS,
    PAIRS,
    SPEED_PAIRS,
    SPEED_SEEDS,
    VARY,
    Line,
    Scale,
    kept_runs_of,
    remaining,
    run_path,
    wanted,
)

from ipv_bench.cli import run
from ipv_bench.config import parse_overrides
from ipv_bench.run_record import read_jsonl, read_record
from reports.statistics.intervals import TABLE_RESAMPLES, interval
from reports.statistics.profiles import probability_of_improvement

CONFIG = Path(__file__).with_name("miniature.yaml")
FIGURES = "miniature,miniature_beside"
LATENT = "latent_action_"


def kept_runs(scale: Scale, target: str, line: Line) -> list[Path]:
    """Folders of a line's kept runs."""
    found = kept_runs_of(scale, target, line)
    check_alike(found, same_model=True)
    return found


def summary(scale: Scale) -> dict[str, Any]:
    """Scores of kept runs with 95 % intervals, the random policy's beside them, which runs are missing (a failed one
    among them), what pre-training took, the gate."""
    tasks = scores(scale)
    for task, rows in tasks.items():
        for name, row in rows.items():
            print(f"{task:20} {name:22} mean {row['mean']:6.1f}  {ends(row)}n={row['n']}", file=sys.stderr)  # fmt: skip
    better, sooner = dict(improvements(tasks)), dict(speeds(scale))
    later = dict(improvements(tasks, LATER_PAIRS))
    for words, pairs in (("", better), (", asked later", later), (" learns sooner, later seeds alone", sooner)):
        for name, told in pairs.items():
            print(f"P({name}{words}) {told['probability']:.2f}  95 % [{told['low']:.2f}, {told['high']:.2f}]",
                  file=sys.stderr)  # fmt: skip
    missing = [str(run_path(scale, *run)) for run in remaining(scale)]
    if missing:
        print(f"{len(missing)} of {len(wanted(scale))} runs are missing: {', '.join(missing[:5])}"
              f"{', …' if missing[5:] else ''}", file=sys.stderr)  # fmt: skip
    models = dict(pretraining(scale))
    for name, told in models.items():
        print(f"{name}: {sentence(told)}", file=sys.stderr)
    return {
        "tasks": tasks, "improvement": better, "improvement_asked_later": later,
        "speed_improvement": sooner, "missing": missing, "pretraining": models,
        "gate": gate(scores(GATE)),
    }  # fmt: skip


def improvements(
    tasks: Mapping[str, Any], pairs: Sequence[tuple[str, str]] = PAIRS
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of each pair of lines that the protocol compares: how probably a run of the one is better than one of the other,
    on a target drawn at random; pairs of which both have two runs on each target alone, as one has no interval."""
    for one, other in pairs:
        both = [rows for rows in tasks.values() if min(rows.get(name, {}).get("n", 0) for name in (one, other)) > 1]
        if both and len(both) == len(tasks):
            ours, theirs = (_as_matrix([rows[name]["scores"] for rows in both]) for name in (one, other))
            found = probability_of_improvement(ours, theirs, TABLE_RESAMPLES, np.random.default_rng(0))
            point, low, high = (float(np.asarray(value).item()) for value in (found.point, found.low, found.high))
            yield f"{one} > {other}", {"probability": point, "low": low, "high": high}


def speeds(scale: Scale) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same of `SPEED_PAIRS` by how soon runs learn (`run_speed`), from `SPEED_SEEDS` alone."""
    part = replace(scale, seeds=tuple(seed for seed in scale.seeds if seed in SPEED_SEEDS), extra_seeds=())
    yield from improvements(scores(part, run_speed), SPEED_PAIRS)


def run_speed(folder: Path) -> float:
    """Mean return of all evaluations, the area under the learning curve: what is learned sooner counts longer."""
    return float(np.mean([np.mean(line["returns"]) for line in read_jsonl(folder / "evaluations.jsonl")]))


def _as_matrix(scores: Sequence[Sequence[float]]) -> np.ndarray:
    """(runs, targets), NaN where a target has fewer runs."""
    filled = np.full((max(map(len, scores)), len(scores)), np.nan)
    for column, found in enumerate(scores):
        filled[: len(found), column] = found
    return filled


def scores(scale: Scale, measure: Callable[[Path], float] = run_score) -> dict[str, dict[str, Any]]:
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
                rows[line.name] = with_interval([measure(folder) for folder in folders])
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


def pretraining(scale: Scale) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of each kept model: when its prediction beat copying, how it ended, and what it took.

    It beats copying from the first of two validations in a row on that are both better than the last frame: one alone
    can be luck.
    """
    for path in sorted(scale.kept.glob("pretrain/*/*/seed0/metrics.jsonl")):
        lines = list(read_jsonl(path))
        ratios = [
            (one["updates"], float(np.mean(one["open_loop_mse"]) / np.mean(one["copy_last_mse"])), one["wall_seconds"])
            for one in lines if "open_loop_mse" in one
        ]  # fmt: skip
        better = next((one for one, then in pairwise(ratios) if max(one[1], then[1]) < 1), None)
        latent = next((one for one in reversed(lines) if f"{LATENT}verdict" in one), {})
        cpu = path.with_name(CPU_FILE)
        yield (
            str(path.parent.relative_to(scale.kept)),
            {
                "copy_ratio": ratios[-1][1] if ratios else None,
                "beats_copying_after": {"updates": better[0], "minutes": round(better[2] / 60, 1)} if better else None,
                "cpu_seconds": json.loads(cpu.read_text())["cpu_seconds"] if cpu.is_file() else None,
                "latent_actions": {
                    key.removeprefix(LATENT): value
                    for key, value in latent.items()
                    if key.startswith(LATENT) and isinstance(value, str | float | int)
                },
            },
        )


def sentence(told: Mapping[str, Any]) -> str:
    """What is said of a model, in a line."""
    after, latent, seconds = told["beats_copying_after"], told["latent_actions"], told["cpu_seconds"]
    parts = [f"beats copying after {after['updates']:,} updates" if after else "never beats copying twice in a row"]
    if told["copy_ratio"] is not None:
        parts.append(f"copy ratio {told['copy_ratio']:.3g} at the end")
    if seconds is not None:
        parts.append(f"{seconds:,.0f} CPU-seconds")
    if latent:
        parts.append(f"latent actions: {latent['verdict']} ({latent['decided_by']})")
    return "; ".join(parts)


def gate(tasks: Mapping[str, Any]) -> dict[str, bool | None]:
    """Target → whether DreamerV2's interval lies above the random policy's there; None until all its runs are kept."""
    found: dict[str, bool | None] = {}
    for target in GATE.targets:
        rows = tasks.get(f"dmcr/{target}", {})
        if rows.get("dreamerv2", {}).get("n", 0) < len(GATE.seeds):
            found[target] = None
        else:
            found[target] = bool(rows["dreamerv2"]["low"] > rows["random"]["high"])
    return found


def require_gate() -> None:
    """Before a run of the main table: something can be learned on both targets.

    Raises:
        SystemExit: the gate was not passed, or not yet; says where, and what to do.
    """
    found = gate(scores(GATE))
    open_ones = [target for target, passed in found.items() if passed is None]
    failed = [target for target, passed in found.items() if passed is False]
    if failed:
        raise SystemExit(
            f"the gate failed on {', '.join(failed)}: DreamerV2 is not above the random policy there, so the main "
            "table could show nothing. Let fewer factors vary (VARY in miniature_protocol.py) and repeat "
            "`python benchmarks/miniature.py --gate`; nothing was begun"
        )
    if open_ones:
        raise SystemExit(
            f"the gate lacks runs on {', '.join(open_ones)}: first `python benchmarks/miniature.py --gate`; nothing "
            "was begun"
        )


def write_report(scale: Scale, out: Path) -> Path:
    """The report of what is kept: curves and intervals; equal runs give equal bytes.

    Raises:
        SystemExit: it cannot be made, or is one of pilots.
    """
    if scale.named:
        raise SystemExit("pilots of several settings lie in one folder: --report is for the main table alone")
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / CONFIG.name
        config.write_text(yaml.safe_dump(figures_of(scale)))
        if run([
            "report", str(scale.kept), "--config", str(config), "--figures", FIGURES, "--out", str(out), "--quiet",
        ]):  # fmt: skip
            raise SystemExit(f"the report of {scale.kept} failed")
    return out


def figures_of(scale: Scale) -> dict[str, Any]:
    """The config of the figures, whose lines are of runs with the scale's settings alone."""
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    for figure in config["figures"].values():
        figure["where"] = parse_overrides([*VARY, *scale.finetuning])
    return config


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a report by name, those that say how it was drawn apart."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.is_file() and ".drawn" not in path.parts}  # fmt: skip
