"""Names of figures: one registry of those that the papers have and of where each is made.

Three kinds of entries share one list of names, `--figures paper` and `--figures NAME`:

* **from runs**: a YAML in `ipv_bench/presets/figures/`, a `FigureConfig`. Nothing else is needed.
* **from other material** (analyses, frames of shard sets, videos of policies): an entry in `MADE`, name →
  `module:ATTRIBUTE`, an object that follows `MadeFigure`: it looks for its material in what the report was given and
  plans a figure, or says what is missing and which command makes it.
* **places**: figures that nobody has built yet, or that are made elsewhere, `PLACES`, name → why. A place is gone once
  its name is in `MADE` or in the YAMLs.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ipv_bench.config import build, load_preset, preset_names
from ipv_bench.errors import UnknownNameError, UsageError
from reports.computation import Computation
from reports.config import FigureConfig
from reports.figures.drawn import PlannedFigure
from reports.readers.analyses import Analyses
from reports.scores.score_table import Collection

PAPER = "paper"
"""The name that stands for all of them."""

MADE: Mapping[str, str] = {
    "fig8a": "reports.figures.separation:FIGURE_8A",
    "fig8b": "reports.figures.separation:FIGURE_8B",
    "fig11": "reports.figures.separation:FIGURE_11",
    "uwm_table1": "reports.figures.frame_pairs:TABLE_1",
    "uwm_fig3": "reports.figures.frame_pairs:FIGURE_3",
    "uwm_fig4": "reports.figures.frame_pairs:FIGURE_4",
    "uwm_fig5": "reports.figures.frame_pairs:FIGURE_5",
}
"""Figure → `module:ATTRIBUTE` of the `MadeFigure` that plans it."""

_FRAMES = "example frames need environments, which reports do not run: `python docs/example_frames.py` makes it"
PLACES: Mapping[str, str] = {
    "fig1": _FRAMES,
    "fig4": _FRAMES,
}
"""Figure → why it is not drawn."""


@dataclass(frozen=True)
class Material:
    """What a figure may be made from.

    Attributes:
        analyses: those among the paths that the report was given.
        collection: the runs in them.
        computation: width, seed and config of the report.
    """

    analyses: Analyses
    collection: Collection
    computation: Computation


class MadeFigure(Protocol):
    """A figure that is not made from scores.

    Attributes:
        needs: what it is made from and the command that makes that, for the message when nothing is there.
    """

    needs: str

    def plan(self, name: str, material: Material) -> PlannedFigure | None:
        """The figure; None where its material is not there."""


@dataclass(frozen=True)
class Wanted:
    """What `--figures` asked for.

    Attributes:
        described: name → figure from runs.
        made: name → figure from other material.
        places: name → why it is not drawn.
        optional: names that came with `paper` or a group: they are drawn where something is there.
    """

    described: Mapping[str, FigureConfig]
    made: Mapping[str, MadeFigure]
    places: Mapping[str, str]
    optional: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.described or self.made or self.places)


def figure_names() -> list[str]:
    """All names, in the papers' order."""
    return sorted({*preset_names("figures"), *MADE, *PLACES}, key=_in_order)


def _in_order(name: str) -> tuple[str, int, str]:
    found = re.fullmatch(r"([a-z_]*?)(\d*)([a-z]?)", name)
    return (found[1], int(found[2] or 0), found[3]) if found else (name, 0, "")


def members(name: str) -> list[str]:
    """The figures that a name stands for: all for `paper`, `fig9a` to `fig9d` for `fig9`, `prelar_…` for `prelar`."""
    if name == PAPER:
        return figure_names()
    return [one for one in figure_names() if re.fullmatch(rf"{re.escape(name)}([a-z]|_\w+)", one)]


def wanted_figures(names: Sequence[str], own: Mapping[str, FigureConfig]) -> Wanted:
    """The figures with these names, the user's before the papers'; several may stand in one text (`fig5a,fig6`).

    Raises:
        UnknownNameError: no such figure; the nearest is named.
        UsageError: a figure was asked for by its own name that is not drawn here.
    """
    described: dict[str, FigureConfig] = {}
    made: dict[str, MadeFigure] = {}
    places: dict[str, str] = {}
    optional: set[str] = set()
    asked = [part.strip() for name in names for part in name.split(",") if part.strip()]
    known = figure_names()
    for name in dict.fromkeys(asked):
        if name in own:
            described[name] = own[name]
            continue
        group = [] if name in known else members(name)
        if name not in known and not group:
            groups = {PAPER, *(re.sub(r"_\w+$|(?<=\d)[a-z]$", "", one) for one in known)}
            raise UnknownNameError("figure", name, [*own, *known, *sorted(groups - {*known})])
        optional |= set(group) - set(asked)
        for one in group or [name]:
            if one in preset_names("figures"):
                described[one] = build(FigureConfig, load_preset("figures", one))
            elif one in MADE:
                made[one] = _load(MADE[one])
            elif group:
                places[one] = PLACES[one]
            else:
                raise UsageError(
                    f"report does not draw {one}: {PLACES[one]}",
                    expected="another figure",
                    fix=f"leave {one} out; `--figures paper` draws all that it can",
                )
    return Wanted(described, made, places, frozenset(optional))


def _load(target: str) -> MadeFigure:
    module, _, attribute = target.partition(":")
    found: MadeFigure = getattr(importlib.import_module(module), attribute)
    return found
