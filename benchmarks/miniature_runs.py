"""The work of benchmarks/miniature.py: videos, pre-trained models and agents, by commands that a person would type."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from kept_record import keep_files, keep_folder
from miniature_protocol import (
    PRESET,
    RUN_FILES,
    UPDATE_SECONDS,
    VARY,
    Line,
    Scale,
    is_model_kept,
    kept,
    pretrained_path,
    remaining,
    remaining_models,
    run_path,
    videos_of,
)
from one_command import Workspace, side_by_side

from ipv_bench.cli import run
from ipv_bench.run_record import is_finished

MAX_KEPT_BYTES = 10_000_000
"""Weights of pre-trained models up to this size are kept for other machines."""


class QuickWorkspace(Workspace):
    """Commands in this process, one after the other: starting one takes longer than all of the tiny experiment."""

    def command(self, *arguments: str) -> float:
        """See `Workspace.command`; its seconds are not asked for."""
        with contextlib.chdir(self.folder):
            status = run([*arguments, "--quiet"])
        if status:
            raise subprocess.CalledProcessError(status, arguments)
        return 0.0


def experiment(scale: Scale, space: Workspace, jobs: int) -> None:
    """Videos, pre-trained models, and the runs: by the commands that a person would type.

    Raises:
        OutOfTimeError: the minutes are over.
    """
    for path in sorted(scale.kept.glob("pretrain/*/*/seed0")):  # made on another machine
        here = space.folder / "runs" / path.relative_to(scale.kept)
        if is_model_kept(path) and not is_finished(here):  # one that was begun here gives way: a line has one model
            keep_folder(path, here)
    models = remaining_models(scale)
    needed = {task for target, line in models for task in videos_of(target, line)}
    side_by_side(jobs, [partial(record, scale, space, task) for task in sorted(needed)])
    side_by_side(jobs, [partial(pretrain, scale, space, *model) for model in models])
    side_by_side(jobs, [partial(finetune, scale, space, *one) for one in remaining(scale)])


def settings(values: Sequence[str]) -> list[str]:
    """Words of the command line."""
    return [word for value in values for word in ("--set", value)]


def vary() -> list[str]:
    """The factors, as an override of the suite's config."""
    return [] if VARY is None else [f"env.vary=[{','.join(VARY)}]"]


def record(scale: Scale, space: Workspace, task: str) -> None:
    """Videos of a domain: actions are noise and rewards are not read, so the task decides on the body alone."""
    if (space.folder / "shards" / task / "manifest.json").is_file():
        return
    space.command(
        "record", f"dmcr/{task}", "--policy", "smooth", "--episodes", str(scale.clips), "--seed", "0",
        "--out", f"raw/{task}", *settings([*scale.record, *vary()]),
    )  # fmt: skip
    space.command("prepare", "episodes", "--source", f"raw/{task}", "--out", f"shards/{task}")


def pretrain(scale: Scale, space: Workspace, target: str, line: Line) -> None:
    """Make, or go on with, the model that a line starts from, and keep it."""
    path = pretrained_path(line, target)
    updates = max(1, round(scale.pretrain_seconds[line.budget] / UPDATE_SECONDS[line.method]))
    changes = [f"method={line.method}", f"training.updates={updates}", *scale.pretraining]
    data = [word for task in videos_of(target, line) for word in ("--data", f"shards/{task}")]
    # Given for a finished one too: it has nothing to do then, or says that the settings were others.
    space.command("pretrain", "--preset", PRESET, *data, "--seed", "0", "--run", str(path), *settings(changes))
    if is_model_kept(kept(scale, path)):  # another machine was sooner
        keep_folder(kept(scale, path), space.folder / path)
        return
    keep(scale, space, path, ("metrics.jsonl", "run.json"), weights=True)


def finetune(scale: Scale, space: Workspace, target: str, line: Line, seed: int) -> None:
    """Make, or go on with, one run, and keep what is left of it."""
    path = run_path(target, line, seed)
    changes = [f"method={line.method}", *scale.finetuning, *vary()]
    init = str(pretrained_path(line, target)) if line.videos else "none"
    start = [] if line.method == "dreamerv2" else ["--init", init]
    space.command(
        "finetune", "--preset", PRESET, "--task", f"dmcr/{target}", "--seed", str(seed), "--run", str(path), *start,
        *settings(changes),
    )  # fmt: skip
    keep(scale, space, path, RUN_FILES)


def keep(scale: Scale, space: Workspace, path: Path, files: Sequence[str], weights: bool = False) -> None:
    """Copy what is kept of a finished run; its record last: it says that all is there."""
    source, goal = space.folder / path, kept(scale, path)
    if not is_finished(source):
        return
    newest = max(
        (one for one in (source / "checkpoints").iterdir() if one.name.isdigit()), key=lambda one: int(one.name)
    )
    if weights and sum(file.stat().st_size for file in newest.iterdir()) < MAX_KEPT_BYTES:
        keep_folder(newest, goal / "checkpoints" / newest.name)
    keep_files(source, goal, [name for name in files if (source / name).is_file()])
