"""The table of `analyze predict`: means over all predicted frames."""

from __future__ import annotations

from typing import Any

import numpy as np

from reports.readers.analyses import Analysis
from reports.readers.prediction_record import BLURRED_NAME, COPY_NAME, lines_of
from reports.tables.tables import Cell, Estimate, Table

_COLUMNS = (
    ("copy_ratio", "copy ratio"), ("blurred_copy_ratio", "ratio to a blurred copy"), ("mse", "MSE"), ("psnr", "PSNR"),
    ("ssim", "SSIM"), ("lpips", "LPIPS"),
    ("shuffle_ratio", "shuffle ratio"), ("best_copy_ratio", "copy ratio, best of N"),
    ("best_lpips", "LPIPS, best of N"),
)  # fmt: skip


def prediction_table(name: str, where: str, analysis: Analysis) -> Table:
    """One row per model, one for copying, and one for a blurred copy.

    Args:
        name: of the file.
        where: names of the shard sets.
        analysis: of kind "predict".

    Raises:
        KeyError, TypeError, ValueError: the record is not what `analyze predict` writes.
    """
    numbers, lines = analysis.record.numbers, lines_of(analysis)
    kept = [(key, title) for key, title in _COLUMNS if any(key in values for values in lines.values())]
    frechet = numbers.get("frechet")
    rows: list[list[Cell]] = []
    for line, values in lines.items():
        distances = [float(frechet["runs"][label]) for label in values["runs"]] if frechet else []
        row: list[Cell] = [line, len(values["runs"]), *(_cell(values.get(key)) for key, _ in kept)]
        rows.append([*row, *([float(np.mean(distances))] if frechet else [])])
    copied: list[Cell] = [COPY_NAME, "–", *(_cell(numbers["copy"].get(key)) for key, _ in kept)]
    rows.append([*copied, *([float(frechet["copy"])] if frechet else [])])
    if "blurred_ratio" in numbers["copy"]:  # analyses of before do not have it
        ratio = _cell(numbers["copy"]["blurred_ratio"])
        blurred: list[Cell] = [BLURRED_NAME, "–", *(ratio if key == "copy_ratio" else _cell(None) for key, _ in kept)]
        rows.append([*blurred, *(["–"] if frechet else [])])
    columns = ["method", "runs", *(title for _, title in kept), *(["Fréchet distance"] if frechet else [])]
    return Table(name, f"Predicted frames, all steps ahead: {where}", columns, rows, _note(analysis, frechet))


def _note(analysis: Analysis, frechet: Any) -> str:
    said = " ".join(f"{note.removesuffix('.')}." for note in analysis.record.notes)
    if not frechet:
        return said
    floor = frechet.get("truth_halves")
    between = f" Between two halves of the true frames it is {float(floor):.3g}." if floor is not None else ""
    return (
        f"{said} Fréchet distance of features ({frechet['features']}) of {int(frechet['frames']):,} predicted and true "
        f"frames; mean over runs, no interval; neither FID nor FVD.{between}"
    )


def _cell(values: Any) -> Cell:
    if values is None:
        return "–"
    whole = values["overall"]
    point, low, high = (np.nan if whole[name] is None else float(whole[name]) for name in ("point", "low", "high"))
    return Estimate(point, low, high)
