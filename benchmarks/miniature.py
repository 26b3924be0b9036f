"""The paper's claim in miniature: do videos of other bodies in other looks help a small agent to learn?

    python benchmarks/miniature.py              the whole experiment, resumable: run it again to go on
    python benchmarks/miniature.py --gate       only the gate: DreamerV2 above random with the factors as chosen
    python benchmarks/miniature.py --pilot      the gate and the pilots of all methods, on other seeds
    python benchmarks/miniature.py --remaining  what is still to be made, one a line, and the CPU-hours it takes
    python benchmarks/miniature.py --summary    only read what is kept: print the table, write the report to --report
    python benchmarks/miniature.py --quick      a tiny one from nothing, in a folder that is removed: that it runs

Videos of two domains of DMC Remastered, without actions, pre-train each method; agents then learn a task in the third
domain. What is kept of a run (`run.json`, `evaluations.jsonl`; of a pre-trained model `metrics.jsonl` and, below 10
MB, its checkpoint) goes to benchmarks/results/miniature/runs/ as soon as it ends, to be committed; what is there is not
made again, on any machine. With --minutes M nothing is started after so long, and what runs is stopped with its state
saved. docs/miniature.md has the protocol, which was fixed before the runs were looked at. The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from kept_record import is_kept, keep_files, keep_folder
from one_command import OutOfTimeError, command, deadline

from ipv_bench.cli import run
from ipv_bench.run_record import is_finished, read_jsonl, read_record
from reports.statistics.intervals import TABLE_RESAMPLES, interval

CONFIG = Path(__file__).with_name("miniature.yaml")
RESULTS = Path(__file__).parent / "results" / "miniature"
PRESET = "tiny"
DOMAINS = ("cheetah_run", "walker_run", "hopper_stand")
TARGETS = {"cheetah_run": ("walker_run", "hopper_stand"), "walker_run": ("cheetah_run", "hopper_stand")}
"""Target → tasks in whose domains the videos are recorded."""
FRAMES, REPEAT = 50, 4
RECORD = ("env.render_profile=fast", f"env.action_repeat={REPEAT}", f"env.time_limit={REPEAT * (FRAMES - 1)}")
VARY: tuple[str, ...] | None = None
"""Visual factors of videos and targets alike; None: the paper's. The gate may only make this list shorter."""
PRETRAINED = ("apv", "contextwm", "prelar")
UPDATE_SECONDS = {"apv": 0.21, "contextwm": 0.27, "prelar": 0.28}
"""CPU-seconds of an update of 8 segments of 15 frames on a quiet core (benchmarks/label_efficiency.py --measure)."""
PRETRAIN = ("data.length=15", "data.batch_size=8", "validation.every=500", "validation.warmup=5",
            "training.tensorboard=false")  # fmt: skip
RUN_MINUTES = {"dreamerv2": 5.0, "apv": 6.0, "contextwm": 7.0, "prelar": 7.0}
"""CPU-minutes of a run, for the estimate until some are kept: guessed from those of docs/learning.md."""
LATE_SHARE = 1 / 3
"""As in benchmarks/learning.py: a run's score is the mean of the evaluations in the last third of its steps."""
MAX_KEPT_BYTES = 10_000_000
RUN_FILES = ("evaluations.jsonl", "run.json")
"""What is kept of an agent's run."""


@dataclass(frozen=True)
class Scale:
    """How much of everything.

    Attributes:
        kept: where runs are kept.
        targets: tasks that agents learn.
        clips: videos recorded of each domain.
        pretrain_seconds: CPU-seconds of pre-training, by name of the budget; "" is the main one.
        seeds, extra_seeds: of the main table, and of the in-domain line and the further budgets.
        lines: the lines that are made.
        record, pretraining, finetuning: overrides beside the presets.
    """

    kept: Path
    targets: tuple[str, ...]
    clips: int
    pretrain_seconds: dict[str, float]
    seeds: tuple[int, ...]
    extra_seeds: tuple[int, ...]
    lines: tuple[Line, ...]
    record: tuple[str, ...] = RECORD
    pretraining: tuple[str, ...] = PRETRAIN
    finetuning: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """A line of the comparison.

    Attributes:
        name: of its folder, `method[@what]`.
        method: by the name of the toolkit.
        videos: "" none, from random weights; "others": the two other domains; "own": the target's domain.
        budget: name of the pre-training budget.
        extra: whether it stands beside the main table, with fewer seeds.
    """

    name: str
    method: str
    videos: str = ""
    budget: str = ""
    extra: bool = False


LINES = (
    Line("dreamerv2", "dreamerv2"),
    *(Line(method, method, "others") for method in PRETRAINED),
    *(Line(f"{method}@random", method) for method in PRETRAINED),
    Line("contextwm@in-domain", "contextwm", "own", extra=True),
    Line("contextwm@quarter", "contextwm", "others", "quarter", extra=True),
    Line("contextwm@sixteenth", "contextwm", "others", "sixteenth", extra=True),
)
BUDGETS = {"": 3600.0, "quarter": 900.0, "sixteenth": 225.0}
WHOLE = Scale(RESULTS / "runs", tuple(TARGETS), 1500, BUDGETS, (1, 2, 3, 4, 5, 6, 7, 8), (1, 2, 3, 4, 5), LINES)
PILOT = replace(WHOLE, kept=RESULTS / "pilot", seeds=(101, 102), extra_seeds=(), lines=LINES[:4])
GATE = replace(WHOLE, kept=RESULTS / "pilot", targets=("cheetah_run",), seeds=(101, 102, 103), lines=LINES[:1])
QUICK = Scale(
    Path(), ("cheetah_run",), 3, {"": 0.6}, (201,), (), (LINES[0], LINES[2], LINES[5]),
    record=("env.render_profile=fast", "env.action_repeat=4", "env.time_limit=80"),
    pretraining=("data.length=6", "data.batch_size=2", "data.workers=0", "validation.every=0",
                 "training.tensorboard=false"),
    finetuning=("training.env_steps=320", "training.prefill=80", "training.pretrain_updates=1",
                "training.train_every=25", "env.time_limit=80", "replay.batch_size=2", "evaluation.every=0",
                "evaluation.episodes=1", "evaluation.random_episodes=2", "training.tensorboard=false"),
)  # fmt: skip


class Workspace:
    """The folder in which the commands run, and until when.

    Args:
        folder: of data and runs.
        minutes: after which nothing is started, and what runs is asked to stop; None: no limit.
    """

    def __init__(self, folder: Path, minutes: float | None = None) -> None:
        self.folder = folder
        self._end = deadline(minutes)
        folder.mkdir(parents=True, exist_ok=True)

    def command(self, *arguments: str) -> None:
        """One `ipv-bench` command with one thread, gently.

        Raises:
            OutOfTimeError: it was stopped, or not even started.
            CalledProcessError: it failed.
        """
        command(self.folder, *arguments, "--quiet", end=self._end)


class QuickWorkspace(Workspace):
    """Commands in this process, one after the other: starting one takes longer than all of the tiny experiment."""

    def command(self, *arguments: str) -> None:
        """See `Workspace.command`."""
        with contextlib.chdir(self.folder):
            status = run([*arguments, "--quiet"])
        if status:
            raise subprocess.CalledProcessError(status, arguments)


def main() -> None:
    """Run, or go on with, the experiment; then print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs-miniature"), help="workspace of the experiment")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--minutes", type=float, help="stop after so long; run it again to go on")
    parser.add_argument("--gate", action="store_true", help="only the gate's pilot")
    parser.add_argument("--pilot", action="store_true", help="only the pilots")
    parser.add_argument("--remaining", action="store_true", help="only list what is not kept")
    parser.add_argument("--summary", action="store_true", help="only read what is kept")
    parser.add_argument("--report", type=Path, help="write the report of what is kept to this folder")
    parser.add_argument("--quick", action="store_true", help="a tiny one, in a folder that is removed")
    options = parser.parse_args()
    if options.quick:
        with tempfile.TemporaryDirectory() as folder:
            scale = replace(QUICK, kept=Path(folder) / "kept" / "runs")
            experiment(scale, QuickWorkspace(Path(folder) / "work"), 0)
            reports = [write_report(scale, Path(folder) / name) for name in ("one", "two")]
            same = files_of(reports[0]) == files_of(reports[1])
            print(json.dumps({"benchmark": "miniature", "quick": True, "two_reports_equal": same, **summary(scale)}))
        return
    scale = GATE if options.gate else PILOT if options.pilot else WHOLE
    if options.remaining:
        list_remaining(scale)
        return
    if not options.summary:
        print(f"{estimated_hours(scale):.1f} CPU-hours are left to be made", file=sys.stderr)
        try:
            experiment(scale, Workspace(options.out, options.minutes), options.jobs)
        except OutOfTimeError:
            print("the minutes are over; the same command goes on", file=sys.stderr)
    if options.report:
        write_report(scale, options.report)
    print(json.dumps({"benchmark": "miniature", "gate": options.gate, "pilot": options.pilot, **summary(scale)}))


def pretrained_path(line: Line, target: str) -> Path:
    """Where the model that a line starts from lies inside the workspace."""
    domain = f"in_{target}" if line.videos == "own" else f"for_{target}"
    return Path("runs") / "pretrain" / domain / line.name / "seed0"


def run_path(target: str, line: Line, seed: int) -> Path:
    """Where a run lies inside the workspace, and below the folder of the kept ones."""
    return Path("runs") / "dmcr" / target / line.name / f"seed{seed}"


def kept(scale: Scale, path: Path) -> Path:
    """Where what is left of a run is kept."""
    return scale.kept / path.relative_to("runs")


def remaining(scale: Scale) -> list[tuple[str, Line, int]]:
    """Target, line and seed of the runs that are not kept: seed by seed, so that a part of it has equally many runs."""
    seeds = sorted({*scale.seeds, *scale.extra_seeds})
    wanted = [
        (target, line, seed) for seed in seeds for target in scale.targets for line in scale.lines
        if seed in (scale.extra_seeds if line.extra else scale.seeds)
    ]  # fmt: skip
    return [run for run in wanted if not is_kept(kept(scale, run_path(*run)), RUN_FILES)]


def remaining_models(scale: Scale) -> list[tuple[str, Line]]:
    """Target and line of the pre-trained models that those runs start from and that are not kept."""
    wanted = {pretrained_path(line, target): (target, line) for target, line, _ in remaining(scale) if line.videos}
    return [found for path, found in wanted.items() if not is_model_kept(kept(scale, path))]


def is_model_kept(folder: Path) -> bool:
    """Whether a pre-trained model is kept with its weights: large ones are not, and are made again elsewhere."""
    return is_kept(folder, ["run.json"]) and any(
        path.name.isdigit() and path.is_dir() for path in (folder / "checkpoints").glob("*")
    )


def minutes_of(scale: Scale, method: str) -> float:
    """What a run of a method takes: the mean of the kept ones, else a guess."""
    found = [
        float(list(read_jsonl(path / "evaluations.jsonl"))[-1]["wall_seconds"]) / 60
        for target in scale.targets for line in scale.lines if line.method == method
        for path in sorted(kept(scale, run_path(target, line, 0)).parent.glob("seed*"))
        if is_kept(path, RUN_FILES)
    ]  # fmt: skip
    return float(np.mean(found)) if found else RUN_MINUTES[method]


def estimated_hours(scale: Scale) -> float:
    """CPU-hours of what is not kept, recording apart (a few minutes)."""
    models = sum(scale.pretrain_seconds[line.budget] for _, line in remaining_models(scale)) / 3600
    each = {method: minutes_of(scale, method) for method in RUN_MINUTES}
    return models + sum(each[line.method] for _, line, _ in remaining(scale)) / 60


def list_remaining(scale: Scale) -> None:
    """Print what is not kept with the CPU-minutes of each, and the sum."""
    for target, line in remaining_models(scale):
        print(f"{pretrained_path(line, target)}  {scale.pretrain_seconds[line.budget] / 60:.0f} min")
    each = {method: minutes_of(scale, method) for method in RUN_MINUTES}
    for target, line, seed in remaining(scale):
        print(f"{run_path(target, line, seed)}  {each[line.method]:.0f} min")
    print(f"{len(remaining_models(scale))} models and {len(remaining(scale))} runs: "
          f"{estimated_hours(scale):.1f} CPU-hours, on one thread each")  # fmt: skip


def experiment(scale: Scale, space: Workspace, jobs: int) -> None:
    """Videos, pre-trained models, and the runs: by the commands that a person would type.

    Raises:
        OutOfTimeError: the minutes are over.
    """
    for path in sorted(scale.kept.glob("pretrain/*/*/seed0")):  # made on another machine
        here = space.folder / "runs" / path.relative_to(scale.kept)
        if is_model_kept(path) and not here.exists():
            keep_folder(path, here)
    models = remaining_models(scale)
    needed = {task for target, line in models for task in videos_of(target, line)}
    side_by_side(jobs, [partial(record, scale, space, task) for task in sorted(needed)])
    side_by_side(jobs, [partial(pretrain, scale, space, *model) for model in models])
    side_by_side(jobs, [partial(finetune, scale, space, *one) for one in remaining(scale)])


def side_by_side(jobs: int, steps: Sequence[Callable[[], None]]) -> None:
    """Do all steps, so many at a time; 0: one after the other in this thread."""
    if not jobs:
        for step in steps:
            step()
        return
    with ThreadPoolExecutor(jobs) as pool:
        for future in [pool.submit(step) for step in steps]:
            future.result()


def videos_of(target: str, line: Line) -> tuple[str, ...]:
    """Tasks whose recorded videos a line is pre-trained on."""
    return (target,) if line.videos == "own" else TARGETS[target]


def settings(values: Sequence[str]) -> list[str]:
    """Words of the command line."""
    return [word for value in values for word in ("--set", value)]


def vary() -> list[str]:
    """The factors, as an override of the suite's config."""
    return [] if VARY is None else [f"env.vary=[{','.join(VARY)}]"]


def record(scale: Scale, space: Workspace, task: str) -> None:
    """Videos of a domain: actions are noise and rewards are not read, so the task decides on the body alone."""
    if (space.folder / "shards" / task / "manifest.json").is_file():
        return
    space.command(
        "record", f"dmcr/{task}", "--policy", "smooth", "--episodes", str(scale.clips), "--seed", "0",
        "--out", f"raw/{task}", *settings([*scale.record, *vary()]),
    )  # fmt: skip
    space.command("prepare", "episodes", "--source", f"raw/{task}", "--out", f"shards/{task}")


def pretrain(scale: Scale, space: Workspace, target: str, line: Line) -> None:
    """Make, or go on with, the model that a line starts from, and keep it."""
    path = pretrained_path(line, target)
    if not is_finished(space.folder / path):
        updates = max(1, round(scale.pretrain_seconds[line.budget] / UPDATE_SECONDS[line.method]))
        changes = [f"method={line.method}", f"training.updates={updates}", *scale.pretraining]
        data = [word for task in videos_of(target, line) for word in ("--data", f"shards/{task}")]
        space.command("pretrain", "--preset", PRESET, *data, "--seed", "0", "--run", str(path), *settings(changes))
    keep(scale, space, path, ("metrics.jsonl", "run.json"), weights=True)


def finetune(scale: Scale, space: Workspace, target: str, line: Line, seed: int) -> None:
    """Make, or go on with, one run, and keep what is left of it."""
    path = run_path(target, line, seed)
    if not is_finished(space.folder / path):
        changes = [f"method={line.method}", *scale.finetuning, *vary()]
        init = str(pretrained_path(line, target)) if line.videos else "none"
        start = [] if line.method == "dreamerv2" else ["--init", init]
        space.command(
            "finetune", "--preset", PRESET, "--task", f"dmcr/{target}", "--seed", str(seed), "--run", str(path), *start,
            *settings(changes),
        )  # fmt: skip
    keep(scale, space, path, RUN_FILES)


def keep(scale: Scale, space: Workspace, path: Path, files: Sequence[str], weights: bool = False) -> None:
    """Copy what is kept of a finished run; its record last: it says that all is there."""
    source, goal = space.folder / path, kept(scale, path)
    if not is_finished(source):
        return
    newest = max(
        (one for one in (source / "checkpoints").iterdir() if one.name.isdigit()), key=lambda one: int(one.name)
    )
    if weights and sum(file.stat().st_size for file in newest.iterdir()) < MAX_KEPT_BYTES:
        keep_folder(newest, goal / "checkpoints" / newest.name)
    keep_files(source, goal, [name for name in files if (source / name).is_file()])


def run_score(folder: Path) -> float:
    """Mean return of the episodes of the late evaluations (see `LATE_SHARE`)."""
    lines = list(read_jsonl(folder / "evaluations.jsonl"))
    last = max(line["env_steps"] for line in lines)
    late = [line["returns"] for line in lines if line["env_steps"] > (1 - LATE_SHARE) * last]
    return float(np.mean(np.concatenate(late)))


def kept_runs(scale: Scale, target: str, line: Line) -> list[Path]:
    """Folders of a line's kept runs."""
    folder = kept(scale, run_path(target, line, 0)).parent
    return sorted(path for path in folder.glob("seed*") if is_kept(path, RUN_FILES))


def summary(scale: Scale) -> dict[str, Any]:
    """Scores of all kept runs with 95 % intervals, the random policy's beside them, and what pre-training took."""
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
    for task, rows in tasks.items():
        for name, row in rows.items():
            print(f"{task:20} {name:22} mean {row['mean']:6.1f}  {ends(row)}n={row['n']}", file=sys.stderr)  # fmt: skip
    return {"tasks": tasks, "pretraining": dict(pretraining(scale)), "gate": gate(tasks)}


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


if __name__ == "__main__":
    main()
