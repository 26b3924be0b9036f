"""How many labelled videos does a pre-trained world model need, until it predicts what actions do?

    python benchmarks/label_efficiency.py             the whole experiment, resumable: run it again to go on
    python benchmarks/label_efficiency.py --remaining the runs that are still to be made, and the hours they will take
    python benchmarks/label_efficiency.py --summary   only read the runs that are kept; with --figure FILE, draw them
    python benchmarks/label_efficiency.py --measure   seconds of one update of each method, here and now: before the
                                                      first run, from which on they are fixed
    python benchmarks/label_efficiency.py --judge     only the judge: what it reads off true frames, and off others
    python benchmarks/label_efficiency.py --pilot     a small one with another seed, of which settings may be judged
    python benchmarks/label_efficiency.py --quick     a tiny one from nothing: that it runs, some two minutes

Videos of DMC Remastered without labels pre-train each method for equal CPU-seconds; N labelled ones of them then teach
it actions (`ipv-bench adapt`); frames of held-out videos are predicted open loop from real actions. What is kept of a
run (`run.json`, `result.json`) is copied to benchmarks/results/label_efficiency/runs/ as soon as it ends, to be
committed; a run that is there is not made again. With --minutes M the script stops after so long, and what is under way
is saved. Where no model heeds actions after two seeds the others are not made (label_efficiency_stop.py), but with
--go-on. docs/label_efficiency.md has the protocol, which was fixed before the first run. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from inverse_dynamics import action_r2
from label_efficiency_measure import check_times, measure
from label_efficiency_protocol import (
    FRAMES,
    JUDGE_VIDEOS,
    PILOT,
    QUICK,
    WHOLE,
    Scale,
    adapted_path,
    kept_runs,
    list_remaining,
    pretrained_path,
)
from label_efficiency_runs import (
    TrainingWorkspace,
    adapt,
    check_same_world,
    make_all_videos,
    pretrain,
    the_judge,
    videos_of,
)
from label_efficiency_stop import stop_rule, to_make
from label_efficiency_summary import check_kept, draw, summary
from label_efficiency_times import TIMES_FILE, Times, read_times
from ordered_work import Step, as_far_as_it_goes, do_in_order

from ipv_bench.atomic_file import with_nulls, write_json


def main() -> None:
    """Run, or go on with, the experiment; then print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs-label-efficiency"), help="workspace of the experiment")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--minutes", type=float, help="stop after so long; run it again to go on")
    parser.add_argument("--quick", action="store_true", help="a tiny one, in a folder that is removed")
    parser.add_argument("--pilot", action="store_true", help="a small one, with another seed")
    parser.add_argument("--summary", action="store_true", help="only read what is there")
    parser.add_argument("--remaining", action="store_true", help="only list the runs that are not there")
    parser.add_argument("--measure", action="store_true", help="only time an update of each method")
    parser.add_argument("--judge", action="store_true", help="only train the judge, and measure what it reads")
    parser.add_argument("--go-on", action="store_true", help="make the other seeds although the stop rule says no")
    parser.add_argument("--figure", type=Path, help="draw the measures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.measure:
        found_times = measure()
        if next(kept_runs(WHOLE), None) is None:
            write_json(TIMES_FILE, found_times._asdict())
        else:
            print(f"runs of the protocol are kept: {TIMES_FILE} is left as it is", file=sys.stderr)
        print(json.dumps({"benchmark": "label_efficiency", "update_seconds": found_times._asdict()}))
        return
    if options.quick:
        with tempfile.TemporaryDirectory() as folder:
            scale = replace(QUICK, kept=Path(folder) / "kept")
            experiment(scale, TrainingWorkspace(Path(folder), None), 1)
            print(json.dumps({"benchmark": "label_efficiency", "quick": True, **summary(scale)}))
        return
    scale = PILOT if options.pilot else WHOLE
    if options.remaining:
        rule = stop_rule(scale)
        if rule.asked:
            print(rule.sentence(scale))
        list_remaining(scale, to_make(scale, options.go_on), read_times())
        return
    if options.judge:
        heard = measure_judge(scale, TrainingWorkspace(options.out / scale.kept.name, options.minutes))
        print(json.dumps({"benchmark": "label_efficiency", "pilot": options.pilot, "judge": heard}))
        return
    status = 0
    if not options.summary:
        check_times(read_times())
        space = TrainingWorkspace(options.out / scale.kept.name, options.minutes)
        status = as_far_as_it_goes(partial(experiment, scale, space, options.jobs, options.go_on))
    found = summary(scale)
    if options.figure:
        draw(scale, found["rows"], found["action_r2_of_true_frames"], options.figure)
    print(json.dumps(with_nulls({"benchmark": "label_efficiency", "pilot": options.pilot, **found}), allow_nan=False))
    sys.exit(status)


def experiment(scale: Scale, space: TrainingWorkspace, jobs: int, go_on: bool = False) -> None:
    """Videos, judge, pre-trained models, and the runs: by the commands that a person would type.

    Args:
        scale: how much of everything.
        space: where.
        jobs: runs side by side.
        go_on: past the stop rule.

    Raises:
        OutOfTimeError: the minutes are over.
        FailedError: some of it failed; all that does not need it was made. The seeds after those that the stop rule
            looks at need them.
        SystemExit: what is kept is not of this protocol, or not of this workspace's videos and judge.
    """
    check_kept(scale)
    if not to_make(scale, go_on):
        return
    make_all_videos(scale, space)
    the_judge(scale, space)  # before the runs, which read it
    check_same_world(scale, space)
    times = read_times()
    for seeds in (scale.seeds[: scale.stop_after], scale.seeds[scale.stop_after :]):
        do_in_order(jobs, steps_of([run for run in to_make(scale, go_on) if run[2] in seeds], scale, space, times))


def steps_of(
    runs: Sequence[tuple[str, int, int]], scale: Scale, space: TrainingWorkspace, times: Times
) -> list[Step]:  # fmt: skip
    """The runs in their order, seed by seed: what is cut short has whole seeds to show. Each model before the first
    run that starts from it; meanwhile other work is begun."""
    steps: list[Step] = []
    parents: dict[Path, Step] = {}
    for name, labels, seed in runs:
        path = pretrained_path(name, seed)
        if path not in parents:
            parents[path] = Step(partial(pretrain, scale, space, path, name, seed, times), name=str(path))
            steps.append(parents[path])
        work = partial(adapt, scale, space, name, labels, seed)
        steps.append(Step(work, (parents[path],), str(adapted_path(name, labels, seed))))
    return steps


def measure_judge(scale: Scale, space: TrainingWorkspace) -> dict[str, float]:
    """What the judge reads off true frames of held-out videos, and what it must not read; kept with the runs.

    Raises:
        OutOfTimeError: the minutes are over.
    """
    make_all_videos(scale, space)
    judge, batch = the_judge(scale, space), videos_of(space, "held-out", scale.held_out, 0, FRAMES)
    still = np.repeat(batch.frames[:, :1], FRAMES, 1)
    found = {
        "judge_updates": scale.judge_updates,
        "training_videos": min(JUDGE_VIDEOS, scale.videos),
        "true_frames": action_r2(judge, batch.frames, batch.action),
        "another_videos_actions": action_r2(judge, batch.frames, np.roll(batch.action, 1, 0)),
        "still_frames": action_r2(judge, still, batch.action),
    }
    write_json(scale.kept / "judge.json", found)
    return found


if __name__ == "__main__":
    main()
