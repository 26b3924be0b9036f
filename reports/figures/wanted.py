"""The figures that were asked for by name: planned, with the runs of each line, and with what they lack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reports.config import FigureConfig
from reports.figures.curve_figures import Sheet, described_sheet
from reports.figures.drawn import PlannedFigure
from reports.figures.paper_figures import Material, Wanted
from reports.figures.selection import MissingRun, Selection, select_panels
from reports.readers.analyses import NOT_DRAWABLE
from reports.scores.findings import Finding, note, refusal, warning
from reports.scores.score_table import ScoredRun

_MUST_AGREE = ("preset", "pretraining.updates")
"""Fields by which runs of one line are another budget or size, although no override says so."""


@dataclass
class PlannedWanted:
    """What was planned.

    Attributes:
        sheets: figures from runs.
        pictures: figures from other material.
        findings: what is missing, was left out, or does not fit together.
        missing: runs that the figures lack, also those that are not drawn.
        lines: figure → its lines: panel, line, and where its runs were read (folders or files).
    """

    sheets: list[Sheet] = field(default_factory=list)
    pictures: list[PlannedFigure] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    missing: list[MissingRun] = field(default_factory=list)
    lines: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def plan_wanted(wanted: Wanted, normalised: Sequence[ScoredRun], material: Material) -> PlannedWanted:
    """Plan every figure that was asked for.

    Args:
        wanted: what was asked for.
        normalised: the runs of `material` on their suites' scales.
        material: runs as they were logged, and whatever else the report was given.
    """
    planned = PlannedWanted()
    for name, figure in wanted.described.items():
        selections = select_panels(name, figure, normalised, material.collection.runs)
        _plan_from_runs(planned, name, figure, selections, material, optional=name in wanted.optional)
    for name, made in wanted.made.items():
        try:
            found = made.plan(name, material)
        except NOT_DRAWABLE as error:
            text = f"{name} is not drawn: an analysis holds other numbers than its command writes: {error!r}"
            planned.findings.append(refusal("bad_analysis", text[:300], "make its analyses again"))
            continue
        if found is not None:
            planned.pictures.append(found)
        else:
            say = note if name in wanted.optional else warning
            planned.findings.append(say("no_material", f"{name} is not drawn: its material is not there", made.needs))
    for reason in dict.fromkeys(wanted.places.values()):
        names = [name for name, why in wanted.places.items() if why == reason]
        planned.findings.append(note("not_drawn_here", f"{', '.join(names)} not drawn: {reason}", subjects=names))
    return planned


def _plan_from_runs(
    planned: PlannedWanted,
    name: str,
    figure: FigureConfig,
    selections: Sequence[Selection],
    material: Material,
    *,
    optional: bool,
) -> None:
    missing = list({repr(run): run for selection in selections for run in selection.missing}.values())
    planned.missing += missing
    there = any(run.num_points for selection in selections for runs in selection.groups.values() for run in runs)
    if there or not optional:
        planned.sheets.append(described_sheet(name, figure, selections, material.computation))
        planned.lines[name] = list(_lines(selections))
    planned.findings += _left_out(name, selections)
    planned.findings += _other_pretraining(name, selections)
    planned.findings += _unlike(name, selections)
    if missing:
        labels = dict.fromkeys(f"{run.label}: {run.suite}/{run.task} seed {run.seed}" for run in missing)
        half = sum(run.drawn for run in missing)
        text = f"{name} lacks {len(missing)} runs" + ("" if there or not optional else ", that is all: it is not drawn")
        if half:
            text += f"; {half} of them are drawn as they are: not finished, or of another preset than {figure.preset}"
        fix = "`--missing-commands FILE` writes the commands that make them"
        planned.findings.append(warning("missing_runs", text, fix, labels))


def _lines(selections: Sequence[Selection]) -> Iterator[dict[str, Any]]:
    for selection in selections:
        for label, runs in selection.groups.items():
            yield {"panel": selection.title, "line": label, "runs": [run.source for run in runs]}


def _left_out(name: str, selections: Sequence[Selection]) -> Iterator[Finding]:
    """A note for each line from which variants were kept away."""
    changes: dict[str, dict[str, tuple[str, ...]]] = {}
    for selection in selections:
        for label, its_runs in selection.left_out.items():
            changes.setdefault(label, {}).update(its_runs)
    for label, found in changes.items():
        keys = sorted({change for its_changes in found.values() for change in its_changes})
        shown = ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
        yield note(
            "variants_left_out",
            f"{name}: {len(found)} runs fit {label} but for changes that it does not name: {shown}",
            "name them in the line's `where`, or in the figure's `ignore_changes`, to draw them",
            sorted(found),
        )


def _other_pretraining(name: str, selections: Sequence[Selection]) -> Iterator[Finding]:
    """A refusal for each line whose runs were pre-trained on different videos, or some of them on none."""
    found: dict[str, dict[str, dict[str, None]]] = {}
    for selection in selections:
        for label, kinds in selection.pretrained_on.items():
            for words, names in kinds.items():
                found.setdefault(label, {}).setdefault(words, {}).update(dict.fromkeys(names))
    for label, runs_of in found.items():
        drawn, *others = runs_of
        shown = "; ".join(f"{words}: {len(runs_of[words])} runs" for words in others)
        yield refusal(
            "mixed_pretraining",
            f"{name}: runs of {label} were pre-trained on different videos, which it does not name. Drawn are those "
            f"with {drawn} ({len(runs_of[drawn])} runs), left out {shown}",
            "say which in the line's `where`: pretraining.data (a list, [] for none) and pretraining.num_videos",
            [one for words in others for one in runs_of[words]],
        )


def _unlike(name: str, selections: Sequence[Selection]) -> Iterator[Finding]:
    """A warning for each line whose runs were made with several presets, or from models of several lengths."""
    of_line: dict[str, list[ScoredRun]] = {}
    for selection in selections:
        for label, group in selection.groups.items():
            of_line.setdefault(label, []).extend(group)
    for label, runs in of_line.items():
        for key in _MUST_AGREE:
            values = _values(runs, key)
            if len(values) > 1:
                shown = "; ".join(f"{value}: {number} runs" for value, number in values.items())
                text = f"{name}: runs of {label} differ in {key} ({shown})"
                yield warning("unlike_runs", text, f"choose with `where: {{{key}: ...}}` in the report's config")


def _values(runs: Sequence[ScoredRun], key: str) -> Mapping[Any, int]:
    counts: dict[Any, int] = {}
    for source in {run.source: run for run in runs}.values():
        value = source.value(key)
        if value not in (None, ""):
            counts[value] = counts.get(value, 0) + 1
    return counts
