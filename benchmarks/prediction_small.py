"""How well small world models predict held-out video: ContextWM against the vanilla model, same updates, several seeds.

    python benchmarks/prediction_small.py [--quick] [--out DIR] [--figure FILE] [--jobs N]

Makes a sample of Something-Something-v2, prepares it, pre-trains `tiny` models of both methods with each seed by
`ipv-bench pretrain`, and compares the open-loop error over the horizon with a copy of the last frame that was seen.
Every step resumes; the last line is JSON. Budget and seeds are constants below, fixed before the runs were looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ordered_work import side_by_side

from ipv_bench.atomic_file import write_bytes, write_json
from ipv_bench.run_record import host_hardware, read_jsonl, read_record
from reports.statistics.intervals import TABLE_RESAMPLES, interval

METHODS = {"contextwm": "ContextWM", "apv": "vanilla (APV)"}
RESULT = Path(__file__).parent / "results" / "prediction_small.json"


@dataclass(frozen=True)
class Budget:
    """Fixed before the runs: videos of the sample, seeds, updates, validation segments."""

    videos: int
    seeds: tuple[int, ...]
    updates: int
    segments: int


FULL = Budget(videos=160, seeds=(0, 1, 2, 3, 4), updates=300, segments=48)
QUICK = Budget(videos=24, seeds=(0,), updates=8, segments=4)


def main() -> None:
    """Run what is missing, then print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="One seed, a few updates: shows that it works.")
    parser.add_argument("--out", type=Path, default=Path("data/prediction_small"), help="Working folder.")
    parser.add_argument("--figure", type=Path, help="Write the figure to this file (PNG, SVG or PDF).")
    parser.add_argument("--jobs", type=int, default=2, help="Runs at the same time, one thread each.")
    arguments = parser.parse_args()
    budget = QUICK if arguments.quick else FULL
    out = arguments.out / ("quick" if arguments.quick else "full")
    shards = make_shards(out, budget)
    works = {str(run_folder(out, *run)): partial(train, out, shards, budget, *run) for run in runs(budget)}
    side_by_side(arguments.jobs, works)
    result = summarise(out, budget)
    if arguments.figure:
        write_bytes(arguments.figure, draw(result, arguments.figure.suffix[1:]))
    if not arguments.quick:
        write_json(RESULT, result)
    print_table(result)
    print(json.dumps(result))


def runs(budget: Budget) -> Iterator[tuple[str, int]]:
    """Method and seed of every run, seeds outermost: an early stop leaves pairs."""
    return ((method, seed) for seed in budget.seeds for method in METHODS)


def make_shards(out: Path, budget: Budget) -> Path:
    """The sample release and its shard set."""
    raw, shards = out / "raw", out / "shards"
    if not (shards / "manifest.json").exists():
        if not raw.exists():
            _ipv_bench("sample", str(raw), "--dataset", "ssv2", "--videos", str(budget.videos), "--seed", "1")
        _ipv_bench("prepare", "ssv2", "--source", str(raw), "--out", str(shards))
    return shards


def run_folder(out: Path, method: str, seed: int) -> Path:
    """Where a run goes."""
    return out / "runs" / method / f"seed{seed}"


def train(out: Path, shards: Path, budget: Budget, method: str, seed: int) -> None:
    """One run, from the beginning or from where it was interrupted."""
    changes = {
        "method": method,
        "training.updates": budget.updates,
        "training.tensorboard": "false",
        "validation.every": budget.updates,
        "validation.segments": budget.segments,
        "validation.strips": 2,
    }
    sets = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    folder = run_folder(out, method, seed)
    _ipv_bench("pretrain", "--preset", "tiny", "--data", str(shards), "--run", str(folder), "--seed", str(seed), *sets)


def summarise(out: Path, budget: Budget) -> dict[str, Any]:
    """Numbers of all runs and their intervals: 95 % bootstrap over seeds."""
    first = run_folder(out, next(iter(METHODS)), budget.seeds[0])
    record = read_record(first)
    result: dict[str, Any] = {
        "command": f"python benchmarks/prediction_small.py{' --quick' if budget is QUICK else ''}",
        "hardware": host_hardware(),
        "seeds": list(budget.seeds),
        "updates": budget.updates,
        "train_videos": sum(entry["num_videos"] for entry in record.shard_sets),
        "held_out_videos": sum(entry["num_validation_videos"] for entry in record.shard_sets),
        "validation_segments": budget.segments,
        "config": {key: value for key, value in record.config.items() if key != "data"},
        "data": {key: value for key, value in record.config["data"].items() if key != "sets"},
        "methods": {},
    }
    for method in METHODS:
        lines = [last_validation(run_folder(out, method, seed)) for seed in budget.seeds]
        result["methods"][method] = {
            "open_loop_mse": _interval([line["open_loop_mse"] for line in lines]),
            "mean_mse": _interval([[line["validation_open_loop_mse"]] for line in lines]),
            "image_loss": _interval([[line["validation_image_loss"]] for line in lines]),
            "kl": _interval([[line["validation_kl"]] for line in lines]),
            "psnr": _interval([[line["validation_psnr"]] for line in lines]),
            "ssim": _interval([[line["validation_ssim"]] for line in lines]),
            "wall_seconds": [line["wall_seconds"] for line in lines],
        }
        result["copy_last"] = {
            "open_loop_mse": _interval([line["copy_last_mse"] for line in lines]),
            "mean_mse": _interval([[line["validation_copy_last_mse"]] for line in lines]),
            "psnr": _interval([[line["validation_copy_last_psnr"]] for line in lines]),
            "ssim": _interval([[line["validation_copy_last_ssim"]] for line in lines]),
        }
    ours, vanilla = (np.array(result["methods"][method]["mean_mse"]["seeds"]) for method in METHODS)
    result["mean_mse_vanilla_minus_contextwm"] = _interval((vanilla - ours).tolist())  # same seed: same videos
    return result


def last_validation(folder: Path) -> dict[str, Any]:
    """The validation after the last update."""
    return [line for line in read_jsonl(folder / "metrics.jsonl") if "open_loop_mse" in line][-1]


def _interval(values: list[list[float]]) -> dict[str, list[Any]]:
    """Mean over seeds with its 95 % bootstrap interval, and the seeds themselves; values are (seeds, points)."""
    scores = np.array(values)[:, None, :]  # (num_runs, 1 task, num_steps)
    found = interval(scores, "mean", TABLE_RESAMPLES, np.random.default_rng(0))
    return {
        "mean": found.point.tolist(),
        "low": found.low.tolist(),
        "high": found.high.tolist(),
        "seeds": scores[:, 0].tolist(),
    }


def draw(result: dict[str, Any], kind: str) -> bytes:
    """The figure: error over the horizon, mean and 95 % interval over seeds, and the copy."""
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.subplots()
    for method, colour in zip(METHODS, ("#1b6ca8", "#c8553d"), strict=True):
        curve = result["methods"][method]["open_loop_mse"]
        steps = np.arange(1, len(curve["mean"]) + 1)
        axes.plot(steps, curve["mean"], color=colour, label=METHODS[method])
        axes.fill_between(steps, curve["low"], curve["high"], color=colour, alpha=0.2, linewidth=0)
    copy = result["copy_last"]["open_loop_mse"]["mean"]
    axes.plot(np.arange(1, len(copy) + 1), copy, color="black", linestyle="--", label="copy of the last frame")
    axes.set(xlabel="frames ahead (12 fps)", ylabel="MSE, pixels in [0, 1]", ylim=(0, None))
    axes.set_title(
        f"held-out videos, {result['updates']} updates, {len(result['seeds'])} seeds, mean and 95 % interval",
        fontsize=9,
    )
    axes.legend(frameon=False, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def print_table(result: dict[str, Any]) -> None:
    """A Markdown table, as it stands in the docs."""
    print("| | MSE x 1000 | PSNR (dB) | SSIM | image loss | KL (nats) |\n|---|---|---|---|---|---|")
    for method, name in METHODS.items():
        row = result["methods"][method]
        cells = [
            _cell(row["mean_mse"], 1000),
            _cell(row["psnr"]),
            _cell(row["ssim"]),
            _cell(row["image_loss"], digits=4),
        ]
        print(f"| {name} | " + " | ".join([*cells, _cell(row["kl"])]) + " |")
    copy = result["copy_last"]
    print(f"| copy | {_cell(copy['mean_mse'], 1000)} | {_cell(copy['psnr'])} | {_cell(copy['ssim'])} | – | – |")


def _cell(value: dict[str, list[float]], factor: float = 1, digits: int = 3) -> str:
    mean, low, high = (value[key][0] * factor for key in ("mean", "low", "high"))
    return f"{mean:.{digits}g} [{low:.{digits}g}, {high:.{digits}g}]"


def _ipv_bench(*command: str) -> None:
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    start = time.monotonic()
    subprocess.run([sys.executable, "-P", "-m", "ipv_bench", *command], check=True, env=env, stdout=sys.stderr)
    print(f"{command[0]}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
