"""Protocol of label_efficiency.py: what is compared, how much of everything, and which runs are there.

docs/label_efficiency.md has it in words. It was fixed before the first run, and changes no more once one exists.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from label_efficiency_times import Times

TASK, POLICY, FRAMES = "dmcr/cheetah_run", "smooth", 50
RECORD = ("env.render_profile=fast", "env.action_repeat=2", f"env.time_limit={2 * (FRAMES - 1)}")
"""All factors of the papers vary: floor, background, body, reflectance, light, camera, drawn anew for each video."""
PRESET = "tiny"
SEEN, AHEAD = 5, 10
"""Frames that are seen, and frames that are predicted from actions alone, by which models are judged."""
TRAINED = 8
"""Frames of a segment that is trained on: fewer than are predicted, for the CPU's sake, and alike for all."""
COMMON = (f"data.length={TRAINED}", "data.batch_size=8", "data.holdout=0", "validation.every=0",
          f"validation.warmup={SEEN}", "training.tensorboard=false")  # fmt: skip
"""Of every run. Nothing is validated on the way: the held-out videos are a set of their own."""


JUDGE_VIDEOS = 500
"""Labelled training videos that the judge learns from, at most."""


@dataclass(frozen=True)
class Learner:
    """A row of the comparison.

    Attributes:
        method: by the name of the toolkit.
        pretrained: whether it is.
        own_features: whether a masked autoencoder is trained on the same videos first; it takes `FEATURES_SHARE` of the
            CPU-seconds.
    """

    method: str
    pretrained: bool = True
    own_features: bool = False


FEATURES_SHARE = 0.25
"""Share of the pre-training that goes to a method's features, where it needs some."""
LEARNERS = {
    "scratch": Learner("prelar", pretrained=False),
    "apv": Learner("apv"),
    "contextwm": Learner("contextwm"),
    "prelar": Learner("prelar"),
    "uwm": Learner("uwm", own_features=True),
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
        stop_after: seeds after which the stop rule is asked (`label_efficiency_stop.py`); 0: never.
    """

    kept: Path
    videos: int
    held_out: int
    pretrain_seconds: int
    labels: tuple[int, ...]
    adapt_updates: int
    judge_updates: int
    seeds: tuple[int, ...]
    stop_after: int = 0


RUN_SECONDS = 15
"""Of the start of a run of `adapt` and its judging, as in a pilot: for the estimate of hours alone."""
RESULTS = Path(__file__).parent / "results" / "label_efficiency"
WHOLE = Scale(RESULTS / "runs", 2000, 200, 450, (16, 64, 256, 1000), 1200, 3000, (1, 2, 3, 4, 5), 2)
PILOT = Scale(RESULTS / "pilot", 120, 24, 40, (16, 64), 150, 3000, (100,))
QUICK = Scale(Path(), 6, 3, 2, (4,), 3, 5, (200,))
READABLE = 0.1
"""The judge is heard only where it reads actions off true frames with an R² of at least this."""
MEASURES = {
    "error": f"error {AHEAD} frames ahead", "copy_ratio": "copy ratio", "shuffle_ratio": "shuffle ratio",
    "action_r2": "R² of actions read off the prediction",
}  # fmt: skip
HIGHER_IS_BETTER = {"error": False, "copy_ratio": False, "shuffle_ratio": True, "action_r2": True}


def pretrained_path(name: str, seed: int) -> Path:
    """Where the pre-trained model of a learner lies inside the workspace; `scratch` has the shape of PreLAR's."""
    return Path("runs") / "pretrain" / ("prelar" if name == "scratch" else name) / f"seed{seed}"


def adapted_path(name: str, labels: int, seed: int) -> Path:
    """Where an adapted model lies inside the workspace."""
    return Path("runs") / "adapt" / name / f"n{labels}" / f"seed{seed}"


def wanted(scale: Scale) -> list[tuple[str, int, int]]:
    """Learner, N and seed of all runs of the protocol.

    Seed by seed, so that an experiment that is cut short has equally many runs of each learner.
    """
    return [(name, labels, seed) for seed in scale.seeds for labels in scale.labels for name in LEARNERS]


def remaining(scale: Scale) -> list[tuple[str, int, int]]:
    """Those of the runs that are not kept."""
    return [run for run in wanted(scale) if not (scale.kept / adapted_path(*run) / "result.json").is_file()]


def pretraining_settings(learner: Learner) -> list[str]:
    """Config of a pre-training but for its numbers of updates."""
    own = ["features.kind=own"] if learner.own_features else []
    return [*COMMON, f"method={learner.method}", *own]


def pretraining_changes(learner: Learner, scale: Scale, times: Times) -> list[str]:
    """Config of a pre-training: as many updates as the CPU-seconds allow."""
    seconds, changes = float(scale.pretrain_seconds), pretraining_settings(learner)
    if learner.own_features:
        updates = max(1, round(FEATURES_SHARE * seconds / times.features[learner.method]))
        seconds *= 1 - FEATURES_SHARE
        changes.append(f"features.own.updates={updates}")
    return [*changes, f"training.updates={max(1, round(seconds / times.pretrain[learner.method]))}"]


def adapting_changes(name: str, labels: int, scale: Scale) -> list[str]:
    """Config of a run of `adapt`."""
    weights = "pretrained" if LEARNERS[name].pretrained else "random"
    return [*COMMON, f"num_sequences={labels}", f"training.updates={scale.adapt_updates}", f"weights={weights}"]


def list_remaining(scale: Scale, runs: Sequence[tuple[str, int, int]], times: Times) -> None:
    """Print runs that are to be made, with the CPU-minutes that each will take, and their sum in hours."""
    hours = 0.0
    pretrained = {(name, seed) for name, _, seed in runs if LEARNERS[name].pretrained}
    for name, seed in sorted(pretrained, key=lambda run: (run[1], run[0])):
        if not (scale.kept / pretrained_path(name, seed) / "result.json").is_file():
            hours += scale.pretrain_seconds / 3600
            print(f"{pretrained_path(name, seed)}  {scale.pretrain_seconds / 60:.0f} min")
    for name, labels, seed in runs:
        seconds = scale.adapt_updates * times.adapt[name] + RUN_SECONDS
        hours += seconds / 3600
        print(f"{adapted_path(name, labels, seed)}  {seconds / 60:.0f} min")
    print(f"{len(runs)} adapted models: {hours:.1f} CPU-hours with their pre-training, on one thread each")


def kept_runs(scale: Scale) -> Iterator[tuple[str, int, int, dict[str, Any]]]:
    """Learner, N, seed and result of each run of the protocol that is kept; NaN where a measure was not finite."""
    for run in wanted(scale):
        file = scale.kept / adapted_path(*run) / "result.json"
        if file.is_file():
            result = json.loads(file.read_text())
            yield *run, {key: math.nan if value is None and key in MEASURES else value for key, value in result.items()}


def unused_runs(scale: Scale) -> list[str]:
    """Kept runs and models of learners, N or seeds that are not of the protocol; no number comes from them."""
    own = {adapted_path(*run) for run in wanted(scale)}
    own |= {pretrained_path(name, seed) for name, _, seed in wanted(scale)}
    found = [file.parent.relative_to(scale.kept) for file in scale.kept.glob("runs/**/result.json")]
    return sorted(str(path) for path in found if path not in own)
