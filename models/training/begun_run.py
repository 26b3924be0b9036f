"""Whether a run folder holds anything that its config binds: a run that made nothing stands in nobody's way."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from ipv_bench.analysis_record import ANALYSIS_FILE, ARRAYS_FILE
from ipv_bench.checkpoint_index import FOLDER
from ipv_bench.errors import RunError
from ipv_bench.run_record import EVALUATIONS_FILE, METRICS_FILE, RUN_FILE, read_jsonl, read_record
from models.training.tracking import TENSORBOARD_FOLDER

VIDEOS_FOLDER, PAIRS_BEFORE = "videos", "pairs_before"
"""Folders in a run's, of pictures that a validation draws: of predictions, and of pairs before the first update."""


def has_begun(folder: str | Path) -> bool:
    """Whether `folder` holds a run that has finished, saved a checkpoint, or logged an update or a step.

    One that has not (it was refused, ended by an error or killed before that) has nothing to go on from: the next
    command starts anew there, also with another config or start, and its `run.json` is replaced.

    Raises:
        RunError: its `run.json` is damaged or of a newer format.
    """
    folder = Path(folder)
    if not os.path.lexists(folder / RUN_FILE):
        return False
    if read_record(folder).status == "finished":
        return True
    checkpoints = folder / FOLDER
    if checkpoints.is_dir() and any(checkpoints.iterdir()):  # one that was being saved counts: it may be whole
        return True
    return _has_logged(folder / METRICS_FILE)


def take_back(folder: str | Path) -> bool:
    """Remove what a run that has not begun left in its folder: it was refused, and a refused command leaves nothing.

    Only for who holds the run's lock.

    Returns:
        Whether it was so.
    """
    folder = Path(folder)
    if has_begun(folder):
        return False
    shutil.rmtree(folder / TENSORBOARD_FOLDER, ignore_errors=True)
    for name in (METRICS_FILE, EVALUATIONS_FILE, RUN_FILE):
        (folder / name).unlink(missing_ok=True)
    _remove_pictures(folder)
    for name in ("replay", VIDEOS_FOLDER, FOLDER):
        with suppress(OSError):  # something is in it
            (folder / name).rmdir()
    return True


def _remove_pictures(folder: Path) -> None:
    """What a validation of the model as it came has drawn; files of other names, whosever they are, stay."""
    for path in (folder / VIDEOS_FOLDER).glob(f"prediction-{0:09d}*"):
        path.unlink()
    for name in (ANALYSIS_FILE, ARRAYS_FILE):
        (folder / PAIRS_BEFORE / name).unlink(missing_ok=True)
    with suppress(OSError):
        (folder / PAIRS_BEFORE).rmdir()


def _has_logged(path: Path) -> bool:
    """Whether a log has a line of more than the model as it came (a validation before the first update)."""
    if not path.is_file():
        return False
    try:
        return any(line.get("updates") or line.get("env_steps") for line in read_jsonl(path))
    except RunError:
        return True
