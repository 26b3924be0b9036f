"""A figure before and after it is drawn: what it shows, and its files as bytes."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from reports.figures.bars import BarPlot
from reports.figures.panels import PanelPlot
from reports.figures.pictures import PicturePlot
from reports.figures.scatter import PointPlot

Plot = PanelPlot | BarPlot | PicturePlot | PointPlot


@dataclass(frozen=True)
class PlannedFigure:
    """A figure of the report, still to be drawn.

    Attributes:
        name: file name without ending.
        title: heading on the page.
        caption: what is drawn and how it was computed.
        plot: what is drawn.
        made_from: folders or files of the runs, logs and analyses that it shows, for the report's record.
    """

    name: str
    title: str
    caption: str
    plot: Plot
    made_from: tuple[str, ...] = ()


@dataclass(frozen=True)
class DrawnFigure:
    """A figure of the report.

    Attributes:
        name, title, caption, made_from: see `PlannedFigure`.
        files: "svg", "pdf", "png" as far as they are wanted, and "csv", the values that are drawn → bytes.
        page_svg: the SVG for the page, also where none is wanted as a file.
    """

    name: str
    title: str
    caption: str
    files: Mapping[str, bytes]
    page_svg: bytes = field(repr=False, default=b"")
    made_from: tuple[str, ...] = ()

    @property
    def svg(self) -> str:
        """The SVG's text, for the page."""
        return self.page_svg.decode()


def values_csv(plot: Plot) -> bytes:
    """The drawn values, so that anyone can draw the figure again: full precision, empty where there is no interval."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["panel", "line", plot.x_name, "point", "low", "high", "runs"])
    writer.writerows([_cell(value) for value in row] for row in plot.values())
    return buffer.getvalue().encode("utf-8", "replace")


def _cell(value: str | float | int) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    text = str(value)
    # A spreadsheet would run it as a formula.
    return "'" + text if isinstance(value, str) and text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
