"""What the kept runs of label_efficiency.py say: means with intervals, comparisons, what is missing, and a figure."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from kept_record import check_alike, check_settings
from label_efficiency_claims import Run, compare, sentence
from label_efficiency_protocol import (
    LEARNERS,
    MEASURES,
    READABLE,
    Scale,
    adapted_path,
    adapting_changes,
    kept_runs,
    pretrained_path,
    pretraining_changes,
    remaining,
    unused_runs,
    wanted,
)
from label_efficiency_stop import stop_rule
from label_efficiency_times import read_times

from reports.statistics.intervals import TABLE_RESAMPLES, interval

BUDGET_TOLERANCE = 0.15
"""Share by which a pre-training's CPU-seconds may differ from the protocol's: starts, and a busy machine's caches."""


def summary(scale: Scale) -> dict[str, Any]:
    """Means over seeds with 95 % intervals of every measure, what differs from `scratch`, and what is missing; prints
    all of it."""
    check_kept(scale)
    runs = [Run(*found) for found in kept_runs(scale)]
    check_one_judge(runs)
    ceiling = sorted({round(run.result["action_r2_of_true_frames"], 4) for run in runs})
    heard = [key for key in MEASURES if key != "action_r2" or not unheard(ceiling)]
    if len(heard) < len(MEASURES):
        say(f"the judge reads actions off true frames with R² {ceiling[0]} only: action_r2 says nothing")
    comparisons = compare(runs, heard, scale.labels, scale.seeds)
    for one in comparisons:
        say(sentence(one))
    rule = stop_rule(scale)
    if rule.asked:
        say(rule.sentence(scale))
    missing = [str(adapted_path(*run)) for run in remaining(scale)]
    if missing:
        say(f"{len(missing)} of the {len(missing) + len(runs)} runs are missing: {', '.join(missing[:5])}, …")
    unused = unused_runs(scale)
    if unused:
        say(f"{len(unused)} kept runs are not of the protocol and are not used: {', '.join(unused)}")
    pretrained = kept_models(scale)
    off = off_budget(scale, pretrained)
    if off:
        say(f"CPU-seconds of pre-training are not equal: {', '.join(off)}")
    return {
        "kept": len(runs), "of": len(runs) + len(missing), "missing": missing, "not_used": unused,
        "action_r2_of_true_frames": ceiling,
        "copy_error": sorted({round(run.result["copy_error_by_step"][-1], 6) for run in runs}),
        "rows": table(runs), "comparisons": [one._asdict() for one in comparisons], "pretraining": pretrained,
        "in_features": in_features(runs),
        "pretraining_off_budget": off, "stop_rule": rule._asdict(), "null_result": rule.stops,
    }  # fmt: skip


def kept_models(scale: Scale) -> dict[str, dict[str, Any]]:
    """Path of each pre-trained model of the protocol that is kept → what is said of it."""
    models = sorted({pretrained_path(name, seed) for name, _, seed in wanted(scale)})
    files = {str(path): scale.kept / path / "result.json" for path in models}
    return {path: json.loads(file.read_text()) for path, file in files.items() if file.is_file()}


def off_budget(scale: Scale, models: dict[str, dict[str, Any]]) -> list[str]:
    """Which pre-trainings took other CPU-seconds than the protocol gives them, beyond `BUDGET_TOLERANCE`, in words."""
    found = []
    for path, result in models.items():
        seconds = result.get("cpu_seconds")
        if seconds is None:
            found.append(f"{path} was not counted to the end")
        elif abs(seconds / scale.pretrain_seconds - 1) > BUDGET_TOLERANCE:
            found.append(f"{path} took {seconds:.0f} s instead of {scale.pretrain_seconds}")
    return found


def check_kept(scale: Scale) -> None:
    """Kept runs are of this protocol, and those of one line were made alike.

    Raises:
        SystemExit: they were not; says which, in what, and what to do.
    """
    lines: dict[Path, list[Path]] = {}
    times = read_times()
    for path in map(Path, kept_models(scale)):
        check_settings(scale.kept / path, pretraining_changes(LEARNERS[path.parent.name], scale, times))
        lines.setdefault(path.parent, []).append(scale.kept / path)
    for name, labels, seed, _ in kept_runs(scale):
        path = adapted_path(name, labels, seed)
        check_settings(scale.kept / path, adapting_changes(name, labels, scale))
        lines.setdefault(path.parent, []).append(scale.kept / path)
    for folders in lines.values():
        check_alike(folders)


def check_one_judge(runs: list[Run]) -> None:
    """Runs that are compared saw the same videos and were judged by the same judge.

    Raises:
        SystemExit: they did not; says which.
    """
    for run in runs:
        if run.result.get("seen") != runs[0].result.get("seen"):
            names = [f"{one.learner} N={one.labels} seed {one.seed}" for one in (runs[0], run)]
            raise SystemExit(
                f"{names[0]} and {names[1]} saw other videos or another judge ({runs[0].result.get('seen')}, "
                f"{run.result.get('seen')}): move one workspace's runs away"
            )


def table(runs: list[Run]) -> list[dict[str, Any]]:
    """A row for each learner and N that has runs; printed."""
    rows = []
    for name in LEARNERS:
        for labels in sorted({run.labels for run in runs}):
            results = [run.result for run in runs if (run.learner, run.labels) == (name, labels)]
            if results:
                measures = {key: with_interval([result[key] for result in results]) for key in MEASURES}
                rows.append({"learner": name, "labels": labels, "runs": len(results), **measures})
                say(f"{name:10} N={labels:<5} n={len(results)}  {_shown(measures)}")
    return rows


def in_features(runs: list[Run]) -> list[dict[str, Any]]:
    """A row for each N of a learner that predicts features: what its ratios are in these, one step ahead; printed.

    `adapt` decides by them whether actions are heeded: a decoder may not draw what moves.
    """
    rows = []
    for name, labels in sorted({(run.learner, run.labels) for run in runs}):
        results = [run.result for run in runs if (run.learner, run.labels) == (name, labels)]
        found = {
            key: with_interval([_number(result[f"feature_{key}_by_step"][0]) for result in results])
            for key in ("shuffle_ratio", "copy_ratio")
            if all(f"feature_{key}_by_step" in result for result in results)
        }
        if found:
            rows.append({"learner": name, "labels": labels, "runs": len(results), **found})
            say(f"{name:10} N={labels:<5} n={len(results)}  in features, one step ahead: {_shown(found)}")
    return rows


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _shown(measures: dict[str, dict[str, Any]]) -> str:
    return "  ".join(f"{key} {one['mean']:.4g} [{one['low']:.4g}, {one['high']:.4g}]" for key, one in measures.items())


def unheard(ceilings: list[float]) -> bool:
    """Whether the judge does not even read actions off true frames."""
    return any(ceiling < READABLE for ceiling in ceilings)


def with_interval(values: list[float]) -> dict[str, Any]:
    """Mean and its 95 % bootstrap interval over runs, NaN where a value is; of one run the interval is that run."""
    if not np.isfinite(values).all():
        return dict.fromkeys(("mean", "low", "high"), math.nan) | {"values": list(values)}
    found = interval(np.asarray(values)[:, None], "mean", TABLE_RESAMPLES, np.random.default_rng(0))
    low, high = float(found.low), float(found.high)
    return {"mean": float(found.point), "low": low, "high": high, "values": [round(value, 6) for value in values]}


def say(line: str) -> None:
    """Print for people: the last line of stdout is JSON."""
    print(line, file=sys.stderr)


def draw(scale: Scale, rows: list[dict[str, Any]], ceilings: list[float], path: Path) -> None:
    """A panel for each measure over N: runs as dots, means as lines with their intervals.

    Args:
        scale: of the experiment.
        rows: of `summary`.
        ceilings: R² of actions that the judge reads off true frames.
        path: of the picture.
    """
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 2, figsize=(8, 6), layout="constrained")
    for panel, (key, title) in zip(panels.flat, MEASURES.items(), strict=True):
        for place, name in enumerate(LEARNERS):
            own = [row for row in rows if row["learner"] == name]
            labels = [row["labels"] * 1.04**place for row in own]  # side by side
            means = [row[key]["mean"] for row in own]
            ends = [[row[key]["mean"] - row[key]["low"] for row in own],
                    [row[key]["high"] - row[key]["mean"] for row in own]]  # fmt: skip
            panel.errorbar(labels, means, ends, marker="s", color=f"C{place}", capsize=3, label=name)
            for x, row in zip(labels, own, strict=True):
                panel.plot([x] * row["runs"], row[key]["values"], "o", color=f"C{place}", alpha=0.3, markersize=4)
        if key in ("copy_ratio", "shuffle_ratio"):
            panel.axhline(1.0, color="0.6", linewidth=0.8)
        panel.set_xscale("log", base=2)
        panel.set_xticks(scale.labels, [str(n) for n in scale.labels])
        panel.set_xlabel("labelled videos")
        silent = key == "action_r2" and unheard(ceilings)
        panel.set_title(title + ("\n(says nothing: not read off true frames either)" if silent else ""),
                        fontsize="medium")  # fmt: skip
    seeds = sorted({row["runs"] for row in rows})
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=len(LEARNERS),
                  title=f"runs at each point: {', '.join(map(str, seeds))}")  # fmt: skip
    figure.savefig(path, dpi=120)
