"""UWM's Table 1 and Figures 3 to 5, from what its runs leave of pairs of frames (analyses of kind "pairs")."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.figures.bars import BarPlot, IntervalBar
from reports.figures.drawn import PlannedFigure
from reports.figures.paper_figures import Material
from reports.figures.pictures import PictureBlock, PicturePlot, PictureRow, Value
from reports.readers.analyses import Analysis, folders_of

SET_TITLES: Mapping[str, str] = {"ssv2": "Something-Something v2", "ego4d": "Ego4D"}
SHOWN = 8
"""Pairs in a figure, at most."""
BEFORE = "pairs_before"
SEEN_ROWS = (
    ("observation", "O(t)"), ("reconstruction", "R(t)"), ("next_observation", "O(t+1)"),
    ("next_reconstruction", "R(t+1)"),
)  # fmt: skip


def _pairs(material: Material) -> list[Analysis]:
    return material.analyses.of("pairs")


def _is_before(analysis: Analysis) -> bool:
    return analysis.folder.name == BEFORE


def _kind(analysis: Analysis) -> str:
    """pretrain, or what `adapt` trained."""
    parts = analysis.record.config.get("parts")
    return str(parts) if parts else str(analysis.record.models[0].kind)


def _title(analysis: Analysis) -> str:
    return "+".join(SET_TITLES.get(name, name) for name in analysis.sets)


def _by_set(found: Sequence[Analysis]) -> dict[str, Analysis]:
    """The analysis of most updates for each set of data sets."""
    chosen: dict[str, Analysis] = {}
    for analysis in found:
        title = _title(analysis)
        if title not in chosen or analysis.record.models[0].step > chosen[title].record.models[0].step:
            chosen[title] = analysis
    return chosen


def _rows(analysis: Analysis, named: Sequence[tuple[str, str]]) -> list[PictureRow]:
    return [PictureRow(label, analysis.arrays[name][:SHOWN]) for name, label in named]


def _pictured(found: Mapping[str, Analysis]) -> dict[str, Analysis]:
    """Those with pictures: a run that keeps none (`validation.strips=0`) has its distances alone."""
    return {title: one for title, one in found.items() if len(one.arrays["observation"])}


def _measure(analysis: Analysis) -> str:
    return "lpips" if "prediction_lpips_to_next" in analysis.arrays else "mse"


def _measure_title(measure: str) -> str:
    return "LPIPS" if measure == "lpips" else "squared error"


def _distances(analysis: Analysis, panel: str, of: str = "prediction") -> list[Value]:
    """Rows of the values' file: each pair's distances, and their mean."""
    measure, rows = _measure(analysis), list[Value]()
    for to in ("first", "next"):
        values = analysis.arrays[f"{of}_{measure}_to_{to}"].astype(float)
        line = f"{of}: {_measure_title(measure)} to the {to} frame"
        rows += [(panel, line, number + 1, value, math.nan, math.nan, 1) for number, value in enumerate(values)]
        point, low, high = mean_interval(values)
        rows.append((panel, f"{line}, mean", math.nan, point, low, high, 1))
    return rows


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean, and the ends of its 95 % interval by the normal approximation; NaN ends for a single value."""
    mean = float(values.mean())
    if len(values) < 2:
        return mean, math.nan, math.nan
    half = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def _verdicts(found: Mapping[str, Analysis]) -> str:
    return " ".join(f"{title}: {analysis.record.verdicts[0]}." for title, analysis in found.items())


@dataclass(frozen=True)
class Table1:
    """Distances of predictions to the reconstructions of both frames, for each data set."""

    needs: str

    def plan(self, name: str, material: Material) -> PlannedFigure | None:
        """See `MadeFigure.plan`."""
        found = _by_set([one for one in _pairs(material) if _kind(one) == "pretrain" and not _is_before(one)])
        if not found:
            return None
        measures = {_measure(one) for one in found.values()}
        measure = "lpips" if measures == {"lpips"} else "mse"
        groups = []
        for to, head in (("first", "to O(t)"), ("next", "to O(t+1)")):
            bars = []
            for index, (title, analysis) in enumerate(found.items()):
                values = analysis.arrays[f"prediction_{measure}_to_{to}"].astype(float)
                bars.append(IntervalBar(title, *mean_interval(values), index, 1))
            groups.append((head, bars))
        words = _measure_title(measure) + (" (AlexNet)" if measure == "lpips" else "; no LPIPS weights were found")
        caption = (
            f"Distance of the predicted frame to the reconstructions of both frames, {words}: nearer to the next frame "
            f"than to the present one means no copy. Mean over held-out pairs, 95 % interval. {_verdicts(found)}"
        )
        return PlannedFigure(
            name, "UWM, Table 1: is the prediction a copy?", caption, BarPlot(groups), folders_of(found.values())
        )


@dataclass(frozen=True)
class Figure3:
    """Both frames, their reconstructions, and the prediction, for each data set."""

    needs: str

    def plan(self, name: str, material: Material) -> PlannedFigure | None:
        """See `MadeFigure.plan`."""
        found = _by_set([one for one in _pairs(material) if _kind(one) == "pretrain" and not _is_before(one)])
        found = _pictured(found)
        if not found:
            return None
        named = (*SEEN_ROWS, ("prediction", "predicted"))
        blocks = [PictureBlock(title, [], _rows(one, named)) for title, one in found.items()]
        numbers = [row for title, one in found.items() for row in _distances(one, title)]
        caption = (
            "Held-out pairs: two frames O, their reconstructions R by the features' decoder, and the second frame "
            f"as predicted from the first one's features and the latent action inferred from both. {_verdicts(found)}"
        )
        plot = PicturePlot(blocks, material.computation.width, numbers=numbers)
        return PlannedFigure(
            name, "UWM, Figure 3: predictions of the pre-trained model", caption, plot, folders_of(found.values())
        )


@dataclass(frozen=True)
class Figure4:
    """Pre-trained elsewhere, trained on the domain from scratch, and pre-trained then fine-tuned on a little of it."""

    needs: str

    def plan(self, name: str, material: Material) -> PlannedFigure | None:
        """See `MadeFigure.plan`."""
        found = _pairs(material)
        tuned = _pictured(_by_set([one for one in found if _kind(one) == "dynamics" and not _is_before(one)]))
        if not tuned:
            return None
        before = _by_set([one for one in found if _kind(one) == "dynamics" and _is_before(one)])
        scratch = _by_set([one for one in found if _kind(one) == "pretrain" and not _is_before(one)])
        blocks, numbers, shown = [], list[Value](), list(tuned.values())
        for title, one in tuned.items():
            rows = _rows(one, SEEN_ROWS)
            for label, others in (("W pre", before), ("W tfs", scratch), ("W ft", tuned)):
                other = others.get(title)
                if other is not None and _same_pairs(one, other):
                    shown.append(other)
                    rows += _rows(other, [("prediction", label)])
                    numbers += _distances(other, f"{title}, {label}")
            blocks.append(PictureBlock(title, [], rows))
        caption = (
            "Held-out pairs of the domain. W pre: pre-trained on other videos; W tfs: trained on all of the domain "
            "from scratch; W ft: the first one, fine-tuned on a little of the domain. Rows without a run are left out. "
            + _verdicts(tuned)
        )
        plot = PicturePlot(blocks, material.computation.width, numbers=numbers)
        return PlannedFigure(
            name, "UWM, Figure 4: fine-tuning on videos of the domain", caption, plot, folders_of(shown)
        )


def _same_pairs(one: Analysis, other: Analysis) -> bool:
    return np.array_equal(one.arrays["observation"], other.arrays["observation"])


@dataclass(frozen=True)
class Figure5:
    """The next frame under the inferred latent action, and under the real action."""

    needs: str

    def plan(self, name: str, material: Material) -> PlannedFigure | None:
        """See `MadeFigure.plan`."""
        found = _pictured(_by_set([one for one in _pairs(material) if _kind(one) == "adapter" and not _is_before(one)]))
        found = {title: one for title, one in found.items() if "action_prediction" in one.arrays}
        if not found:
            return None
        named = (
            ("observation", "O(t)"), ("next_observation", "O(t+1)"), ("prediction", "R LA"),
            ("action_prediction", "R GT"),
        )  # fmt: skip
        blocks = [PictureBlock(title, [], _rows(one, named)) for title, one in found.items()]
        numbers = [
            row for title, one in found.items() for of in ("prediction", "action_prediction")
            for row in _distances(one, title, of)
        ]  # fmt: skip
        caption = (
            "Held-out pairs of labelled videos: both frames, the second one as predicted under the latent action "
            "inferred from both (R LA), and under the real action through the adapter (R GT)."
        )
        plot = PicturePlot(blocks, material.computation.width, numbers=numbers)
        return PlannedFigure(
            name, "UWM, Figure 5: predictions under real actions", caption, plot, folders_of(found.values())
        )


_PRETRAINED = "runs of `ipv-bench pretrain --set method=uwm --data data/shards/NAME`, one per data set"
_DOMAIN = "a run of `ipv-bench adapt RUN --data DOMAIN --set parts=dynamics --set num_sequences=N`"
TABLE_1, FIGURE_3 = Table1(_PRETRAINED), Figure3(_PRETRAINED)
FIGURE_4 = Figure4(f"{_DOMAIN}; beside it, for W tfs, a pre-training run on the domain with the same seed and segments")
FIGURE_5 = Figure5("a run of `ipv-bench adapt RUN --data LABELLED --set parts=adapter`")
