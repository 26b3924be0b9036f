"""UWM's Table 1 and Figures 3 to 5, from what its runs leave of pairs of frames (analyses of kind "pairs")."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.figures.bars import BarPlot, IntervalBar
from reports.figures.chosen_pairs import choose, told_run
from reports.figures.drawn import PlannedFigure
from reports.figures.paper_figures import Material
from reports.figures.pictures import PictureBlock, PicturePlot, PictureRow, Value
from reports.readers.analyses import Analysis, folders_of

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


def _of(material: Material, kind: str) -> list[Analysis]:
    """What runs of a kind left after their last update."""
    return [one for one in _pairs(material) if _kind(one) == kind and not _is_before(one)]


def _rows(analysis: Analysis, named: Sequence[tuple[str, str]]) -> list[PictureRow]:
    return [PictureRow(label, analysis.arrays[name][:SHOWN]) for name, label in named]


def _has_pictures(analysis: Analysis) -> bool:
    """A run that keeps none (`validation.strips=0`) has its distances alone."""
    return len(analysis.arrays["observation"]) > 0


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
        chosen = choose(_of(material, "pretrain"))
        found = chosen.shown
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
            f"than to the present one means no copy. Mean over held-out pairs, 95 % interval. {_verdicts(found)} "
            f"{chosen.words()}"
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
        chosen = choose(_of(material, "pretrain")).only(_has_pictures)
        found = chosen.shown
        if not found:
            return None
        named = (*SEEN_ROWS, ("prediction", "predicted"))
        blocks = [PictureBlock(title, [], _rows(one, named)) for title, one in found.items()]
        numbers = [row for title, one in found.items() for row in _distances(one, title)]
        caption = (
            "Held-out pairs: two frames O, their reconstructions R by the features' decoder, and the second frame "
            f"as predicted from the first one's features and the latent action inferred from both. {_verdicts(found)} "
            f"{chosen.words()}"
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
        chosen = choose(_of(material, "dynamics")).only(_has_pictures)
        if not chosen.shown:
            return None
        blocks, numbers, shown, told = [], list[Value](), list[Analysis](), []
        for title, one in chosen.shown.items():
            rows = _rows(one, SEEN_ROWS)
            scratch = _from_scratch(material, one)
            for label, other in (("W pre", _before(material, one)), ("W tfs", scratch), ("W ft", one)):
                if other is not None and _same_pairs(one, other):
                    shown.append(other)
                    rows += _rows(other, [("prediction", label)])
                    numbers += _distances(other, f"{title}, {label}")
            blocks.append(PictureBlock(title, [], rows))
            told.append(f"{title}: fine-tuned on {_tuned_on(one)}")
            if scratch is not None:
                told[-1] += f"; from scratch: {told_run(scratch)}"
        caption = (
            "Held-out pairs of the domain. W pre: pre-trained on other videos; W tfs: trained on all of the domain "
            "from scratch; W ft: the first one, fine-tuned on videos of the domain. Rows without a run are left out. "
            f"{_verdicts(chosen.shown)} {'. '.join(told)}. {chosen.words()}"
        )
        plot = PicturePlot(blocks, material.computation.width, numbers=numbers)
        return PlannedFigure(
            name, "UWM, Figure 4: fine-tuning on videos of the domain", caption, plot, folders_of(shown)
        )


def _before(material: Material, tuned: Analysis) -> Analysis | None:
    """The same run before its first update."""
    place = tuned.folder.parent / BEFORE
    return next((one for one in _pairs(material) if one.folder == place), None)


def _from_scratch(material: Material, tuned: Analysis) -> Analysis | None:
    """A model that was pre-trained on the domain itself and looked at on the same pairs: the plainest variant."""
    rivals = [one for one in _of(material, "pretrain") if one.sets == tuned.sets and _same_pairs(tuned, one)]
    return next(iter(choose(rivals).shown.values()), None)


def _tuned_on(tuned: Analysis) -> str:
    """How much of a domain a run was fine-tuned on, as it says itself."""
    said = tuned.record.config
    for key, words in (("num_segments", "fixed segments"), ("num_sequences", "videos, whose pairs are drawn anew")):
        if isinstance(said.get(key), int):
            return f"{said[key]:,} {words}"
    return "all of its videos" if "num_sequences" in said else "videos whose number it does not say"


def _same_pairs(one: Analysis, other: Analysis) -> bool:
    return np.array_equal(one.arrays["observation"], other.arrays["observation"])


@dataclass(frozen=True)
class Figure5:
    """The next frame under the inferred latent action, and under the real action."""

    needs: str

    def plan(self, name: str, material: Material) -> PlannedFigure | None:
        """See `MadeFigure.plan`."""
        acting = [one for one in _of(material, "adapter") if "action_prediction" in one.arrays]
        chosen = choose(acting).only(_has_pictures)
        found = chosen.shown
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
            "inferred from both (R LA), and under the real action through the adapter (R GT). "
            f"{chosen.words()}"
        )
        plot = PicturePlot(blocks, material.computation.width, numbers=numbers)
        return PlannedFigure(
            name, "UWM, Figure 5: predictions under real actions", caption, plot, folders_of(found.values())
        )


_PRETRAINED = "runs of `ipv-bench pretrain --set method=uwm --data data/shards/NAME`, one per data set"
_DOMAIN = "a run of `ipv-bench adapt RUN --data DOMAIN --set parts=dynamics --set num_segments=2000`"
TABLE_1, FIGURE_3 = Table1(_PRETRAINED), Figure3(_PRETRAINED)
FIGURE_4 = Figure4(f"{_DOMAIN}; beside it, for W tfs, a pre-training run on the domain with the same seed and segments")
FIGURE_5 = Figure5("a run of `ipv-bench adapt RUN --data LABELLED --set parts=adapter`")
