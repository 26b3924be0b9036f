"""What the experiments' scripts keep of a pre-trained model, so that all runs of a line start from the same one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from kept_record import is_kept, keep_files, keep_folder

from ipv_bench.checkpoint_index import checkpoint_sha256, find_checkpoint
from ipv_bench.run_record import RUN_FILE, is_finished, read_record

MAX_KEPT_BYTES = 10_000_000
"""Weights up to this size are kept for other machines."""


class OtherModelError(Exception):
    """Runs of a line would start from other weights than those of it that are kept."""


def keep_model(source: Path, goal: Path, names: Iterable[str]) -> None:
    """Copy these files of a finished pre-training and, where they are small, its newest weights; its record last."""
    newest = find_checkpoint(source)
    if sum(file.stat().st_size for file in newest.iterdir()) < MAX_KEPT_BYTES:
        keep_folder(newest, goal / "checkpoints" / newest.name)
    keep_files(source, goal, names)


def is_model_kept(folder: Path) -> bool:
    """Whether a pre-trained model is kept with its weights: large ones are not, and are made again elsewhere."""
    return is_kept(folder, [RUN_FILE]) and any(
        path.name.isdigit() and path.is_dir() for path in (folder / "checkpoints").glob("*")
    )


def place_model(kept: Path, here: Path) -> None:
    """A kept model into a workspace; one that was begun there, or even made, gives way: a line has one model."""
    if not is_finished(here) or (here / RUN_FILE).read_bytes() != (kept / RUN_FILE).read_bytes():
        keep_folder(kept, here)


def check_one_model(model: Path, runs: Sequence[Path]) -> None:
    """Before more runs start from a model: the kept ones of their line did too.

    Raises:
        OtherModelError: they did not.
    """
    sha = checkpoint_sha256(find_checkpoint(model))
    for folder in runs:
        if read_record(folder).parent.get("checkpoint_sha256") != sha:
            raise OtherModelError(
                f"{folder} started from other weights than {model} has: bring the model of that run here, or move away "
                "what started from another one (kept runs of the line, or a run of this workspace, which is made again)"
            )
