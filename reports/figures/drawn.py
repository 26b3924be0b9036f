"""A finished figure: its files as bytes, and what is written below it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.figure import Figure

from reports.figures.style import render


@dataclass(frozen=True)
class DrawnFigure:
    """A figure of the report.

    Attributes:
        name: file name without ending.
        title: heading on the page.
        caption: what is drawn and how it was computed.
        files: "svg", "pdf" and "png" → bytes.
    """

    name: str
    title: str
    caption: str
    files: Mapping[str, bytes]

    @property
    def svg(self) -> str:
        """The SVG's text, for the page."""
        return self.files["svg"].decode()


def finish(figure: Figure, name: str, title: str, caption: str) -> DrawnFigure:
    """Render a figure in all formats."""
    return DrawnFigure(name, title, caption, render(figure, name))
