"""What benchmarks/miniature.py makes: targets, lines, seeds and budgets, and what of it is still to be made.

docs/miniature.md says why; nothing here is changed after the first run was looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from kept_record import is_kept

from ipv_bench.run_record import read_jsonl

RESULTS = Path(__file__).parent / "results" / "miniature"
PRESET = "tiny"
DOMAINS = ("cheetah_run", "walker_run", "hopper_stand")
TARGETS = {"cheetah_run": ("walker_run", "hopper_stand"), "walker_run": ("cheetah_run", "hopper_stand")}
"""Target → tasks in whose domains the videos are recorded."""
FRAMES, REPEAT = 50, 4
RECORD = ("env.render_profile=fast", f"env.action_repeat={REPEAT}", f"env.time_limit={REPEAT * (FRAMES - 1)}")
VARY: tuple[str, ...] | None = None
"""Visual factors of videos and targets alike; None: the paper's. The gate may only make this list shorter."""
LOOKS = "" if VARY is None else "-" + "-".join(VARY)
"""Part of the names of folders: with other factors videos, models and runs are others."""
PRETRAINED = ("apv", "contextwm", "prelar")
UPDATE_SECONDS = {"apv": 0.21, "contextwm": 0.27, "prelar": 0.28}
"""CPU-seconds of an update of 8 segments of 15 frames on a quiet core."""
PRETRAIN = ("data.length=15", "data.batch_size=8", "validation.every=500", "validation.warmup=5",
            "training.tensorboard=false")  # fmt: skip
RUN_MINUTES = {"dreamerv2": 5.0, "apv": 6.0, "contextwm": 7.0, "prelar": 7.0}
"""CPU-minutes of a run, for the estimate until some are kept: guessed from those of docs/learning.md."""
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
WHOLE = Scale(RESULTS / f"runs{LOOKS}", tuple(TARGETS), 1500, BUDGETS, (1, 2, 3, 4, 5, 6, 7, 8), (1, 2, 3, 4, 5), LINES)
PILOT = replace(WHOLE, kept=RESULTS / f"pilot{LOOKS}", seeds=(101, 102), extra_seeds=(), lines=LINES[:4])
GATE = replace(WHOLE, kept=RESULTS / f"pilot{LOOKS}", targets=("cheetah_run",), seeds=(101, 102, 103), lines=LINES[:1])
QUICK = Scale(
    Path(), ("cheetah_run",), 3, {"": 0.6}, (201,), (), (LINES[0], LINES[2], LINES[5]),
    record=("env.render_profile=fast", "env.action_repeat=4", "env.time_limit=80"),
    pretraining=("data.length=6", "data.batch_size=2", "data.workers=0", "validation.every=0",
                 "training.tensorboard=false"),
    finetuning=("training.env_steps=320", "training.prefill=80", "training.pretrain_updates=1",
                "training.train_every=25", "env.time_limit=80", "replay.batch_size=2", "evaluation.every=0",
                "evaluation.episodes=1", "evaluation.random_episodes=2", "training.tensorboard=false"),
)  # fmt: skip


def videos_of(target: str, line: Line) -> tuple[str, ...]:
    """Tasks whose recorded videos a line is pre-trained on."""
    return (target,) if line.videos == "own" else TARGETS[target]


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
