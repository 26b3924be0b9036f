"""Do small agents learn? Every method on two quick dm-control tasks, five seeds each, on a CPU.

    python benchmarks/learning.py             the whole experiment, resumable: run it again to go on
    python benchmarks/learning.py --methods drqv2     the runs of some methods only
    python benchmarks/learning.py --remaining the runs that are still to be made, one a line; nothing is started
    python benchmarks/learning.py --summary   only read the runs that are finished; with --figure FILE, draw them
    python benchmarks/learning.py --quick     one very short run per method, random weights: that it runs; a minute

What is kept of a finished run, `run.json` and `evaluations.jsonl`, is copied to benchmarks/results/learning/runs/ as
soon as it ends, to be committed, and so is the model that it started from; what is there is not made again, so the
experiment can be spread over days and machines, and it is refused where it was made under other settings than today's.
What fails is told at the end, with exit status 1; the rest is made. With --minutes M nothing is started after so long,
and what runs is stopped with its state saved. Once all runs are there, the table is written to
benchmarks/results/learning.json (learning_before.json is an older experiment, and says so).

Everything that could be chosen after a look at the results is fixed here instead: tasks, budget, seeds, and what is
called a run's score. All runs are shown. `apv`, `contextwm` and `prelar` start from models pre-trained on the sample
SSv2 set. The last line is JSON. docs/learning.md shows a kept result and says what it can and cannot say.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from kept_model import OtherModelError, check_one_model, is_model_kept, keep_model, place_model
from kept_record import check_alike, check_settings, is_kept, keep_files
from one_command import Workspace
from ordered_work import Step, as_far_as_it_goes, do_in_order
from planned_config import finetuning_config, pretraining_config

from ipv_bench.atomic_file import write_json
from ipv_bench.run_record import is_finished, read_jsonl, read_record
from reports.statistics.intervals import TABLE_RESAMPLES, interval

TASKS: dict[str, tuple[str, ...]] = {"dmc/cheetah_run": (), "dmc/walker_stand": ("reward.gain=0.1",)}
"""Task → what is set beside the preset for methods that imagine. Rewards of walker_stand are some ten times those of
cheetah_run while both are random, and the weights of entropy and bonus are fixed numbers beside them."""
PRETRAINED = ("apv", "contextwm", "prelar")
MODEL_FREE = ("drqv2",)
METHODS = ("dreamerv2", *PRETRAINED, *MODEL_FREE, "isodream")
SEEDS = (0, 1, 2, 3, 4)
"""Those of the frozen protocol `v1/cpu-night`. The runs on cheetah_run follow it, those of `drqv2` excepted: it has an
update after every step and none before the first, where the protocol fixes every third and 100 (`sweep protocol:...`
makes it so). Those on walker_stand follow it too, their `reward.gain` being told beside the entry."""
PRESET = "tiny"
NUM_VIDEOS = 64
RESULT = Path(__file__).parent / "results" / "learning.json"
"""Written once no run of any method is missing; see `keep`."""
KEPT_RUNS = Path(__file__).parent / "results" / "learning"
"""Its `runs/` holds the record and the evaluations of each finished run; see `keep_run`."""
KEPT_FILES = ("run.json", "evaluations.jsonl")
MODEL_FILES = ("metrics.jsonl", "run.json")
"""What is kept of a pre-trained model beside its weights."""
RUN_MINUTES = 15.0
"""On the clock, for the estimate of a method that has no kept runs."""
LATE_SHARE = 1 / 3
"""A run's score: the mean of all episodes of the evaluations in the last third of its environment steps. One evaluation
of so small an agent is a lottery: neighbouring ones differ by a factor of ten."""
QUICK = (
    "training.env_steps=700", "training.prefill=100", "training.pretrain_updates=2", "training.train_every=25",
    "env.time_limit=200", "env.action_repeat=2", "replay.batch_size=4", "evaluation.every=0", "evaluation.episodes=1",
    "evaluation.random_episodes=5", "envs.workers=0", "training.tensorboard=false",
)  # fmt: skip


def main() -> None:
    """Run, or go on with, the experiment; then print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs-learning"), help="workspace of the experiment")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--minutes", type=float, help="stop after so long; run it again to go on")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="only runs of these")
    parser.add_argument("--quick", action="store_true", help="one very short run per method")
    parser.add_argument("--summary", action="store_true", help="only read what is there")
    parser.add_argument("--remaining", action="store_true", help="only list the runs that are not there")
    parser.add_argument("--figure", type=Path, help="draw the scores to this file")
    options = parser.parse_args()
    if options.quick:
        with tempfile.TemporaryDirectory() as folder:
            quick(Path(folder))
            print(json.dumps({"benchmark": "learning", "quick": True, **summary(Path(folder))}))
        return
    if options.remaining:
        check_kept()
        for run in remaining(options.methods):
            print(run_path(*run))
        print(told_hours([method for _, method, _ in remaining(options.methods)]))
        return
    status = 0
    if not options.summary:
        print(told_hours([method for _, method, _ in remaining(options.methods)]), file=sys.stderr)
        space = Workspace(options.out, options.minutes)
        status = as_far_as_it_goes(partial(experiment, space, options.jobs, options.methods))
    check_kept()  # of --summary too: runs of other settings are not this experiment's
    found = summary(KEPT_RUNS)
    missing = [str(run_path(*run)) for run in remaining()]
    if missing:
        print(f"{len(missing)} of {len(SEEDS) * len(TASKS) * len(METHODS)} runs are missing: {', '.join(missing[:5])}"
              f"{', …' if missing[5:] else ''}", file=sys.stderr)  # fmt: skip
    else:
        keep(found, KEPT_RUNS)
    if options.figure:
        draw(found["tasks"], options.figure)
    print(json.dumps({"benchmark": "learning", "preset": PRESET, "missing": missing, **found}))
    sys.exit(status)


def quick(out: Path) -> None:
    """One run per method, too short to learn anything, in this process."""
    from models.finetune import finetune

    task = next(iter(TASKS))
    for method in METHODS:
        overrides = [f"method={method}", *QUICK]
        init = "none" if method in PRETRAINED else None
        run = out / run_path(task, method, 0)
        finetune(PRESET, task, overrides=overrides, init=init, run=run)


def experiment(space: Workspace, jobs: int, methods: Sequence[str]) -> None:
    """Sample data, pre-trained models, and the runs: by the commands that a person would type.

    Raises:
        SystemExit: kept runs are of other settings than today's.
        FailedError: some of it failed; all that does not need it was made.
        OutOfTimeError: the minutes are over.
    """
    check_kept()
    for method in PRETRAINED:
        share_model(space, method)
    do_in_order(jobs, steps_of(space, methods))


def share_model(space: Workspace, method: str) -> None:
    """A kept model into the workspace; or the one there is kept, if all kept runs of the method started from it."""
    kept, here = KEPT_RUNS / model_path(method), space.folder / model_path(method)
    if is_model_kept(kept):
        place_model(kept, here)
        return
    runs = [path for path in finished_runs(KEPT_RUNS) if path.parts[-2] == method]
    if runs and is_finished(here):
        with contextlib.suppress(OtherModelError):
            check_one_model(here, runs)
            keep_model(here, kept, MODEL_FILES)


def steps_of(space: Workspace, methods: Sequence[str]) -> list[Step]:
    """The runs that are not kept, in their order; a model before the first that starts from it."""
    videos = Step(partial(sample_videos, space), name="sample videos")
    models: dict[str, Step] = {}
    steps: list[Step] = []
    for task, method, seed in remaining(methods):
        if method in PRETRAINED and method not in models:
            models[method] = Step(partial(pretrain, space, method), (videos,), str(model_path(method)))
            steps += [*(() if videos in steps else (videos,)), models[method]]
        after = (models[method],) if method in models else ()
        steps.append(Step(partial(one_run, space, task, method, seed), after, str(run_path(task, method, seed))))
    return steps


def sample_videos(space: Workspace) -> None:
    """The sample release and its shard set."""
    if not (space.folder / "data/shards/ssv2/manifest.json").exists():
        space.command("sample", "data/raw/ssv2", "--dataset", "ssv2", "--videos", str(NUM_VIDEOS))
        space.command("prepare", "ssv2")


def pretrain(space: Workspace, method: str) -> None:
    """Make, or go on with, the model that a method's runs start from, and keep it.

    Raises:
        OtherModelError: kept runs, beside which more are to be made, started from another.
    """
    path = model_path(method)
    space.command("pretrain", "--preset", PRESET, "--set", f"method={method}")
    lines = {task for task, name, _ in remaining() if name == method}
    runs = [KEPT_RUNS / run_path(task, method, seed) for task in sorted(lines) for seed in SEEDS]
    check_one_model(space.folder / path, [folder for folder in runs if is_kept(folder, KEPT_FILES)])
    if not is_model_kept(KEPT_RUNS / path):
        keep_model(space.folder / path, KEPT_RUNS / path, MODEL_FILES)


def run_changes(task: str, method: str) -> tuple[str, ...]:
    """Overrides of a method's runs on a task."""
    return (f"method={method}", *(() if method in MODEL_FREE else TASKS[task]))


def check_kept() -> None:
    """Before anything is begun: what is kept was made under today's settings.

    Raises:
        SystemExit: it was not; says which, in what, and what to do.
    """
    for method in METHODS:
        model = KEPT_RUNS / model_path(method)
        if method in PRETRAINED and is_kept(model, ["run.json"]):
            check_settings(model, pretraining_config(PRESET, (f"method={method}",)))
        for task in TASKS:
            for folder in (KEPT_RUNS / run_path(task, method, seed) for seed in SEEDS):
                if is_kept(folder, KEPT_FILES):
                    check_settings(folder, finetuning_config(PRESET, task, run_changes(task, method)))


def minutes_of(method: str) -> float:
    """Minutes on the clock of a run: the mean of the method's kept ones, else a guess."""
    runs = [path for path in finished_runs(KEPT_RUNS) if path.parts[-2] == method]
    return float(np.mean([record_wall(path) for path in runs])) / 60 if runs else RUN_MINUTES


def told_hours(methods: Sequence[str]) -> str:
    """How long runs of these methods take, a run each, in a line."""
    each = {method: minutes_of(method) for method in set(methods)}
    hours = sum(each[method] for method in methods) / 60
    return f"{len(methods)} runs are left to be made: {hours:.1f} hours on the clock, one at a time"


def remaining(methods: Sequence[str] = METHODS) -> list[tuple[str, str, int]]:
    """Task, method and seed of the runs of `methods` that are not among the kept ones.

    Seed by seed, so that an experiment that is cut short has equally many runs of each method.
    """
    wanted = [(task, method, seed) for seed in SEEDS for task in TASKS for method in methods]
    return [run for run in wanted if not is_kept(KEPT_RUNS / run_path(*run), KEPT_FILES)]


def one_run(space: Workspace, task: str, method: str, seed: int) -> None:
    """Make, or go on with, one run, and keep what is left of it.

    The command is given for a finished one too: it has nothing to do then, or says that the settings were others.
    """
    space.command(
        "finetune", "--preset", PRESET, "--task", task, "--seed", str(seed),
        *(word for override in run_changes(task, method) for word in ("--set", override)),
        "--run", str(run_path(task, method, seed)),
        *(("--init", str(model_path(method))) if method in PRETRAINED else ()),
    )  # fmt: skip
    keep_run(space.folder, run_path(task, method, seed))


def keep_run(out: Path, path: Path, kept: Path = KEPT_RUNS) -> None:
    """Copy a finished run's record and evaluations to where they are kept; the record last: it says all is there."""
    if read_record(out / path).status != "finished":
        return
    keep_files(out / path, kept / path, KEPT_FILES)


def run_path(task: str, method: str, seed: int) -> Path:
    """Where a run lies inside the workspace."""
    return Path("runs") / task / method / f"seed{seed}"


def model_path(method: str) -> Path:
    """Where a pre-trained model lies inside the workspace."""
    return Path("runs/pretrain/ssv2") / method / "seed0"


def run_score(folder: Path) -> float:
    """Mean return of the episodes of the late evaluations (see `LATE_SHARE`)."""
    lines = list(read_jsonl(folder / "evaluations.jsonl"))
    last = max(line["env_steps"] for line in lines)
    late = [line["returns"] for line in lines if line["env_steps"] > (1 - LATE_SHARE) * last]
    return float(np.mean(np.concatenate(late)))


def summary(out: Path) -> dict[str, Any]:
    """Scores of the finished runs, their mean with a 95 % interval, and the random policy's; prints a table."""
    found: dict[str, Any] = {}
    for task in sorted({str(path.relative_to(out / "runs").parents[1]) for path in finished_runs(out)}):
        random_returns: dict[int, float] = {}  # by the episode's seed: runs of one seed played the same episodes
        rows: dict[str, Any] = {}
        for method in METHODS:
            folders = [path for path in finished_runs(out) if path.parts[-4:-1] == (*task.split("/"), method)]
            check_alike(folders, same_model=True)
            for path in folders:
                random_returns |= random_policy(path)
            if folders:
                rows[method] = with_interval([run_score(path) for path in folders])
        rows["random"] = with_interval(list(random_returns.values()))
        found[task] = rows
        for method, row in rows.items():
            seeds = "  ".join(f"{score:.1f}" for score in row["scores"]) if method != "random" else ""
            print(f"{task:20} {method:10} mean {row['mean']:6.1f}  {ends(row)}"
                  f"n={row['n']:<3} {seeds}", file=sys.stderr)  # fmt: skip
    return {"tasks": found, **times(finished_runs(out))}


def finished_runs(out: Path) -> list[Path]:
    """Folders of the finished fine-tuning runs."""
    paths = sorted((out / "runs").glob("*/*/*/seed*"))
    return [path for path in paths if path.parts[-4] != "pretrain" and is_kept(path, KEPT_FILES)]


def random_policy(folder: Path) -> dict[int, float]:
    """Returns of the random policy in a run's own settings, by the episode's seed."""
    played = (read_record(folder).model_extra or {})["random_policy"]
    return dict(zip(played["seeds"], played["returns"], strict=True))


def with_interval(scores: list[float]) -> dict[str, Any]:
    """Mean and its 95 % bootstrap interval over runs (over episodes for the random policy); one has no interval."""
    found = interval(np.asarray(scores)[:, None], "mean", TABLE_RESAMPLES, np.random.default_rng(0))
    kept = [round(score, 2) for score in scores] if len(scores) <= len(SEEDS) else []
    low, high = (float(found.low), float(found.high)) if len(scores) > 1 else (None, None)
    return {"mean": float(found.point), "low": low, "high": high, "n": len(scores), "scores": kept}


def ends(row: dict[str, Any]) -> str:
    """The interval of a row for people, where it has one."""
    return "" if row["low"] is None else f"95 % [{row['low']:6.1f}, {row['high']:6.1f}]  "


def keep(found: dict[str, Any], out: Path) -> None:
    """Write a complete experiment beside the other kept results, with the machines that made it."""
    runs = finished_runs(out)
    machines = distinct([read_record(path).hardware for path in runs])
    packages = distinct([read_record(path).packages for path in runs])
    write_json(
        RESULT,
        {"command": "python benchmarks/learning.py", "preset": PRESET, "late_share": LATE_SHARE,
         "hardware": machines, "packages": packages, **found},
    )  # fmt: skip


def times(runs: Sequence[Path]) -> dict[str, Any]:
    """Time on the clock of these runs, without pre-training: quickest and slowest in minutes, the sum in hours.

    Runs that were made side by side count each for itself.
    """
    seconds = [record_wall(path) for path in runs]
    if not seconds:
        return {}
    minutes = [round(min(seconds) / 60, 1), round(max(seconds) / 60, 1)]
    return {"run_minutes": minutes, "run_hours": round(sum(seconds) / 3600, 2)}


def distinct(values: Sequence[Any]) -> list[Any]:
    """Each once, in order: runs may be spread over machines."""
    return [value for place, value in enumerate(values) if value not in values[:place]]


def record_wall(folder: Path) -> float:
    """Seconds that a run took, interrupted parts included."""
    return float(list(read_jsonl(folder / "evaluations.jsonl"))[-1]["wall_seconds"])


def draw(tasks: dict[str, Any], path: Path) -> None:
    """Each run's score as a dot, each method's mean with its interval, and the random policy's as a band."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(tasks), figsize=(5 * len(tasks), 3.2), squeeze=False, layout="constrained")
    for panel, (task, rows) in zip(panels[0], tasks.items(), strict=True):
        random = rows["random"]
        panel.axhspan(
            random["low"],
            random["high"],
            color="0.8",
            label="random policy (mean, 95 %); dots: runs, squares: their mean, 95 %",
        )
        for place, method in enumerate(method for method in METHODS if method in rows):
            row = rows[method]
            panel.plot([place] * len(row["scores"]), row["scores"], "o", color=f"C{place}", alpha=0.4)
            error = [[row["mean"] - row["low"]], [row["high"] - row["mean"]]] if row["low"] is not None else None
            panel.errorbar(place + 0.15, row["mean"], error, fmt="s", color=f"C{place}", capsize=3)
        names = [f"{method}\nn={rows[method]['n']}" for method in METHODS if method in rows]
        panel.set_xticks(range(len(names)), names, fontsize="small")
        panel.set_title(task)
        panel.set_ylabel("return")
        panel.set_ylim(bottom=0)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", fontsize="small")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
