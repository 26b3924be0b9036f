"""DrQ-v2 at its published settings, drawn over its published curves.

    python benchmarks/drqv2_calibration.py --curves dmc_cheetah_run.csv      two seeds, 40,000 frames, on a CPU
    python benchmarks/drqv2_calibration.py --minutes 60                      in pieces: run it again to go on
    python benchmarks/drqv2_calibration.py --seeds 1 2 3 4 5 6 7 8 9 10 --env-steps 3100000 --jobs 5 \\
        --set training.device=cuda --out runs-calibration-gpu --curves dmc_cheetah_run.csv --figure drqv2.png
                                                                             ten seeds to the end, on a GPU
    python benchmarks/drqv2_calibration.py --summary --curves FILE           only read the runs that are there
    python benchmarks/drqv2_calibration.py --quick                           that it works: a very small agent, ended
                                                                             in its middle and taken up again

The preset is `paper` as it is; only the budget and the distance of evaluations (20,000 frames, as in the curves) are
set. An update takes seconds on a core, an episode (250 updates) a quarter of an hour, and a piece (`--minutes`) ends
with the episode that runs then. What is lost by a kill is what came after the last checkpoint, which is taken at the
first end of an episode after five minutes.

The curves are `curves/dmc_<task>.csv` in github.com/facebookresearch/drqv2: columns agent, task, seed, frame,
episode_reward, hour; ten seeds of cheetah_run, eight of some others. They are not part of this repository. `report`
reads that file too. Record and evaluations of finished runs at the published settings are copied to
benchmarks/results/drqv2_calibration/<frames>/, and a run that is there is not made again. With `--set` a run may be
made otherwise, on another device for one; where that changes what is learned, the run is not kept, and such runs are
drawn without the kept ones, under a name that says so. The last line is JSON: per frame the published mean and range
over seeds, and our runs.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kept_record import check_alike, is_kept, keep_files
from one_command import die_with
from ordered_work import as_far_as_it_goes, side_by_side

from ipv_bench.config import flatten
from ipv_bench.run_record import RunRecord, read_jsonl, read_record
from models.finetuning.config import RESOURCE_KEYS

METHOD, PRESET, EVERY = "drqv2", "paper", 20_000
OWN_KEYS = ("method", "training.env_steps", "evaluation.every")
"""Config that this script sets."""
KEPT = Path(__file__).parent / "results" / "drqv2_calibration"
KEPT_FILES = ("run.json", "evaluations.jsonl")
QUICK_FRAMES, QUICK_EVERY = 2400, 800
QUICK = (
    "env.time_limit=100", "env.render_profile=fast", "training.prefill=100", "replay.batch_size=8", "drqv2.channels=4",
    "drqv2.units=32", "evaluation.episodes=1", "evaluation.random_episodes=2", "envs.workers=0",
    "training.tensorboard=false", "training.log_every=10",
)  # fmt: skip
"""Episodes of 50 agent steps, the first two of random actions; 25 updates an episode."""
LONGEST_EPISODE_SECONDS = 3600

Curves = dict[int, dict[int, float]]
"""Frame → seed → return."""


def main() -> None:
    """Make, or go on with, the runs; then hold them against the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="dmc/cheetah_run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--env-steps", type=int, default=40_000, help="frames of each run")
    parser.add_argument("--out", type=Path, default=Path("runs-calibration"), help="workspace of the experiment")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="end this piece after so long")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--curves", type=Path, help="the published curves of the task, a CSV")
    parser.add_argument("--figure", type=Path, help="draw both to this file")
    parser.add_argument("--summary", action="store_true", help="only read what is there")
    parser.add_argument("--quick", action="store_true", help="a very small agent, in a temporary folder")
    options = parser.parse_args()
    options.kept, options.every, options.known, status = KEPT, EVERY, (), 0
    if options.quick:
        with tempfile.TemporaryDirectory() as folder:
            result = quick(options, Path(folder))
    else:
        status = 0 if options.summary else as_far_as_it_goes(partial(experiment, options))
        result = summary(options)
    print(json.dumps({"benchmark": "drqv2_calibration", "task": options.task, **result}))
    sys.exit(status)


def quick(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The whole way in small: a run that is ended in its middle, taken up again, kept, compared and drawn."""
    options.out, options.kept, options.every = folder / "runs", folder / "kept", QUICK_EVERY
    options.env_steps, options.seeds, options.jobs = QUICK_FRAMES, [1], 1
    options.overrides, options.known = [*QUICK, *options.overrides], [key_of(text) for text in QUICK]
    run = options.out / run_path(options.task, 1)
    options.out.mkdir(parents=True)
    log = run / "metrics.jsonl"
    piece(options, 1, float("inf"), lambda: log.is_file() and '"updates"' in log.read_text())
    ended = read_record(run).status
    experiment(options)
    return {"quick": True, "first_piece": ended, "then": read_record(run).status, **summary(options)}


def summary(options: argparse.Namespace) -> dict[str, Any]:
    """Our runs beside the published ones, drawn where that was asked for, and their hours."""
    runs, changed = our_runs(options)
    check_alike(list(runs.values()))
    ours = our_curves(runs, options.every)
    published = read_curves(options.curves, options.task) if options.curves else {}
    name = ", ".join(["ours", *(f"{key}={value}" for key, value in changed.items())])
    if options.figure:
        draw(options.figure, options.task, ours, published, options.env_steps, name)
    hours_left = hours(options.out, options.task, options.env_steps)
    return {"changed": changed, **compared(ours, published), "hours": hours_left}


def our_runs(options: argparse.Namespace) -> tuple[dict[int, Path], dict[str, Any]]:
    """Seed → folder of a run of this budget, finished or not; and what they change of the published settings.

    Kept runs stand for those of the workspace that they are copies of. Where the workspace holds runs of other
    settings, it is those that are asked about, and no kept one is among them.
    """
    of_budget = {
        seed: path
        for seed, path in seeds_in(options.out, options.task).items()
        if flatten(read_record(path).config)["training.env_steps"] == options.env_steps
    }
    changed: dict[str, Any] = {}
    for path in of_budget.values():
        changed |= changes(read_record(path), options)
    return (of_budget if changed else of_budget | seeds_in(kept_root(options), options.task)), changed


def seeds_in(root: Path, task: str) -> dict[int, Path]:
    """Seed → folder of the runs of a task in a workspace."""
    paths = sorted((root / run_path(task, 0)).parent.glob("seed*/run.json"))
    return {int(path.parent.name.removeprefix("seed")): path.parent for path in paths}


def kept_root(options: argparse.Namespace) -> Path:
    """Where finished runs of this budget are kept: those of another one are others."""
    found: Path = options.kept / str(options.env_steps)
    return found


def key_of(override: str) -> str:
    """The config key of `key=value`."""
    return override.partition("=")[0]


def of_method(keys: Iterable[str], options: argparse.Namespace) -> list[str]:
    """Those of some overridden keys that change what is learned and are not this script's own."""
    return [key for key in keys if key not in (*OWN_KEYS, *RESOURCE_KEYS, *options.known)]


def changes(record: RunRecord, options: argparse.Namespace) -> dict[str, Any]:
    """What a run has otherwise than published, dotted key → value."""
    overrides, config = flatten(record.overrides), flatten(record.config)
    found = {key: overrides[key] for key in of_method(overrides, options)}
    asked = {"evaluation.every": options.every, "training.env_steps": options.env_steps}
    found |= {key: config[key] for key, value in asked.items() if config[key] != value}
    return found | ({"preset": record.preset} if record.preset != PRESET else {})


def experiment(options: argparse.Namespace) -> None:
    """The runs that are not finished, side by side, until the time is over."""
    options.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * options.minutes
    side_by_side(options.jobs, {f"seed {seed}": partial(piece, options, seed, end) for seed in options.seeds})


def piece(options: argparse.Namespace, seed: int, end: float, enough: Callable[[], bool] = lambda: False) -> None:
    """Make, or go on with, one run until `end` (of the monotonic clock) or `enough`; keep it when it is finished."""
    folder = run_path(options.task, seed)
    as_published = not of_method(map(key_of, options.overrides), options)
    if time.monotonic() >= end or (as_published and is_kept(kept_root(options) / folder, KEPT_FILES)):
        return
    sets = {
        "method": METHOD, "training.env_steps": options.env_steps, "evaluation.every": options.every,
        "training.threads": 1, "training.stop_grace_seconds": LONGEST_EPISODE_SECONDS,
    }  # fmt: skip
    words = [f"{key}={value}" for key, value in sets.items()] + options.overrides
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "ipv_bench", "finetune", "--preset", PRESET, "--task", options.task,
         "--seed", str(seed), "--run", str(folder), *(word for text in words for word in ("--set", text))],
        cwd=options.out, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=sys.stderr, preexec_fn=die_with(os.getpid()),
    )  # fmt: skip
    while process.poll() is None and time.monotonic() < end and not enough():
        time.sleep(0.2)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    status = process.wait()
    if status not in (0, 130):
        raise subprocess.CalledProcessError(status, process.args)
    keep(options, folder)


def run_path(task: str, seed: int) -> Path:
    """Where a run lies inside the workspace."""
    return Path("runs") / task / METHOD / f"seed{seed}"


def keep(options: argparse.Namespace, folder: Path) -> None:
    """Copy record and evaluations of a finished run at the published settings; one that is kept already stays."""
    run, place = options.out / folder, kept_root(options) / folder
    if is_kept(run, KEPT_FILES) and not changes(read_record(run), options) and not is_kept(place, KEPT_FILES):
        keep_files(run, place, KEPT_FILES)


def our_curves(runs: Mapping[int, Path], every: int = EVERY) -> Curves:
    """Mean returns of the evaluations of runs (seed → folder), finished or not.

    An evaluation is booked at the mark that it was due at: it waits for the end of an episode.
    """
    found: Curves = {}
    for seed, folder in runs.items():
        path = folder / "evaluations.jsonl"
        for line in read_jsonl(path) if path.is_file() else ():
            frame = line["env_steps"] // every * every
            if frame:  # the first one follows the random steps, where the curves have none
                found.setdefault(frame, {})[seed] = sum(line["returns"]) / len(line["returns"])
    return dict(sorted(found.items()))


def hours(root: Path, task: str, frames: int) -> dict[str, dict[str, float]]:
    """Per seed: frames so far, hours so far, and the hours of the whole run by the pace since its first update."""
    found = {}
    for path in sorted((root / run_path(task, 0)).parent.glob("seed*/metrics.jsonl")):
        lines = list(read_jsonl(path))
        trained = [line for line in lines if "updates" in line]
        if len(trained) < 2:
            continue
        first, last, now = trained[0], trained[-1], lines[-1]
        pace = (last["wall_seconds"] - first["wall_seconds"]) / max(last["env_steps"] - first["env_steps"], 1)
        whole = now["wall_seconds"] + pace * max(frames - now["env_steps"], 0)
        found[path.parent.name.removeprefix("seed")] = {
            "frames": now["env_steps"],
            "hours": round(now["wall_seconds"] / 3600, 3),
            "hours_to_the_end": round(whole / 3600, 3),
        }
    return found


def read_curves(path: Path, task: str) -> Curves:
    """The published curves of a task."""
    found: Curves = {}
    with open(path, newline="") as file:
        rows = csv.DictReader(file)
        absent = {"task", "frame", "seed", "episode_reward"} - set(rows.fieldnames or ())
        if absent:
            raise SystemExit(
                f"{path} has no column {', '.join(sorted(absent))}: curves/dmc_<task>.csv of the release has"
            )
        for row in rows:
            if row["task"] == task.partition("/")[2]:
                found.setdefault(int(float(row["frame"])), {})[int(row["seed"])] = float(row["episode_reward"])
    if not found:
        raise SystemExit(f"{path} has no rows of {task.partition('/')[2]}")
    return dict(sorted(found.items()))


def compared(ours: Curves, published: Mapping[int, Mapping[int, float]]) -> dict[str, Any]:
    """Per frame that we have: our returns by seed, the published mean and range, and whether ours lie inside it."""
    rows = {}
    for frame, scores in ours.items():
        row: dict[str, Any] = {"ours": {str(seed): round(score, 1) for seed, score in sorted(scores.items())}}
        theirs = list(published.get(frame, {}).values())
        if theirs:
            low, high = min(theirs), max(theirs)
            row |= {
                "published_mean": round(sum(theirs) / len(theirs), 1), "published_low": round(low, 1),
                "published_high": round(high, 1), "published_seeds": len(theirs),
                "inside": sum(low <= score <= high for score in scores.values()),
            }  # fmt: skip
        rows[str(frame)] = row
        print(f"{frame:>8}", row, file=sys.stderr)
    return {"frames": rows}


def draw(path: Path, task: str, ours: Curves, published: Curves, last: int, name: str = "ours") -> None:
    """Each published seed as a thin line, ours as thick ones of that name."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    lines(axes, published, last, color="0.6", linewidth=0.8, label="published, one line a seed")
    lines(axes, ours, last, color="C3", linewidth=2, marker="o", label=name)
    axes.set(xlabel="frames", ylabel="return", title=f"DrQ-v2 on {task}")
    axes.legend()
    figure.savefig(path, dpi=120)


def lines(axes: Any, curves: Curves, last: int, *, label: str, **style: Any) -> None:
    """One line a seed up to frame `last`; the first one has the label."""
    seeds: Sequence[int] = sorted({seed for scores in curves.values() for seed in scores})
    for number, seed in enumerate(seeds):
        points = [(frame, scores[seed]) for frame, scores in curves.items() if seed in scores and frame <= last]
        if points:
            axes.plot(*zip(*points, strict=True), label=label if number == 0 else None, **style)


if __name__ == "__main__":
    main()
