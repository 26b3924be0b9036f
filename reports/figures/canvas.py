"""A figure that is drawn on in points, without matplotlib's axes.

Axes with their ticks and the search for a layout took two thirds of a report's time; lines, bands and text at places
that were computed beforehand take a fifth of that, and their sizes are known when they are placed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Affine2D, Bbox, TransformedBbox

from reports.figures.style import LineStyle
from reports.figures.text_metrics import LINE_HEIGHT

POINTS_PER_INCH = 72


@dataclass(frozen=True)
class Box:
    """A rectangle in points from the figure's lower left corner."""

    left: float
    bottom: float
    right: float
    top: float

    @property
    def width(self) -> float:
        """right - left."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """top - bottom."""
        return self.top - self.bottom


class Canvas:
    """Draws on a figure, within `style()`.

    Args:
        width, height: of the figure in points.
    """

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH))
        self.width, self.height = width, height
        self._points = Affine2D().scale(1 / POINTS_PER_INCH) + self.figure.dpi_scale_trans

    def line(
        self,
        x: np.ndarray,
        y: np.ndarray,
        look: LineStyle,
        *,
        clip: Box | None = None,
        hide: str = "",
        marks: bool = False,
    ) -> None:
        """A method's line.

        Args:
            x, y: (N,) in points.
            look: colour, dashes, marker.
            clip: nothing is drawn outside.
            hide: name by which the page can hide it.
            marks: markers at every point, whatever the look says: a line of one point has no length.
        """
        every = 1 if marks else max(1, len(x) // 6)
        artist = Line2D(
            x,
            y,
            color=look.color,
            linestyle=look.dash,
            marker=look.marker if marks or look.marked else "",
            markevery=every,
            markersize=4 if marks else 3,
            markeredgewidth=0,
            zorder=3,
        )
        self._add(artist, clip, hide)

    def band(
        self, x: np.ndarray, low: np.ndarray, high: np.ndarray, color: str, alpha: float, clip: Box | None, hide: str
    ) -> None:
        """The area between two lines (N,) in points."""
        corners = np.concatenate([np.stack([x, low], 1), np.stack([x, high], 1)[::-1]])
        artist = PolyCollection([corners], facecolors=color, edgecolors="none", alpha=alpha, linewidths=0, zorder=1)
        self._add(artist, clip, hide)

    def bar(self, box: Box, color: str, alpha: float, hide: str) -> None:
        """A filled rectangle."""
        x, low, high = np.array([box.left, box.right]), np.full(2, box.bottom), np.full(2, box.top)
        self.band(x, low, high, color, alpha, None, hide)

    def segments(
        self,
        ends: Sequence[tuple[float, float, float, float]],
        color: str,
        width: float,
        *,
        dash: Any = "solid",
        zorder: float = 0.5,
        hide: str = "",
    ) -> None:
        """Straight lines (x0, y0, x1, y1) in points."""
        if ends:
            lines = [((x0, y0), (x1, y1)) for x0, y0, x1, y1 in ends]
            self._add(
                LineCollection(lines, colors=color, linewidths=width, linestyles=[dash], zorder=zorder), None, hide
            )

    def text(
        self,
        x: float,
        y: float,
        lines: str | Sequence[str],
        size: float,
        *,
        across: str = "left",
        up: str = "baseline",
        color: str = "#1b1f24",
        rotation: float = 0.0,
        backed: bool = False,
        hide: str = "",
    ) -> None:
        """Text at a point.

        Args:
            x, y: of the anchor in points.
            lines: one or several lines.
            size: of the font in points.
            across, up: which part of the text is at the anchor, in matplotlib's words.
            color: of the letters.
            rotation: degrees, anticlockwise.
            backed: on a white ground.
            hide: name by which the page can hide it.
        """
        shown = lines if isinstance(lines, str) else "\n".join(lines)
        artist = Text(
            x, y, shown, fontsize=size, color=color, ha=across, va=up, rotation=rotation, rotation_mode="anchor",
            linespacing=LINE_HEIGHT, zorder=4, parse_math=False,
        )  # fmt: skip
        if hasattr(artist, "set_fontfeatures"):  # from matplotlib 3.11 on; a ligature costs a PDF a font of its own
            artist.set_fontfeatures(["-liga"])
        if backed:
            artist.set_bbox({"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1.5})
        self._add(artist, None, hide)

    def add(self, artist: Artist) -> None:
        """Any other artist, whose places are in points."""
        self._add(artist, None, "")

    def _add(self, artist: Artist, clip: Box | None, hide: str) -> None:
        artist.set_transform(self._points)
        artist.set_gid(f"hide-{hide}" if hide else None)
        self.figure.add_artist(artist)
        if clip is not None:
            inside = Bbox([[clip.left, clip.bottom], [clip.right, clip.top]])
            artist.set_clip_box(TransformedBbox(inside, self._points))
        else:
            artist.set_clip_path(None)
