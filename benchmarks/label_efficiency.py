"""How many labelled videos does a pre-trained world model need, until it predicts what actions do?

    python benchmarks/label_efficiency.py             the whole experiment, resumable: run it again to go on
    python benchmarks/label_efficiency.py --remaining the runs that are still to be made, and the hours they will take
    python benchmarks/label_efficiency.py --summary   only read the runs that are kept; with --figure FILE, draw them
    python benchmarks/label_efficiency.py --measure   seconds of one update of each method, here and now
    python benchmarks/label_efficiency.py --judge     only the judge: what it reads off true frames, and off others
    python benchmarks/label_efficiency.py --pilot     a small one with another seed, of which settings may be judged
    python benchmarks/label_efficiency.py --quick     a tiny one from nothing: that it runs, some two minutes

Videos of DMC Remastered without labels pre-train each method for equal CPU-seconds; N labelled ones of them then teach
it actions (`ipv-bench adapt`); frames of held-out videos are predicted open loop from real actions. What is kept of a
run (`run.json`, `result.json`) is copied to benchmarks/results/label_efficiency/runs/ as soon as it ends, to be
committed; a run that is there is not made again. With --minutes M the script stops after so long, and what is under way
is saved. docs/label_efficiency.md has the protocol, which was fixed before the first run. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from inverse_dynamics import action_r2
from label_efficiency_protocol import (
    AHEAD,
    COMMON,
    FRAMES,
    JUDGE_VIDEOS,
    LEARNERS,
    PILOT,
    PRESET,
    QUICK,
    SEEN,
    WHOLE,
    Scale,
    list_remaining,
    pretrained_path,
    remaining,
)
from label_efficiency_runs import TrainingWorkspace, adapt, make_all_videos, pretrain, the_judge, videos_of
from label_efficiency_summary import draw, summary
from one_command import OutOfTimeError
from paired_timing import machine

from ipv_bench.atomic_file import write_json
from models.pretrain import build_training


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
    parser.add_argument("--figure", type=Path, help="draw the measures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.measure:
        print(json.dumps({"benchmark": "label_efficiency", "update_seconds": measure(), "machine": machine()}))
        return
    if options.quick:
        with tempfile.TemporaryDirectory() as folder:
            scale = replace(QUICK, kept=Path(folder) / "kept")
            experiment(scale, TrainingWorkspace(Path(folder), None), 1)
            print(json.dumps({"benchmark": "label_efficiency", "quick": True, **summary(scale)}))
        return
    scale = PILOT if options.pilot else WHOLE
    if options.remaining:
        list_remaining(scale)
        return
    if options.judge:
        found = measure_judge(scale, TrainingWorkspace(options.out / scale.kept.name, options.minutes))
        print(json.dumps({"benchmark": "label_efficiency", "pilot": options.pilot, "judge": found}))
        return
    if not options.summary:
        try:
            experiment(scale, TrainingWorkspace(options.out / scale.kept.name, options.minutes), options.jobs)
        except OutOfTimeError as why:
            print(f"{why}; the same command goes on", file=sys.stderr)
    found = summary(scale)
    if options.figure:
        draw(scale, found["rows"], found["action_r2_of_true_frames"], options.figure)
    print(json.dumps({"benchmark": "label_efficiency", "pilot": options.pilot, **found}))


def experiment(scale: Scale, space: TrainingWorkspace, jobs: int) -> None:
    """Videos, judge, pre-trained models, and the runs: by the commands that a person would type.

    Raises:
        OutOfTimeError: the minutes are over.
    """
    runs = remaining(scale)
    if not runs:
        return
    make_all_videos(scale, space)
    the_judge(scale, space)  # before the runs, which read it
    parents: dict[Path, Future[None]] = {}
    pool = ThreadPoolExecutor(jobs)
    try:
        adapted = []
        for name, labels, seed in runs:
            path = pretrained_path(name, seed)
            if path not in parents:  # as late as it can be: what is cut short has whole runs to show
                parents[path] = pool.submit(pretrain, scale, space, path, name, seed)
            adapted.append(pool.submit(after, parents[path], adapt, scale, space, name, labels, seed))
        for future in as_completed([*parents.values(), *adapted]):
            future.result()
    finally:  # what has not begun is not begun when one fails, or somebody has enough
        pool.shutdown(wait=True, cancel_futures=True)


def after(parent: Future[None], work: Callable[..., None], *arguments: Any) -> None:
    """Do something once the model that it starts from is there: that was begun before, so nobody waits for ever."""
    parent.result()
    work(*arguments)


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


def measure() -> dict[str, float]:
    """CPU-seconds of a pre-training update at the benchmark's settings, on random images, one thread: medians of five.

    The numbers in `LEARNERS` were measured so.
    """
    generator, found = torch.Generator().manual_seed(0), {}
    images = torch.randint(256, (8, SEEN + AHEAD, 64, 64, 3), dtype=torch.uint8, generator=generator)
    frames = images.flatten(0, 1)
    for name, learner in LEARNERS.items():
        if not learner.update_seconds:
            continue
        changes = ["training.threads=1", "training.device=cpu", f"method={learner.method}", *COMMON]
        if learner.features_seconds:
            training = build_training(PRESET, [*changes, "features.kind=own", "features.own.updates=1"])
            found[f"{name}_features"] = _median_seconds(partial(_fit_again, training.model.features, frames))
        else:
            training = build_training(PRESET, changes)
        found[name] = _median_seconds(partial(training.step, images))
    return found


def _fit_again(features: Any, frames: torch.Tensor) -> None:
    """One update of a masked autoencoder, as if it had never been trained."""
    features.fitted.fill_(0)
    features.fit(lambda number, count: frames[:count], 0)


def _median_seconds(update: Callable[[], Any]) -> float:
    times = []
    for _ in range(6):
        before = time.process_time()
        update()
        times.append(time.process_time() - before)
    return round(float(np.median(times[1:])), 4)


if __name__ == "__main__":
    main()
