"""What benchmarks/miniature.py makes: targets, lines, seeds and budgets, and what of it is still to be made.

docs/miniature.md says why; nothing here is changed after the first run of the main table was looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from cpu_seconds import CPU_FILE
from kept_model import OtherModelError, check_one_model, is_model_kept
from kept_record import check_settings, is_kept
from planned_config import finetuning_config, pretraining_config, short_name

RESULTS = Path(__file__).parent / "results" / "miniature"
PRESET = "tiny"
DOMAINS = ("cheetah_run", "walker_run", "hopper_stand")
TARGETS = {"cheetah_run": ("walker_run", "hopper_stand"), "walker_run": ("cheetah_run", "hopper_stand")}
"""Target → tasks in whose domains the videos are recorded."""
FRAMES, REPEAT = 50, 4
RECORD = ("env.render_profile=fast", f"env.action_repeat={REPEAT}", f"env.time_limit={REPEAT * (FRAMES - 1)}")
VARY = ("env.vary=[body,light,reflectance]",)
"""Visual factors of videos and targets alike. With all of the paper's the gate was not passed."""
PRETRAINED = ("apv", "contextwm", "prelar")
UPDATES = {"apv": 17_143, "contextwm": 13_333, "prelar": 12_857}
"""Updates of 8 segments of 15 frames of the main budget: equally many CPU-seconds when they were fixed."""
BUDGETS = {"": 1.0, "quarter": 1 / 4, "sixteenth": 1 / 16}
"""Name of a budget → its share of those updates; "" is the main one."""
UPDATE_SECONDS = {"apv": 0.060, "contextwm": 0.084, "prelar": 0.083}
"""CPU-seconds of such an update, for the estimate until some models are kept: medians of six on a loaded AMD EPYC."""
PRETRAIN = ("data.length=15", "data.batch_size=8", "validation.every=500", "validation.segments=64",
            "validation.warmup=5", "training.tensorboard=false")  # fmt: skip
FINETUNE = ("training.env_steps=56000", "training.train_every=2", "evaluation.every=4000")
"""Twice the preset's steps, and an update every second agent step instead of every third."""
RUN_MINUTES = {"dreamerv2": 8.0, "apv": 9.0, "contextwm": 10.0, "prelar": 10.0}
"""CPU-minutes of a run, for the estimate until some are kept: DreamerV2's of the runs before the gate, the others'
guessed from them."""
RUN_FILES = ("evaluations.jsonl", "run.json")
"""What is kept of an agent's run, beside its CPU-seconds."""


@dataclass(frozen=True)
class Scale:
    """How much of everything.

    Attributes:
        kept: where runs are kept.
        targets: tasks that agents learn.
        clips: videos recorded of each domain.
        updates: of pre-training, by method, with the main budget.
        seeds, extra_seeds: of the main table, and of the in-domain line and the further budgets.
        lines: the lines that are made.
        record, pretraining, finetuning: overrides beside the presets.
        pilots: where pilots are kept, whose models are taken where they were made as these; None: nowhere.
        named: folders end in a name of the settings: so it is of pilots, whose settings may change.
    """

    kept: Path
    targets: tuple[str, ...]
    clips: int
    updates: Mapping[str, int]
    seeds: tuple[int, ...]
    extra_seeds: tuple[int, ...]
    lines: tuple[Line, ...]
    record: tuple[str, ...] = RECORD
    pretraining: tuple[str, ...] = PRETRAIN
    finetuning: tuple[str, ...] = FINETUNE
    pilots: Path | None = None
    named: bool = False


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
PAIRS = (
    *((method, f"{method}@random") for method in PRETRAINED),
    ("contextwm", "apv"),
    ("contextwm", "dreamerv2"),
    *(("contextwm", f"contextwm@{other}") for other in ("sixteenth", "quarter", "in-domain")),
)
"""Lines whose runs are compared with each other: a table of all pairs would bury what is asked."""
LATER_PAIRS = (("contextwm@random", "apv@random"),)
"""Asked after tables of five seeds had been read: no part of what was fixed."""
SPEED_PAIRS, SPEED_SEEDS = PAIRS[:5], (5, 6, 7, 8)
"""Lines whose speed of learning is compared, and in which seeds: the question was fixed when curves of seeds 1 to 4
had been seen, so these cannot answer it."""
WHOLE = Scale(
    RESULTS / "runs", tuple(TARGETS), 1500, UPDATES, (1, 2, 3, 4, 5, 6, 7, 8), (1, 2, 3, 4, 5), LINES,
    pilots=RESULTS / "pilot",
)  # fmt: skip
PILOT = replace(WHOLE, kept=RESULTS / "pilot", seeds=(101,), extra_seeds=(), lines=LINES[:4], pilots=None, named=True)
GATE = replace(PILOT, seeds=(101, 102, 103), lines=LINES[:1])
QUICK = Scale(
    Path(), ("cheetah_run",), 3, dict.fromkeys(PRETRAINED, 2), (201,), (), (LINES[0], LINES[2], LINES[5]),
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


def video_settings(scale: Scale) -> dict[str, object]:
    """What the recorded videos depend on."""
    return {"clips": scale.clips, "record": [*scale.record, *VARY]}


def updates_of(scale: Scale, line: Line) -> int:
    """Updates of the model that a line starts from."""
    return max(1, round(scale.updates[line.method] * BUDGETS[line.budget]))


def model_changes(scale: Scale, line: Line) -> tuple[str, ...]:
    """Overrides of the pre-training of a line."""
    return (f"method={line.method}", f"training.updates={updates_of(scale, line)}", *scale.pretraining)


def run_changes(scale: Scale, line: Line) -> tuple[str, ...]:
    """Overrides of the runs of a line."""
    return (f"method={line.method}", *scale.finetuning, *VARY)


def pretrained_path(scale: Scale, target: str, line: Line) -> Path:
    """Where the model that a line starts from lies inside the workspace."""
    domain = f"in_{target}" if line.videos == "own" else f"for_{target}"
    name = line.name
    if scale.named:
        name += f"-{short_name(video_settings(scale), pretraining_config(PRESET, model_changes(scale, line)))}"
    return Path("runs") / "pretrain" / domain / name / "seed0"


def run_path(scale: Scale, target: str, line: Line, seed: int) -> Path:
    """Where a run lies inside the workspace, and below the folder of the kept ones."""
    name = line.name
    if scale.named:
        settings = [finetuning_config(PRESET, f"dmcr/{target}", run_changes(scale, line))]
        if line.videos:
            settings += [video_settings(scale), pretraining_config(PRESET, model_changes(scale, line))]
        name += f"-{short_name(*settings)}"
    return Path("runs") / "dmcr" / target / name / f"seed{seed}"


def kept(scale: Scale, path: Path) -> Path:
    """Where what is left of a run is kept."""
    return scale.kept / path.relative_to("runs")


def wanted(scale: Scale) -> list[tuple[str, Line, int]]:
    """Target, line and seed of all runs: seed by seed, so that a part of it has equally many runs."""
    seeds = sorted({*scale.seeds, *scale.extra_seeds})
    return [
        (target, line, seed) for seed in seeds for target in scale.targets for line in scale.lines
        if seed in (scale.extra_seeds if line.extra else scale.seeds)
    ]  # fmt: skip


def remaining(scale: Scale) -> list[tuple[str, Line, int]]:
    """Those of the runs that are not kept."""
    return [run for run in wanted(scale) if not is_kept(kept(scale, run_path(scale, *run)), RUN_FILES)]


def models(scale: Scale) -> list[tuple[str, Line]]:
    """Target and line of the models that runs start from."""
    return [(target, line) for target in scale.targets for line in scale.lines if line.videos]


def remaining_models(scale: Scale) -> list[tuple[str, Line]]:
    """Those of the models that remaining runs start from and that are kept nowhere."""
    needed = {(target, line.name) for target, line, _ in remaining(scale)}
    return [
        (target, line) for target, line in models(scale)
        if (target, line.name) in needed and kept_model(scale, target, line) is None
    ]  # fmt: skip


def kept_model(scale: Scale, target: str, line: Line) -> Path | None:
    """Where the model of a line is kept: among its own, or among the pilots'."""
    places = [kept(scale, pretrained_path(scale, target, line))]
    if scale.pilots is not None:
        pilot = replace(scale, kept=scale.pilots, named=True)
        places.append(kept(pilot, pretrained_path(pilot, target, line)))
    return next((place for place in places if is_model_kept(place)), None)


def check_kept(scale: Scale) -> None:
    """Before anything is begun: what is kept was made under today's settings, runs from the kept model of their line.

    Raises:
        SystemExit: it was not; says which, in what, and what to do.
    """
    for target, line in models(scale):
        folder = kept(scale, pretrained_path(scale, target, line))
        if is_model_kept(folder):
            check_settings(folder, pretraining_config(PRESET, model_changes(scale, line)))
    for target, line, seed in wanted(scale):
        folder = kept(scale, run_path(scale, target, line, seed))
        if is_kept(folder, RUN_FILES):
            check_settings(folder, finetuning_config(PRESET, f"dmcr/{target}", run_changes(scale, line)))
    for target, line in models(scale):
        model = kept_model(scale, target, line)
        if model is not None:
            try:
                check_one_model(model, kept_runs_of(scale, target, line))
            except OtherModelError as error:
                raise SystemExit(str(error)) from None


def kept_runs_of(scale: Scale, target: str, line: Line) -> list[Path]:
    """Folders of a line's kept runs."""
    seeds = scale.extra_seeds if line.extra else scale.seeds
    paths = [kept(scale, run_path(scale, target, line, seed)) for seed in seeds]
    return [path for path in paths if is_kept(path, RUN_FILES)]


def model_minutes(scale: Scale, line: Line) -> float:
    """CPU-minutes of a line's pre-training: by the kept models of its method, else by `UPDATE_SECONDS`."""
    each = [
        seconds / updates_of(scale, one)
        for target, one in models(scale)
        if one.method == line.method
        for seconds in cpu_seconds_of([kept_model(scale, target, one)])
    ]
    seconds = float(np.mean(each)) if each else UPDATE_SECONDS[line.method]
    return seconds * updates_of(scale, line) / 60


def run_minutes(scale: Scale) -> dict[str, float]:
    """CPU-minutes of a run of each method: the mean of the kept ones, else a guess."""
    folders: dict[str, list[Path]] = {}
    for target, line, seed in wanted(scale):
        folders.setdefault(line.method, []).append(kept(scale, run_path(scale, target, line, seed)))
    found = {method: list(cpu_seconds_of(paths)) for method, paths in folders.items()}
    return {
        method: float(np.mean(found[method])) / 60 if found.get(method) else guess
        for method, guess in RUN_MINUTES.items()
    }


def cpu_seconds_of(folders: list[Path] | list[Path | None]) -> Iterator[float]:
    """CPU-seconds of kept runs, of those that were counted to their end."""
    for folder in folders:
        if folder is not None and (folder / CPU_FILE).is_file():
            seconds = json.loads((folder / CPU_FILE).read_text())["cpu_seconds"]
            if seconds is not None:
                yield float(seconds)


def estimated_hours(scale: Scale) -> float:
    """CPU-hours of what is not kept, recording apart (a few minutes)."""
    each = run_minutes(scale)
    minutes = sum(model_minutes(scale, line) for _, line in remaining_models(scale))
    return (minutes + sum(each[line.method] for _, line, _ in remaining(scale))) / 60


def list_remaining(scale: Scale) -> None:
    """Print what is not kept with the CPU-minutes of each, and the sum."""
    for target, line in remaining_models(scale):
        print(f"{pretrained_path(scale, target, line)}  {model_minutes(scale, line):.0f} min")
    each = run_minutes(scale)
    for target, line, seed in remaining(scale):
        print(f"{run_path(scale, target, line, seed)}  {each[line.method]:.0f} min")
    print(f"{len(remaining_models(scale))} models and {len(remaining(scale))} runs: "
          f"{estimated_hours(scale):.1f} CPU-hours, on one thread each")  # fmt: skip
