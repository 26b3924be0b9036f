"""Learning beside public curves: DreamerV2 of the preset `tiny` on four tasks, and what DrQ-v2's authors published.

    python benchmarks/public_curves.py              the runs that are not kept yet, resumable: run it again to go on
    python benchmarks/public_curves.py --remaining  the runs that are still to be made; nothing is started
    python benchmarks/public_curves.py --curves DIR --report OUT     the figure, beside DIR/dmc_<task>.csv
    python benchmarks/public_curves.py --quick      the shortest run of a task that is this script's own: that it runs

`cheetah_run` and `walker_stand` are the runs of benchmarks/learning.py. `walker_walk` and `cartpole_swingup` are made
here, five seeds each, with the preset as it is: nothing was tried out on them with these settings, and all runs are
shown. The published curves are the files `curves/dmc_<task>.csv` of DrQ-v2's repository (github.com/facebookresearch/
drqv2, MIT); they are not part of this one. What differs stands in the figure's caption (public_curves.yaml). Record and
evaluations of each finished run go to benchmarks/results/public_curves/runs/, to be committed. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kept_record import check_alike, is_kept, keep_files
from learning import KEPT_FILES, KEPT_RUNS, PRESET, QUICK, SEEDS, random_policy, run_path, run_score, with_interval
from one_command import OutOfTimeError, command, deadline, side_by_side

from ipv_bench.cli import run

METHOD = "dreamerv2"
SHARED = ("dmc/cheetah_run", "dmc/walker_stand")
"""Tasks whose runs benchmarks/learning.py makes."""
OWN = ("dmc/walker_walk", "dmc/cartpole_swingup")
RESULTS = Path(__file__).parent / "results" / "public_curves"
CONFIG = Path(__file__).with_name("public_curves.yaml")
WINDOW = (18_700, 28_000)
"""Frames over which the published curves are averaged: those of a score of ours, the last third of a run's steps."""


def main() -> None:
    """Run, or go on with, the experiment; then print its table and draw its figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs-public-curves"), help="workspace of the experiment")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--minutes", type=float, help="stop after so long; run it again to go on")
    parser.add_argument("--remaining", action="store_true", help="only list the runs that are not there")
    parser.add_argument("--summary", action="store_true", help="only read what is there")
    parser.add_argument("--curves", type=Path, help="folder of DrQ-v2's published curves")
    parser.add_argument("--report", type=Path, help="write the report with the figure to this folder")
    parser.add_argument("--quick", action="store_true", help="one very short run")
    options = parser.parse_args()
    if options.quick:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps({"benchmark": "public_curves", "quick": True, **quick(Path(folder))}))
        return
    if options.remaining:
        for task, seed in remaining():
            print(run_path(task, METHOD, seed))
        return
    if not (options.summary or options.report):
        try:
            experiment(options.out, options.jobs, options.minutes)
        except OutOfTimeError as why:
            print(f"{why}; the same command goes on", file=sys.stderr)
    if options.report:
        write_report(options.curves, options.report)
    print(json.dumps({"benchmark": "public_curves", "tasks": summary(options.curves)}))


def quick(folder: Path) -> dict[str, Any]:
    """A run of one of our own tasks, too short to learn anything, in this process."""
    from models.finetune import finetune

    finetune(PRESET, OWN[0], overrides=[f"method={METHOD}", *QUICK], run=folder / "runs" / OWN[0] / METHOD / "seed0")
    return {"tasks": {OWN[0]: scores(folder, OWN[0])}}


def remaining() -> list[tuple[str, int]]:
    """Task and seed of this script's own runs that are not kept, seed by seed."""
    wanted = [(task, seed) for seed in SEEDS for task in OWN]
    return [one for one in wanted if not is_kept(RESULTS / run_path(one[0], METHOD, one[1]), KEPT_FILES)]


def experiment(out: Path, jobs: int, minutes: float | None) -> None:
    """The runs, by the command that a person would type.

    Raises:
        OutOfTimeError: the minutes are over.
    """
    out.mkdir(parents=True, exist_ok=True)
    end = deadline(minutes)
    side_by_side(jobs, [partial(one_run, out, task, seed, end) for task, seed in remaining()])


def one_run(out: Path, task: str, seed: int, end: float | None) -> None:
    """Make, or go on with, one run, and keep what is left of it; a finished one of other settings is refused."""
    path = run_path(task, METHOD, seed)
    command(
        out, "finetune", "--preset", PRESET, "--task", task, "--seed", str(seed), "--set", f"method={METHOD}",
        "--run", str(path), "--quiet", end=end,
    )  # fmt: skip
    keep_files(out / path, RESULTS / path, KEPT_FILES)


def kept_runs(folder: Path, task: str) -> list[Path]:
    """The kept runs of a task."""
    found = [folder / run_path(task, METHOD, seed) for seed in SEEDS]
    kept = [path for path in found if is_kept(path, KEPT_FILES)]
    check_alike(kept)
    return kept


def scores(folder: Path, task: str) -> dict[str, Any]:
    """Scores of the kept runs of a task with their interval, and the random policy's in their settings."""
    paths = kept_runs(folder, task)
    if not paths:
        return {}
    random: dict[int, float] = {}
    for path in paths:
        random |= random_policy(path)
    return {"ours": with_interval([run_score(path) for path in paths]), "random": with_interval(list(random.values()))}


def summary(curves: Path | None) -> dict[str, Mapping[str, Any]]:
    """Of each task: our scores, the random policy's, and the published ones over the same frames; prints a table."""
    found: dict[str, Mapping[str, Any]] = {}
    for task in (*SHARED, *OWN):
        rows = scores(KEPT_RUNS if task in SHARED else RESULTS, task)
        if curves is not None:
            rows["published"] = with_interval(published(curves / f"dmc_{task.rpartition('/')[2]}.csv"))
        found[task] = rows
        for name, row in rows.items():
            print(f"{task:22} {name:10} mean {row['mean']:6.1f}  95 % [{row['low']:6.1f}, {row['high']:6.1f}]  "
                  f"n={row['n']}", file=sys.stderr)  # fmt: skip
    return found


def published(path: Path) -> list[float]:
    """Mean return of each published run over the frames of `WINDOW`."""
    import pandas as pd

    table = pd.read_csv(path)
    seen = table[table["frame"].between(*WINDOW)]
    return [float(score) for score in seen.groupby("seed")["episode_reward"].mean()]


def write_report(curves: Path | None, out: Path) -> None:
    """The figure by `ipv-bench report`: our runs, and the published curves where their folder is given."""
    files = [] if curves is None else [str(curves / f"dmc_{task.rpartition('/')[2]}.csv") for task in (*SHARED, *OWN)]
    ours = [str(path.parent) for folder, tasks in ((KEPT_RUNS, SHARED), (RESULTS, OWN)) for task in tasks
            for path in kept_runs(folder, task)[:1]]  # fmt: skip
    status = run(["report", *ours, *files, "--config", str(CONFIG), "--figures", "public_curves", "--out", str(out)])
    if status:
        raise SystemExit(status)


if __name__ == "__main__":
    main()
