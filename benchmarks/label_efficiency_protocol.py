"""Protocol of label_efficiency.py: what is compared, how much of everything, and which runs are there.

docs/label_efficiency.md has it in words. It was fixed before the first run, and changes no more once one exists.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def kept_runs(scale: Scale) -> Iterator[tuple[str, int, int, dict[str, Any]]]:
    """Learner, N, seed and result of each run of the protocol that is kept."""
    for run in wanted(scale):
        file = scale.kept / adapted_path(*run) / "result.json"
        if file.is_file():
            yield *run, json.loads(file.read_text())


def unused_runs(scale: Scale) -> list[str]:
    """Kept runs and models of learners, N or seeds that are not of the protocol; no number comes from them."""
    own = {adapted_path(*run) for run in wanted(scale)}
    own |= {pretrained_path(name, seed) for name, _, seed in wanted(scale)}
    found = [file.parent.relative_to(scale.kept) for file in scale.kept.glob("runs/**/result.json")]
    return sorted(str(path) for path in found if path not in own)
