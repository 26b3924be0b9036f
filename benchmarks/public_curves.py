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

import numpy as np
from kept_record import check_alike, check_settings, is_kept, keep_files
from learning import (
    KEPT_FILES,
    KEPT_RUNS,
    PRESET,
    QUICK,
    SEEDS,
    ends,
    random_policy,
    run_path,
    run_score,
    told_hours,
    with_interval,
)
from one_command import Workspace
from ordered_work import as_far_as_it_goes, side_by_side
from planned_config import finetuning_config

from ipv_bench.cli import run

METHOD = "dreamerv2"
SHARED = ("dmc/cheetah_run", "dmc/walker_stand")
"""Tasks whose runs benchmarks/learning.py makes."""
OWN = ("dmc/walker_walk", "dmc/cartpole_swingup")
RESULTS = Path(__file__).parent / "results" / "public_curves"
CONFIG = Path(__file__).with_name("public_curves.yaml")
SCORED_AT = (20_000, 22_000, 24_000, 26_000, 28_000)
"""Frames of the evaluations that are averaged to a score of ours: those in the last third of a run's steps. The
published curves are read at the same frames, on the straight lines between their points, which are 20,000 frames apart:
on a rising curve their one point in the window, its first, would be too low beside a mean over all of it."""


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
        check_kept()
        for task, seed in remaining():
            print(run_path(task, METHOD, seed))
        print(told_hours([METHOD] * len(remaining())))
        return
    status = 0
    if not (options.summary or options.report):
        print(told_hours([METHOD] * len(remaining())), file=sys.stderr)
        space = Workspace(options.out, options.minutes)
        status = as_far_as_it_goes(partial(experiment, space, options.jobs))
    if options.report:
        write_report(options.curves, options.report)
    missing = [str(run_path(task, METHOD, seed)) for task, seed in remaining()]
    if missing:
        print(f"{len(missing)} of {len(SEEDS) * len(OWN)} runs are missing", file=sys.stderr)
    print(json.dumps({"benchmark": "public_curves", "missing": missing, "tasks": summary(options.curves)}))
    sys.exit(status)


def quick(folder: Path) -> dict[str, Any]:
    """A run of one of our own tasks, too short to learn anything, in this process."""
    from models.finetune import finetune

    finetune(PRESET, OWN[0], overrides=[f"method={METHOD}", *QUICK], run=folder / "runs" / OWN[0] / METHOD / "seed0")
    return {"tasks": {OWN[0]: scores(folder, OWN[0])}}


def remaining() -> list[tuple[str, int]]:
    """Task and seed of this script's own runs that are not kept, seed by seed."""
    wanted = [(task, seed) for seed in SEEDS for task in OWN]
    return [one for one in wanted if not is_kept(RESULTS / run_path(one[0], METHOD, one[1]), KEPT_FILES)]


def check_kept() -> None:
    """Before anything is begun: what is kept was made under today's settings.

    Raises:
        SystemExit: it was not; says which, in what, and what to do.
    """
    for task in OWN:
        for folder in kept_runs(RESULTS, task):
            check_settings(folder, finetuning_config(PRESET, task, (f"method={METHOD}",)))


def experiment(space: Workspace, jobs: int) -> None:
    """The runs, by the command that a person would type.

    Raises:
        SystemExit: kept runs are of other settings than today's.
        FailedError: some of them failed; all others were made.
        OutOfTimeError: the minutes are over.
    """
    check_kept()
    works = {str(run_path(task, METHOD, seed)): partial(one_run, space, task, seed) for task, seed in remaining()}
    side_by_side(jobs, works)


def one_run(space: Workspace, task: str, seed: int) -> None:
    """Make, or go on with, one run, and keep what is left of it; a finished one of other settings is refused."""
    path = run_path(task, METHOD, seed)
    space.command(
        "finetune", "--preset", PRESET, "--task", task, "--seed", str(seed), "--set", f"method={METHOD}",
        "--run", str(path),
    )  # fmt: skip
    keep_files(space.folder / path, RESULTS / path, KEPT_FILES)


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
            print(f"{task:22} {name:10} mean {row['mean']:6.1f}  {ends(row)}"
                  f"n={row['n']}", file=sys.stderr)  # fmt: skip
    return found


def published(path: Path) -> list[float]:
    """Score of each published run by our rule: its mean at the frames of `SCORED_AT`, on the lines between its points.

    Raises:
        SystemExit: a run ends before them.
    """
    import pandas as pd

    found = []
    for seed, curve in pd.read_csv(path).sort_values("frame").groupby("seed"):
        if curve["frame"].iloc[0] > SCORED_AT[0] or curve["frame"].iloc[-1] < SCORED_AT[-1]:
            raise SystemExit(f"{path}: seed {seed} has no points on both sides of frames {SCORED_AT}")
        found.append(float(np.interp(SCORED_AT, curve["frame"], curve["episode_reward"]).mean()))
    return found


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
