"""What `analyze predict` found: errors over the horizon against copying the last frame, and the pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reports.computation import Computation
from reports.figures.drawn import PlannedFigure
from reports.figures.panels import Curve, Panel, PanelPlot
from reports.figures.pictures import PictureBlock, PicturePlot, PictureRow
from reports.readers.analyses import Analysis
from reports.readers.prediction_record import COPY_NAME, lines_of

MEASURES = (
    ("mse", "mean squared error", "lower is better"),
    ("psnr", "PSNR", "dB, higher is better"),
    ("ssim", "SSIM", "higher is better"),
    ("lpips", "LPIPS", "lower is better"),
)
"""Key → title and unit, in the order of the panels."""
SEEN_SHOWN, PREDICTED_SHOWN = 3, 10
"""Frames in the pictures: at most so many that were seen, and that were predicted."""


def prediction_figures(name: str, where: str, analysis: Analysis, computation: Computation) -> list[PlannedFigure]:
    """Errors and ratios over the frames ahead, one line per model; the same of the best sample; and the pictures.

    Args:
        name: for file names.
        where: names of the shard sets, for titles.
        analysis: of kind "predict".
        computation: width, and whether notes are drawn.

    Raises:
        KeyError, TypeError, ValueError, IndexError: the record is not what `analyze predict` writes.
    """
    numbers, config = analysis.record.numbers, analysis.record.config
    lines = lines_of(analysis)
    band = f"{100 * float(config['confidence']):g} % bootstrap interval over videos, and over the runs of a line"
    note = f"Band: {band}." if computation.config.figure_notes else ""
    caption = (
        f"Frames predicted open loop after {int(config['observed'])} seen ones, one sampled prediction of each clip. "
        f"Band: {band}. Copy ratio: squared error over that of repeating the last seen frame; below 1 is less than "
        "copying has, as blur alone has. Shuffle ratio: squared error with another clip's actions over that with its "
        "own."
    )
    plot = PanelPlot(_panels(numbers, lines, ""), 3, computation.width, note)
    made_from = (str(analysis.folder),)
    figures = [PlannedFigure(f"{name}_errors", f"Prediction errors: {where}", caption, plot, made_from)]
    best = _panels(numbers, lines, "best_")
    if best:
        count = int(config["best_of"])
        text = f"Of each clip the one of {count} samples that is nearest to the truth. {caption}"
        plot = PanelPlot(best, 3, computation.width, note)
        title = f"Prediction errors, best of {count}: {where}"
        figures.append(PlannedFigure(f"{name}_best", title, text, plot, made_from))
    if len(analysis.arrays.get("shown_truth", ())):
        figures.append(_pictures(name, where, analysis, computation))
    return figures


def _panels(numbers: Mapping[str, Any], lines: Mapping[str, Any], prefix: str) -> list[Panel]:
    panels = []
    for key, title, unit in MEASURES:
        curves = _curves(lines, f"{prefix}{key}")
        if curves:
            copies = _curve(COPY_NAME, numbers["copy"][key]["per_step"], len(lines), 0)
            panels.append(Panel(title, [*curves, copies], y_label=unit, x_label="frames ahead"))
    for key, title in ((f"{prefix}copy_ratio", "copy ratio"), (f"{prefix}shuffle_ratio", "shuffle ratio")):
        curves = _curves(lines, key)
        if curves:
            level = ("no better than copying" if title == "copy ratio" else "actions ignored", 1.0)
            panels.append(Panel(title, curves, y_label="ratio", x_label="frames ahead", level=level))
    return panels


def _curves(lines: Mapping[str, Any], key: str) -> list[Curve]:
    return [
        _curve(line, values[key]["per_step"], index, len(values["runs"]))
        for index, (line, values) in enumerate(lines.items())
        if key in values
    ]


def _curve(label: str, values: Mapping[str, Sequence[float | None]], index: int, runs: int) -> Curve:
    point, low, high = (np.array(values[name], dtype=np.float64) for name in ("point", "low", "high"))
    ahead = np.arange(1, len(point) + 1, dtype=np.float64)
    return Curve(label, ahead, point, low, high, index, runs)


def _pictures(name: str, where: str, analysis: Analysis, computation: Computation) -> PlannedFigure:
    arrays, record = analysis.arrays, analysis.record
    truth, seen = arrays["shown_truth"], int(record.config["observed"])  # (k, T, H, W, 3)
    columns = [*_spread(0, seen - 1, SEEN_SHOWN), *_spread(seen, truth.shape[1] - 1, PREDICTED_SHOWN)]
    heads = [f"{t + 1}" if t < seen else f"+{t + 1 - seen}" for t in columns]
    having = arrays["attention_models"].tolist() if "attention_models" in arrays else []
    clips = [record.numbers["clips"][number] for number in arrays["shown"].tolist()]
    blocks = []
    for place, clip in enumerate(clips):
        rows = [PictureRow("truth", truth[place, columns])]
        for number, model in enumerate(record.models):
            rows.append(PictureRow(model.label, arrays["shown_prediction"][number, place][columns]))
            if number in having:
                rows.append(PictureRow("attention", arrays["shown_overlay"][having.index(number), place][columns]))
            error = np.abs(rows[-2 if number in having else -1].frames.astype(float) - rows[0].frames).mean(-1)
            grey = np.minimum(2 * error, 255).astype(np.uint8)
            rows.append(PictureRow("error x 2", np.repeat(grey[..., None], 3, -1)))
        title = f"{clip['video']}" + (f": {clip['label']}" if clip.get("label") else "")
        blocks.append(PictureBlock(title, heads, rows))
    caption = (
        f"Clips of {truth.shape[1]} frames: {seen} are seen (reconstructions), the rest (+1, +2, …) is predicted open "
        "loop, one sample. Attention of the boxed region over the last seen frame: grey up to the weight of an even "
        "spread, then red, yellow from 32 times that on. " + " ".join(f"{verdict}." for verdict in record.verdicts)
    )
    plot = PicturePlot(blocks, computation.width)
    return PlannedFigure(f"{name}_pictures", f"Predictions: {where}", caption, plot, (str(analysis.folder),))


def _spread(first: int, last: int, count: int) -> list[int]:
    """At most `count` whole numbers from `first` to `last`, both included, evenly spread."""
    return sorted(set(np.linspace(first, last, min(count, last - first + 1)).round().astype(int).tolist()))
