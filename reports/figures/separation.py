"""The papers' figures that come from analyses: what a model attends to (8a, 11), and what its states know (8b)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ipv_bench.joined_sets import told_sets
from reports.computation import Computation
from reports.figures.drawn import PlannedFigure
from reports.figures.paper_figures import Material
from reports.figures.pictures import PictureBlock, PicturePlot, PictureRow, Value
from reports.figures.scatter import PointPanel, PointPlot
from reports.readers.analyses import NOT_DRAWABLE, Analyses, Analysis, folders_of, not_drawable

SET_TITLES: Mapping[str, str] = {
    "ssv2": "Something-Something v2", "human36m": "Human3.6M", "youtube-driving": "YouTube Driving"
}  # fmt: skip
PAPER_LABELS = ("Pushing something from left to right", "Pushing something from right to left")


@dataclass(frozen=True)
class AttentionFigure:
    """Rows ground truth, prediction and context attention per model, for each of some data sets.

    Attributes:
        title: heading on the page.
        sets: data sets in order, one block of rows each.
        clips: clips of each set.
        needs: see `MadeFigure`.
        at_most: so many sets are drawn: the first ones that were analysed.
    """

    title: str
    sets: Sequence[str]
    clips: int
    needs: str
    at_most: int = 3

    def plan(self, name: str, material: Material) -> PlannedFigure | None:
        """See `MadeFigure.plan`."""
        found = material.analyses.of("attention")
        there: dict[str, Analysis] = {}
        missing: list[str] = []
        for data_set in self.sets:
            analysis = _best([one for one in found if one.sets == [data_set]])
            if analysis is not None:
                there[data_set] = analysis
            else:
                missing.append(SET_TITLES[data_set])
            if len(there) == self.at_most:
                break
        if not there:
            return None
        more = f" No analysis of {', '.join(missing)} was given." if missing else ""
        return attention_figure(name, self.title, there, self.clips, material.computation, more)


def attention_figure(
    name: str, title: str, there: Mapping[str, Analysis], clips: int, computation: Computation, more: str = ""
) -> PlannedFigure:
    """Rows of pictures of `attention` analyses, by data set."""
    blocks = [block for one, analysis in there.items() for block in _blocks(one, analysis, clips)]
    numbers = [row for one, analysis in there.items() for row in _distances(one, analysis)]
    note = "Box: target region. Attention: weights over the context frame, without masking."
    plot = PicturePlot(blocks, computation.width, note if computation.config.figure_notes else "", numbers)
    return PlannedFigure(name, title, _attention_caption(there) + more, plot, folders_of(there.values()))


def _best(analyses: Sequence[Analysis]) -> Analysis | None:
    """The analysis that shows most: models with and without attention side by side, then more models, then by path."""

    def shows(analysis: Analysis) -> tuple[bool, int]:
        models = len(analysis.record.models)
        return len(analysis.arrays["looking"]) < models, models

    return max(analyses, key=shows) if analyses else None


def _blocks(data_set: str, analysis: Analysis, clips: int) -> list[PictureBlock]:
    arrays, models = analysis.arrays, analysis.record.models
    columns, seen = arrays["columns"].tolist(), int(arrays["observed"])
    looking = arrays["looking"].tolist()
    labels = analysis.record.numbers.get("clips", [])
    blocks = []
    for clip in range(min(clips, len(arrays["truth"]))):
        rows = [PictureRow("ground truth", arrays["boxed"][clip, columns])]
        for number in sorted(range(len(models)), key=lambda one: one not in looking):
            rows.append(PictureRow(models[number].label, arrays["prediction"][number, clip][columns]))
            if number in looking:
                shown = arrays["overlay"][looking.index(number), clip]
                rows.append(PictureRow(f"{models[number].label}: attention", shown[columns]))
        what = str(labels[clip].get("label", "")) if clip < len(labels) else ""
        title = SET_TITLES.get(data_set, data_set) + (f": {what}" if what else "")
        blocks.append(PictureBlock(title, [_head(t, seen) for t in columns], rows))
    return blocks


def _head(frame: int, seen: int) -> str:
    """Name of a column: frames are counted from 1, as in the paper; predicted ones have a plus."""
    return f"{frame + 1}" if frame < seen else f"{frame + 1} (+{frame + 1 - seen})"


def _distances(data_set: str, analysis: Analysis) -> list[Value]:
    """Rows of the values' file: how far the attention's centre is from where the object was."""
    numbers, panel = analysis.record.numbers, f"{data_set}: pixels from the source"
    rows: list[Value] = []
    for baseline in ("identity", "uniform"):
        if baseline in numbers:
            rows.append((panel, baseline, 0, *_ends(numbers[baseline]), 1))
    for model in analysis.record.models:
        for what in ("centre", "peak"):
            found = analysis.numbers(model.label).get(what)
            if found is not None:
                rows.append((panel, f"{model.label}, {what}", 0, *_ends(found), 1))
    return rows


def _ends(value: Mapping[str, Any]) -> tuple[float, float, float]:
    point, low, high = (np.nan if value.get(key) is None else float(value[key]) for key in ("point", "low", "high"))
    return point, low, high


def _attention_caption(there: Mapping[str, Analysis]) -> str:
    first = next(iter(there.values()))
    arrays, config = first.arrays, first.record.config
    side, seen = int(arrays["side"]), int(arrays["observed"])
    target = config.get("target")
    region = f"[x, y, size] = {list(target)} of the {side}x{side} map" if isinstance(target, list) else str(target)
    words = [
        f"Clips of {config.get('length')} frames: {seen} are seen (reconstructions), the rest is predicted open loop. "
        f"The context frame is frame {int(arrays['context']) + 1}, over which attention is drawn: mean over heads and "
        f"over a target region ({region}), without masking, grey where it is no more than an even spread gives."
    ]
    words += [f"{SET_TITLES.get(one, one)}: {verdict}." for one, analysis in there.items()
              for verdict in analysis.record.verdicts]  # fmt: skip
    return " ".join(words)


@dataclass(frozen=True)
class StateFigure:
    """t-SNE of clip-averaged states, a panel per model, coloured by label.

    Attributes:
        title, needs: as in `AttentionFigure`.
        sets: data sets in order; the first one that was analysed is drawn.
    """

    title: str
    sets: Sequence[str]
    needs: str

    def plan(self, name: str, material: Material) -> PlannedFigure | None:
        """See `MadeFigure.plan`."""
        found = [one for one in material.analyses.of("embed") if len(one.sets) == 1 and one.sets[0] in self.sets]
        if not found:
            return None

        def rank(analysis: Analysis) -> tuple[int, bool, int]:
            asked = _labels(analysis) == sorted(PAPER_LABELS)
            return -self.sets.index(analysis.sets[0]), asked, len(analysis.record.models)

        analysis = max(found, key=rank)
        title = f"{self.title}: {SET_TITLES[analysis.sets[0]]}"
        return states_figure(name, title, analysis, material.computation)


def states_figure(name: str, title: str, analysis: Analysis, computation: Computation) -> PlannedFigure:
    """The map of an `embed` analysis; ordered by method: the vanilla model first, as in the paper."""
    arrays, models = analysis.arrays, analysis.record.models
    order = sorted(range(len(models)), key=lambda one: (models[one].method, one))
    panels = [PointPanel(models[one].label, arrays["points"][one], arrays["label"]) for one in order]
    caption = (
        f"States of {len(arrays['label'])} clips of {analysis.record.config.get('length')} frames, mean over time "
        f"({arrays['state_0'].shape[1]} numbers), by t-SNE (seed {analysis.record.seed}); trained without labels. "
        + " ".join(f"{verdict}." for verdict in analysis.record.verdicts)
    )
    note = "Distances between groups and their sizes mean nothing in t-SNE."
    plot = PointPlot(panels, _labels(analysis), computation.width, note if computation.config.figure_notes else "")
    return PlannedFigure(name, title, caption, plot, folders_of([analysis]))


def composition_figure(name: str, title: str, analysis: Analysis, computation: Computation) -> PlannedFigure:
    """Motions (rows) in scenes (columns) of a `compose` analysis, one block per model: the last frames."""
    arrays, models = analysis.arrays, analysis.record.models
    motions, scenes = arrays["grid_motion"], arrays["grid_scene"]
    blank = np.full((2, *motions.shape[2:]), 255, np.uint8)
    heads = ["A, first", "A, last", *(f"in B{number + 1}" for number in range(len(scenes)))]
    blocks = []
    for number, model in enumerate(models):
        rows = [PictureRow("B, first", np.concatenate([blank, scenes]))]
        for clip, motion in enumerate(motions):
            frames = np.concatenate([motion[[0, -1]], arrays["grid"][number, clip, :, -1]])
            rows.append(PictureRow(f"A{clip + 1}", frames))
        blocks.append(PictureBlock(model.label, heads, rows))
    caption = (
        "Compositional decoding (the poster's): the dynamics of clip A with the first frame of clip B as context, "
        "last frame of each. " + " ".join(f"{verdict}." for verdict in analysis.record.verdicts)
    )
    note = "A's motion in B's scene; a model without a context path starts from B's first frame and takes A's latents."
    numbers = [row for model in models for row in _shares(model.label, analysis.numbers(model.label))]
    plot = PicturePlot(blocks, computation.width, note if computation.config.figure_notes else "", numbers)
    return PlannedFigure(name, title, caption, plot, folders_of([analysis]))


def _shares(label: str, numbers: Mapping[str, Any]) -> list[Value]:
    found: list[Value] = []
    for what, parts in numbers.items():
        if isinstance(parts, dict):
            found += [(label, f"{what}, {part}", 0, *_ends(value), 1) for part, value in parts.items()]
    return found


def analysis_figures(analyses: Analyses, computation: Computation) -> list[PlannedFigure]:
    """What a report shows of the analyses that it was given, without being asked: one figure each, by folder."""
    planned = []
    for kind, (title, plan) in _KINDS.items():
        number = 1
        for analysis in analyses.of(kind):
            where = told_sets(SET_TITLES.get(one, one) for one in analysis.sets)
            name = f"{kind}_{number}" if number > 1 else kind
            try:
                planned.append(plan(name, f"{title}: {where}", analysis, computation))
                number += 1
            except NOT_DRAWABLE as error:
                analyses.refuse(analysis, not_drawable(analysis, error))
    return planned


def _attention_of_one(name: str, title: str, analysis: Analysis, computation: Computation) -> PlannedFigure:
    return attention_figure(name, title, {told_sets(analysis.sets): analysis}, 4, computation)


_KINDS: Mapping[str, tuple[str, Callable[[str, str, Analysis, Computation], PlannedFigure]]] = {
    "attention": ("Prediction and context attention", _attention_of_one),
    "embed": ("Clip-averaged states", states_figure),
    "compose": ("Motion of one clip, appearance of another", composition_figure),
}


def _labels(analysis: Analysis) -> list[str]:
    return [str(name) for name in analysis.record.numbers.get("labels", [])]


def _needs(kind: str, data: str, more: str = "") -> str:
    return (
        f"`ipv-bench analyze {kind} RUN_OF_CONTEXTWM RUN_OF_APV --data data/shards/{data}{more}`, and give its folder "
        "to the report"
    )


FIGURE_8A = AttentionFigure(
    "Figure 8a: video prediction and context attention", tuple(SET_TITLES), 2, _needs("attention", "ssv2"), at_most=1
)
FIGURE_8B = StateFigure(
    "Figure 8b: clip-averaged states",
    tuple(SET_TITLES),
    _needs("embed", "ssv2", f" --set 'labels={json.dumps(PAPER_LABELS)}'"),
)
FIGURE_11 = AttentionFigure(
    "Figure 11: video prediction and context attention on three data sets", tuple(SET_TITLES), 2,
    "one such command per data set (ssv2, human36m, youtube-driving): " + _needs("attention", "NAME"),
)  # fmt: skip
