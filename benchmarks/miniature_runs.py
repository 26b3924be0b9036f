"""The work of benchmarks/miniature.py: videos, pre-trained models and agents, by commands that a person would type."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from cpu_seconds import CPU_FILE, CountingWorkspace
from kept_model import check_one_model, is_model_kept, keep_model, place_model
from kept_record import keep_files, keep_folder, note_settings
from miniature_protocol import (
    PRESET,
    RUN_FILES,
    VARY,
    Line,
    Scale,
    check_kept,
    kept,
    kept_model,
    kept_runs_of,
    model_changes,
    models,
    pretrained_path,
    remaining,
    remaining_models,
    run_changes,
    run_path,
    video_settings,
    videos_of,
)
from ordered_work import Step, do_in_order

from ipv_bench.atomic_file import write_json
from ipv_bench.cli import run
from ipv_bench.run_record import RUN_FILE


class QuickWorkspace(CountingWorkspace):
    """Commands in this process, one after the other: starting one takes longer than all of the tiny experiment."""

    def command(self, *arguments: str) -> float:
        """See `Workspace.command`; its seconds are not asked for."""
        with contextlib.chdir(self.folder):
            status = run([*arguments, "--quiet"])
        if status:
            raise subprocess.CalledProcessError(status, arguments)
        return 0.0


def experiment(scale: Scale, space: CountingWorkspace, jobs: int) -> None:
    """Videos, pre-trained models, and the runs: by the commands that a person would type.

    Raises:
        SystemExit: what is kept, or the workspace, is of other settings than today's.
        FailedError: some of it failed; all that does not need it was made.
        OutOfTimeError: the minutes are over.
    """
    check_kept(scale)
    note_settings(space.folder / "videos.json", video_settings(scale))
    if not scale.named:  # the folders of pilots are named by these settings
        note_settings(scale.kept / "videos.json", video_settings(scale))
    place_models(scale, space)
    do_in_order(jobs, steps_of(scale, space))


def place_models(scale: Scale, space: CountingWorkspace) -> None:
    """Kept models into the workspace, where another may have been begun or even made: a line has one model.

    One that the pilots made alike is kept for the main table too.
    """
    for target, line in models(scale):
        path, found = pretrained_path(scale, target, line), kept_model(scale, target, line)
        if found is None:
            continue
        if found != kept(scale, path):
            keep_folder(found, kept(scale, path))
        place_model(kept(scale, path), space.folder / path)


def steps_of(scale: Scale, space: CountingWorkspace) -> list[Step]:
    """The runs in their order; before the first that starts from a model that model, and its videos before it.

    What starts from random weights waits for nothing.
    """
    missing = {pretrained_path(scale, *model) for model in remaining_models(scale)}
    steps: list[Step] = []
    videos: dict[str, Step] = {}
    pretraining: dict[Path, Step] = {}
    for target, line, seed in remaining(scale):
        after: tuple[Step, ...] = ()
        path = pretrained_path(scale, target, line) if line.videos else None
        if path in missing:
            if path not in pretraining:
                for task in videos_of(target, line):
                    if task not in videos:
                        videos[task] = Step(partial(record, scale, space, task), name=f"videos of {task}")
                        steps.append(videos[task])
                needed = tuple(videos[task] for task in videos_of(target, line))
                pretraining[path] = Step(partial(pretrain, scale, space, target, line), needed, str(path))
                steps.append(pretraining[path])
            after = (pretraining[path],)
        work = partial(finetune, scale, space, target, line, seed)
        steps.append(Step(work, after, str(run_path(scale, target, line, seed))))
    return steps


def settings(values: Sequence[str]) -> list[str]:
    """Words of the command line."""
    return [word for value in values for word in ("--set", value)]


def record(scale: Scale, space: CountingWorkspace, task: str) -> None:
    """Videos of a domain: actions are noise and rewards are not read, so the task decides on the body alone."""
    if (space.folder / "shards" / task / "manifest.json").is_file():
        return
    space.command(
        "record", f"dmcr/{task}", "--policy", "smooth", "--episodes", str(scale.clips), "--seed", "0",
        "--out", f"raw/{task}", *settings([*scale.record, *VARY]),
    )  # fmt: skip
    space.command("prepare", "episodes", "--source", f"raw/{task}", "--out", f"shards/{task}")


def pretrain(scale: Scale, space: CountingWorkspace, target: str, line: Line) -> None:
    """Make, or go on with, the model that a line starts from, and keep it."""
    path = pretrained_path(scale, target, line)
    data = [word for task in videos_of(target, line) for word in ("--data", f"shards/{task}")]
    # Given for a finished one too: it has nothing to do then, or says that the settings were others.
    changes = settings(model_changes(scale, line))
    space.train(path, "pretrain", "--preset", PRESET, *data, "--seed", "0", *changes)
    if is_model_kept(kept(scale, path)):  # another machine was sooner
        place_model(kept(scale, path), space.folder / path)
        return
    check_one_model(space.folder / path, kept_runs_of(scale, target, line))
    note_seconds(scale, space, path)
    keep_model(space.folder / path, kept(scale, path), ("metrics.jsonl", RUN_FILE))


def finetune(scale: Scale, space: CountingWorkspace, target: str, line: Line, seed: int) -> None:
    """Make, or go on with, one run, and keep what is left of it."""
    path = run_path(scale, target, line, seed)
    init = str(pretrained_path(scale, target, line)) if line.videos else "none"
    start = [] if line.method == "dreamerv2" else ["--init", init]
    space.train(
        path, "finetune", "--preset", PRESET, "--task", f"dmcr/{target}", "--seed", str(seed), *start,
        *settings(run_changes(scale, line)),
    )  # fmt: skip
    if line.videos:  # the model may have given way to another machine's while this run was under way
        check_one_model(space.folder / pretrained_path(scale, target, line), [space.folder / path])
    note_seconds(scale, space, path)
    keep_files(space.folder / path, kept(scale, path), RUN_FILES)
    shutil.rmtree(space.folder / path / "replay", ignore_errors=True)  # 83 of a run's 105 MB; nothing reads it again


def note_seconds(scale: Scale, space: CountingWorkspace, path: Path) -> None:
    """Keep the CPU-seconds of a run that has ended, before its record says that all is there."""
    kept(scale, path).mkdir(parents=True, exist_ok=True)
    write_json(kept(scale, path) / CPU_FILE, {"cpu_seconds": space.cpu_seconds(path)})
