"""How many labelled videos does a pre-trained world model need, until it predicts what actions do?

    python benchmarks/label_efficiency.py             the whole experiment, resumable: run it again to go on
    python benchmarks/label_efficiency.py --remaining the runs that are still to be made, and the hours they will take
    python benchmarks/label_efficiency.py --summary   only read the runs that are kept; with --figure FILE, draw them
    python benchmarks/label_efficiency.py --measure   seconds of one update of each method, here and now
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
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from inverse_dynamics import BEFORE, InverseDynamics, action_r2, train_judge
from paired_timing import machine
from safetensors.torch import load_file, save_file

from ipv_bench.atomic_file import write_json
from ipv_bench.run_record import read_record
from ipv_bench.segments import open_segments
from models.adapting.config import adapt_config_class
from models.adapting.labelled_training import LabelledBatch
from models.adapting.validation import validate_actions
from models.analysis.loaded_model import open_models
from models.latent_actions.measure import Labels, LatentActionModel, measure_latent_actions
from models.methods.base import adaptation_of, find_method
from models.metrics.latent_actions import latent_action_report
from models.metrics.ratios import copy_ratio, shuffle_ratio
from models.pretrain import build_training
from models.pretraining.config import ValidationConfig
from models.training.checkpoint import find_checkpoint, load_checkpoint, load_tensors
from reports.statistics.intervals import TABLE_RESAMPLES, interval

TASK, POLICY, FRAMES = "dmcr/cheetah_run", "smooth", 50
RECORD = ("env.render_profile=fast", "env.action_repeat=2", f"env.time_limit={2 * (FRAMES - 1)}")
"""All factors of the papers vary: floor, background, body, reflectance, light, camera, drawn anew for each video."""
PRESET = "tiny"
SEEN, AHEAD = 5, 10
"""Frames that are seen, and frames that are predicted from actions alone."""
COMMON = (f"data.length={SEEN + AHEAD}", "data.batch_size=8", "data.holdout=0", "validation.every=0",
          f"validation.warmup={SEEN}", "training.tensorboard=false")  # fmt: skip
"""Of every run. Nothing is validated on the way: the held-out videos are a set of their own."""


JUDGE_VIDEOS = 500
"""Labelled training videos that the judge learns from, at most."""


@dataclass(frozen=True)
class Learner:
    """A row of the comparison.

    Attributes:
        method: by the name of the toolkit.
        update_seconds: CPU-seconds of a pre-training update at these settings, of a quiet core (`--measure`); the
            number of updates follows from it. 0: this one is not pre-trained.
        adapt_seconds: of an update of `adapt`, for the estimate of hours alone.
        features_seconds: of an update of the masked autoencoder that is trained on the same videos first, and takes
            `FEATURES_SHARE` of the CPU-seconds; 0: there is none.
    """

    method: str
    update_seconds: float
    adapt_seconds: float
    features_seconds: float = 0.0


FEATURES_SHARE = 0.25
"""Share of the pre-training that goes to a method's features, where it needs some."""
LEARNERS = {
    "scratch": Learner("prelar", 0.0, 0.21),
    "apv": Learner("apv", 0.21, 0.23),
    "contextwm": Learner("contextwm", 0.27, 0.3),
    "prelar": Learner("prelar", 0.28, 0.21),
    "uwm": Learner("uwm", 0.6, 0.4, 0.28),
}
"""`scratch` is PreLAR's model with random weights."""


@dataclass(frozen=True)
class Scale:
    """How much of everything.

    Attributes:
        kept: where runs are kept.
        videos, held_out: to train on, and to judge by.
        pretrain_seconds: CPU-seconds of pre-training.
        labels: labelled sequences, N.
        adapt_updates: of `adapt`, whatever N.
        judge_updates: of the judge, on `JUDGE_VIDEOS` training videos with their labels.
        seeds: of the runs.
    """

    kept: Path
    videos: int
    held_out: int
    pretrain_seconds: int
    labels: tuple[int, ...]
    adapt_updates: int
    judge_updates: int
    seeds: tuple[int, ...]


RESULTS = Path(__file__).parent / "results" / "label_efficiency"
WHOLE = Scale(RESULTS / "runs", 2000, 200, 1200, (16, 64, 256, 1000), 1500, 3000, (1, 2, 3, 4, 5))
PILOT = Scale(RESULTS / "pilot", 120, 24, 40, (16, 64), 150, 300, (100,))
QUICK = Scale(Path(), 6, 3, 2, (4,), 3, 5, (200,))
READABLE = 0.1
"""The judge is heard only where it reads actions off true frames with an R² of at least this."""
MEASURES = {
    "error": f"error {AHEAD} frames ahead", "copy_ratio": "copy ratio", "shuffle_ratio": "shuffle ratio",
    "action_r2": "R² of actions read off the prediction",
}  # fmt: skip


class OutOfTimeError(Exception):
    """The minutes are over; everything is saved."""


class Workspace:
    """The folder in which the commands run, and until when.

    Args:
        folder: of data and runs.
        minutes: after which no command is started, and the running one is asked to stop; None: no limit.
    """

    def __init__(self, folder: Path, minutes: float | None) -> None:
        self.folder = folder
        self._end = None if minutes is None else time.monotonic() + 60 * minutes
        folder.mkdir(parents=True, exist_ok=True)

    def command(self, *arguments: str) -> float:
        """One `ipv-bench` command with one thread, gently; its CPU-seconds.

        Raises:
            OutOfTimeError: it was stopped, or not even started.
            CalledProcessError: it failed.
        """
        left = float("inf") if self._end is None else self._end - time.monotonic()
        if left <= 0:
            raise OutOfTimeError
        words = ["nice", "-n", "10", sys.executable, "-m", "ipv_bench", *arguments]
        child = subprocess.Popen(words, cwd=self.folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=sys.stderr)
        clock = None if self._end is None else threading.Timer(left, child.terminate)
        if clock is not None:
            clock.start()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if clock is not None:
            clock.cancel()
        seconds = usage.ru_utime + usage.ru_stime
        if child.returncode in (130, -15):
            raise StoppedError(seconds)
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, words)
        return seconds

    def train(self, path: Path, *arguments: str) -> None:
        """A command that makes the run `path`; its CPU-seconds are added to what it took before."""
        log = self.folder / "cpu" / f"{path}.json"
        before = json.loads(log.read_text())["cpu_seconds"] if log.is_file() else 0.0
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            seconds = self.command(*arguments, "--run", str(path))
        except StoppedError as stopped:
            write_json(log, {"cpu_seconds": round(before + stopped.seconds, 1)})
            raise
        write_json(log, {"cpu_seconds": round(before + seconds, 1)})

    def cpu_seconds(self, path: Path) -> float:
        """CPU-seconds of a run, with all its starts."""
        return float(json.loads((self.folder / "cpu" / f"{path}.json").read_text())["cpu_seconds"])

    def finished(self, path: Path) -> bool:
        """Whether a run is there and done."""
        return (self.folder / path / "run.json").is_file() and read_record(self.folder / path).status == "finished"


class StoppedError(OutOfTimeError):
    """A command was stopped because the minutes are over."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


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
    parser.add_argument("--figure", type=Path, help="draw the measures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.measure:
        print(json.dumps({"benchmark": "label_efficiency", "update_seconds": measure(), "machine": machine()}))
        return
    if options.quick:
        with tempfile.TemporaryDirectory() as folder:
            scale = replace(QUICK, kept=Path(folder) / "kept")
            experiment(scale, Workspace(Path(folder), None), 1)
            print(json.dumps({"benchmark": "label_efficiency", "quick": True, **summary(scale)}))
        return
    scale = PILOT if options.pilot else WHOLE
    if options.remaining:
        list_remaining(scale)
        return
    if not options.summary:
        try:
            experiment(scale, Workspace(options.out / scale.kept.name, options.minutes), options.jobs)
        except OutOfTimeError:
            print("the minutes are over; the same command goes on", file=sys.stderr)
    found = summary(scale)
    if options.figure:
        draw(scale, found["rows"], found["action_r2_of_true_frames"], options.figure)
    print(json.dumps({"benchmark": "label_efficiency", "pilot": options.pilot, **found}))


def pretraining_changes(learner: Learner, scale: Scale) -> list[str]:
    """Config of a pre-training: as many updates as the CPU-seconds allow."""
    seconds, changes = float(scale.pretrain_seconds), [*COMMON, f"method={learner.method}"]
    if learner.features_seconds:
        updates = max(1, round(FEATURES_SHARE * seconds / learner.features_seconds))
        seconds *= 1 - FEATURES_SHARE
        changes += ["features.kind=own", f"features.own.updates={updates}"]
    return [*changes, f"training.updates={max(1, round(seconds / learner.update_seconds))}"]


def pretrained_path(name: str, seed: int) -> Path:
    """Where the pre-trained model of a learner lies inside the workspace; `scratch` has the shape of PreLAR's."""
    return Path("runs") / "pretrain" / ("prelar" if name == "scratch" else name) / f"seed{seed}"


def adapted_path(name: str, labels: int, seed: int) -> Path:
    """Where an adapted model lies inside the workspace."""
    return Path("runs") / "adapt" / name / f"n{labels}" / f"seed{seed}"


def remaining(scale: Scale) -> list[tuple[str, int, int]]:
    """Learner, N and seed of the runs that are not kept.

    Seed by seed, so that an experiment that is cut short has equally many runs of each learner.
    """
    wanted = [(name, labels, seed) for seed in scale.seeds for labels in scale.labels for name in LEARNERS]
    return [run for run in wanted if not (scale.kept / adapted_path(*run) / "result.json").is_file()]


def list_remaining(scale: Scale) -> None:
    """Print the runs that are not kept, with the CPU-minutes that each will take, and their sum in hours."""
    runs, hours = remaining(scale), 0.0
    pretrained = {(name, seed) for name, _, seed in runs if LEARNERS[name].update_seconds}
    for name, seed in sorted(pretrained, key=lambda run: (run[1], run[0])):
        if not (scale.kept / pretrained_path(name, seed) / "result.json").is_file():
            hours += scale.pretrain_seconds / 3600
            print(f"{pretrained_path(name, seed)}  {scale.pretrain_seconds / 60:.0f} min")
    for name, labels, seed in runs:
        seconds = scale.adapt_updates * LEARNERS[name].adapt_seconds
        hours += seconds / 3600
        print(f"{adapted_path(name, labels, seed)}  {seconds / 60:.0f} min")
    print(f"{len(runs)} adapted models: {hours:.1f} CPU-hours with their pre-training, on one thread each")


def experiment(scale: Scale, space: Workspace, jobs: int) -> None:
    """Videos, judge, pre-trained models, and the runs: by the commands that a person would type.

    Raises:
        OutOfTimeError: the minutes are over.
    """
    runs = remaining(scale)
    if not runs:
        return
    for name, count, seed in (("train", scale.videos, 0), ("held-out", scale.held_out, 1)):
        make_videos(space, name, count, seed)
    the_judge(scale, space)  # before the runs, which read it
    with ThreadPoolExecutor(jobs) as pool:
        wanted = dict.fromkeys((pretrained_path(name, seed), name, seed) for name, _, seed in runs)
        by_path = {path: (name, seed) for path, name, seed in wanted}
        for future in [pool.submit(pretrain, scale, space, path, *run) for path, run in by_path.items()]:
            future.result()
        for future in [pool.submit(adapt, scale, space, *run) for run in runs]:
            future.result()


def make_videos(space: Workspace, name: str, count: int, seed: int) -> None:
    """Record and prepare a labelled set."""
    if (space.folder / "shards" / name / "manifest.json").is_file():
        return
    settings = [word for value in RECORD for word in ("--set", value)]
    space.command(
        "record", TASK, "--policy", POLICY, "--episodes", str(count), "--seed", str(seed), "--out", f"raw/{name}",
        *settings, "--quiet",
    )  # fmt: skip
    space.command("prepare", "episodes", "--source", f"raw/{name}", "--out", f"shards/{name}", "--quiet")


def the_judge(scale: Scale, space: Workspace) -> InverseDynamics:
    """The judge of the workspace, trained when it is first asked for."""
    path = space.folder / "judge.safetensors"
    if not path.is_file():
        batch = videos_of(space, "train", JUDGE_VIDEOS, 0, FRAMES)
        save_file(train_judge(batch.frames, batch.action, scale.judge_updates).state_dict(), path)
    weights = load_file(path)
    judge = InverseDynamics(len(weights["dense.2.bias"]))
    judge.load_state_dict(weights)
    return judge.eval()


def videos_of(space: Workspace, name: str, count: int, start: int, length: int) -> LabelledBatch:
    """The same frames of each of the first `count` videos of a set, with the actions that led into them."""
    source = open_segments(space.folder / "shards" / name, FRAMES, 0).sources[0]
    chosen = [int(video) for video in sorted(source.videos)[:count]]
    frames = np.stack([source.frames(video, start, length) for video in chosen])
    action = np.stack([source.tracks(video, start, length, ("action",))["action"] for video in chosen])
    return LabelledBatch(frames, action.astype(np.float32))


def held_out(scale: Scale, space: Workspace) -> LabelledBatch:
    """The middle of each held-out video: frames (N, T, H, W, 3) and actions (N, T, A), T = seen and predicted ones."""
    return videos_of(space, "held-out", scale.held_out, (FRAMES - SEEN - AHEAD) // 2, SEEN + AHEAD)


def pretrain(scale: Scale, space: Workspace, path: Path, name: str, seed: int) -> None:
    """Make, or go on with, a pre-trained model, and keep what is said of it."""
    learner = LEARNERS["prelar" if name == "scratch" else name]
    if not space.finished(path):
        settings = [word for value in pretraining_changes(learner, scale) for word in ("--set", value)]
        space.train(
            path, "pretrain", "--preset", PRESET, "--data", "shards/train", "--seed", str(seed), *settings, "--quiet"
        )
    if not (scale.kept / path / "result.json").is_file():
        facts = {"cpu_seconds": space.cpu_seconds(path), **latent_verdict(space, path, scale)}
        keep(scale, space, path, facts)


def adapt(scale: Scale, space: Workspace, name: str, labels: int, seed: int) -> None:
    """Make, or go on with, an adapted model; judge it; keep what is said of it."""
    path = adapted_path(name, labels, seed)
    if not space.finished(path):
        changes = [*COMMON, f"num_sequences={labels}", f"training.updates={scale.adapt_updates}"]
        if not LEARNERS[name].update_seconds:
            changes.append("weights=random")
        settings = [word for value in changes for word in ("--set", value)]
        parent = str(pretrained_path(name, seed))
        space.train(path, "adapt", parent, "--data", "shards/train", "--seed", str(seed), *settings, "--quiet")
    keep(scale, space, path, {"cpu_seconds": space.cpu_seconds(path), **judged(scale, space, path)})


def keep(scale: Scale, space: Workspace, path: Path, facts: dict[str, Any]) -> None:
    """Copy a finished run's record to where it is kept, with a result beside it that says that all is there."""
    target = scale.kept / path
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(space.folder / path / "run.json", target / "run.json")
    write_json(target / "result.json", facts)


def latent_verdict(space: Workspace, path: Path, scale: Scale) -> dict[str, Any]:
    """Of a pre-trained model with latent actions: what `pretrain` prints at a validation, on the held-out videos."""
    model = open_models([space.folder / path], torch.device("cpu"))[0].model
    if not isinstance(model, LatentActionModel):
        return {}
    batch = held_out(scale, space)
    labels = Labels(batch.action, None, np.arange(len(batch.action)))
    evidence = measure_latent_actions(model, batch.frames, SEEN, torch.device("cpu"), 0, labels=labels)
    return {"latent_actions": latent_action_report(evidence).metrics("")}


def judged(scale: Scale, space: Workspace, path: Path) -> dict[str, Any]:
    """The measures of an adapted model on the held-out videos; errors by the number of frames ahead."""
    batch = held_out(scale, space)
    config = ValidationConfig(warmup=SEEN, strips=len(batch.frames))  # all predictions are kept, for the judge
    found = validate_actions(adapted_model(space.folder / path), batch, config, 0)
    if found.prediction.shape != batch.frames.shape:
        raise ValueError(f"{path} predicts frames {found.prediction.shape[2:4]}, all methods are judged at 64 x 64")
    judge, first = the_judge(scale, space), SEEN - BEFORE
    actions = batch.action[:, first:]
    predicted = np.concatenate([batch.frames[:, first:SEEN], found.prediction[:, SEEN:]], 1)
    return {
        "error": float(found.error[:, -1].mean()),
        "copy_ratio": float(copy_ratio(found.error, found.copy_error)),
        "shuffle_ratio": float(shuffle_ratio(found.error, found.shuffled_error)),
        "action_r2": action_r2(judge, predicted, actions),
        "action_r2_of_true_frames": action_r2(judge, batch.frames[:, first:], actions),
        "error_by_step": found.error.mean(0).tolist(),
        "copy_error_by_step": found.copy_error.mean(0).tolist(),
        "shuffled_error_by_step": found.shuffled_error.mean(0).tolist(),
    }


def adapted_model(run: Path) -> Any:
    """The model of a run of `adapt`, as it was trained: an `ActionModel`."""
    record, checkpoint = read_record(run), load_checkpoint(find_checkpoint(run))
    facts = (record.model_extra or {})["adaptation"]
    config = adapt_config_class(record.method).model_validate(record.config)
    adaptation = adaptation_of(find_method(record.method))
    model = adaptation.model(
        config, facts["action_dim"], record.seed, torch.device("cpu"), facts["parts"], None
    )  # fmt: skip
    load_tensors(model, checkpoint.model, checkpoint.path)
    return model


def kept_runs(scale: Scale) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Learner, N and result of each run that is kept; all of them, also those of seeds that are in no list."""
    for file in sorted(scale.kept.glob("runs/adapt/*/n*/seed*/result.json")):
        name, labels = file.parts[-4], int(file.parts[-3].removeprefix("n"))
        yield name, labels, json.loads(file.read_text())


def summary(scale: Scale) -> dict[str, Any]:
    """Means over seeds with 95 % intervals of every measure; prints a table."""
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for name, labels, result in kept_runs(scale):
        found.setdefault((name, labels), []).append(result)
    rows = []
    for name in LEARNERS:
        for labels in sorted({labels for _, labels in found}):
            results = found.get((name, labels), [])
            if results:
                measures = {key: with_interval([result[key] for result in results]) for key in MEASURES}
                rows.append({"learner": name, "labels": labels, "runs": len(results), **measures})
                shown = "  ".join(f"{key} {one['mean']:.4g} [{one['low']:.4g}, {one['high']:.4g}]"
                                  for key, one in measures.items())  # fmt: skip
                print(f"{name:10} N={labels:<5} n={len(results)}  {shown}", file=sys.stderr)
    every = [result for results in found.values() for result in results]
    ceiling = sorted({round(result["action_r2_of_true_frames"], 4) for result in every})
    if ceiling and ceiling[0] < READABLE:
        print(f"the judge reads actions off true frames with R² {ceiling[0]} only: action_r2 says nothing",
              file=sys.stderr)  # fmt: skip
    pretrained = {str(file.parent.relative_to(scale.kept)): json.loads(file.read_text())
                  for file in sorted(scale.kept.glob("runs/pretrain/*/seed*/result.json"))}  # fmt: skip
    return {
        "kept": len(every), "of": len(every) + len(remaining(scale)), "action_r2_of_true_frames": ceiling,
        "copy_error": sorted({round(result["copy_error_by_step"][-1], 6) for result in every}),
        "rows": rows, "pretraining": pretrained,
    }  # fmt: skip


def with_interval(values: list[float]) -> dict[str, Any]:
    """Mean and its 95 % bootstrap interval over runs; of one run the interval is that run."""
    found = interval(np.asarray(values)[:, None], "mean", TABLE_RESAMPLES, np.random.default_rng(0))
    low, high = float(found.low), float(found.high)
    return {"mean": float(found.point), "low": low, "high": high, "values": [round(value, 6) for value in values]}


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
        unheard = key == "action_r2" and any(ceiling < READABLE for ceiling in ceilings)
        panel.set_title(title + ("\n(says nothing: not read off true frames either)" if unheard else ""),
                        fontsize="medium")  # fmt: skip
    seeds = sorted({row["runs"] for row in rows})
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=len(LEARNERS),
                  title=f"runs at each point: {', '.join(map(str, seeds))}")  # fmt: skip
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
