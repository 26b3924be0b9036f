"""Analysis format 1: what `ipv-bench analyze` leaves on disk, and how to read it.

    <out>/analysis.json   kind, config, models, shard sets, numbers, verdicts, notes, pictures; written last
          arrays.npz      the numbers per clip and whatever is drawn, plain arrays
          *.png *.gif     pictures without axes

A folder with `analysis.json` is a complete analysis; without it, it is none (yet). `report` draws from the arrays.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ipv_bench.bounded_arrays import read_npz
from ipv_bench.bounded_json import as_model, read_json
from ipv_bench.errors import InputError
from ipv_bench.file_names import FileName, path_inside

FORMAT = 1
ANALYSIS_FILE, ARRAYS_FILE = "analysis.json", "arrays.npz"

MAX_RECORD_BYTES = 256 << 20
MAX_ARRAY_BYTES = 8 << 30
_FIX = "delete the folder and run `ipv-bench analyze` again"


class Picture(BaseModel):
    """A picture beside the record.

    Attributes:
        file: its name in the folder.
        title: heading.
        caption: what is in it, row by row.
    """

    file: FileName
    title: str
    caption: str = ""


class AnalysedRun(BaseModel):
    """A model that was analysed.

    Attributes:
        label: its name in pictures and tables; no two of one analysis are equal.
        line: its name without the seed: runs of one line are seeds of one thing.
        run: run folder.
        kind: "pretrain" or "finetune".
        method, display_name, variant, seed, suite, task, pretraining: as in its `run.json`.
        step: of the checkpoint, updates or agent steps.
        checkpoint_sha256: stands for the whole checkpoint.
    """

    label: str
    line: str
    run: str
    kind: str
    method: str
    display_name: str = ""
    variant: str = ""
    seed: int
    suite: str = ""
    task: str = ""
    pretraining: dict[str, Any] = {}
    step: int
    checkpoint_sha256: str


class AnalysisRecord(BaseModel):
    """The contents of `analysis.json`; keys that a later minor version adds are kept.

    Attributes:
        kind: "predict", "attention", "embed", "compose".
        config: the resolved config, every field.
        models: in the order of the first axis of arrays that have one entry per model.
        shard_sets: per set: name, path, manifest_sha256, inventory_sha256, which videos and how many were used.
        numbers: results; their layout is the kind's.
        verdicts: sentences that a user understands, the most important first.
        notes: what a reader must know: which videos, what was left out and why.
        pictures: in the order in which a page shows them.
    """

    model_config = ConfigDict(extra="allow")

    format: int = FORMAT
    kind: str
    seed: int
    config: dict[str, Any]
    models: list[AnalysedRun]
    shard_sets: list[dict[str, Any]] = []
    numbers: dict[str, Any] = {}
    verdicts: list[str] = []
    notes: list[str] = []
    pictures: list[Picture] = []
    packages: dict[str, str] = {}
    git_commit: str = ""
    hardware: dict[str, Any] = {}


def is_analysis(folder: str | Path) -> bool:
    """Whether a folder holds a complete analysis."""
    return (Path(folder) / ANALYSIS_FILE).is_file()


def read_analysis(folder: str | Path) -> AnalysisRecord:
    """Read `analysis.json`.

    Raises:
        InputError: it is absent, damaged, or of a newer format version.
    """
    path = Path(folder) / ANALYSIS_FILE
    if not os.path.lexists(path):
        raise InputError(
            f"{folder} has no {ANALYSIS_FILE}",
            expected="a folder made by `ipv-bench analyze`",
            fix="name such a folder",
        )
    values = read_json(path, error=InputError, expect=dict, limit=MAX_RECORD_BYTES, fix=_FIX)
    if isinstance(values.get("format"), int) and values["format"] > FORMAT:
        raise InputError(
            f"{path} has analysis format {values['format']}",
            expected=f"format {FORMAT} or older",
            fix="update ipv-bench",
        )
    record: AnalysisRecord = as_model(AnalysisRecord, values, str(path), error=InputError, fix=_FIX)
    return record


def read_arrays(folder: str | Path) -> dict[str, NDArray[Any]]:
    """The arrays of an analysis by name.

    Raises:
        InputError: the file is absent or damaged.
    """
    return read_npz(Path(folder) / ARRAYS_FILE, limit=MAX_ARRAY_BYTES, fix=_FIX)


def picture_path(folder: str | Path, picture: Picture) -> Path:
    """Where a picture of an analysis lies.

    Raises:
        InputError: its name leads out of the folder.
    """
    return path_inside(Path(folder), picture.file, str(Path(folder) / ANALYSIS_FILE), InputError)
