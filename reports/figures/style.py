"""One look for every figure, and saving that gives the same bytes for the same figure."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from reports.figures.text_metrics import FONT

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7A5C00")
"""Okabe and Ito's colours (the yellow left out: too pale for lines on white), told apart with any colour vision."""

DASHES: tuple[Any, ...] = (
    "solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (9, 2)), (0, (4, 1.2, 1.2, 1.2, 1.2, 1.2)),
)  # fmt: skip
"""A second sign beside the colour, from the second line on: grey prints and copies have no colours."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

PNG_DPI = 160
BAND_ALPHA = 0.18

FORMATS = ("pdf", "svg", "png")

TITLE_SIZE, LABEL_SIZE, TICK_SIZE, NOTE_SIZE = 7.5, 7.0, 6.5, 6.0
"""Points at the width the figure is made for; no journal takes less than 6."""

_RC: dict[Any, Any] = {
    "font.family": FONT,
    "lines.linewidth": 1.3,
    "pdf.fonttype": 42,  # whole TrueType glyphs: editors of journals refuse Type 3
    "svg.fonttype": "path",  # a page that looks the same without our font
    "text.usetex": False,
    "text.parse_math": False,  # a task named "a$b" is a name, not a formula
    "path.simplify": True,
}


@dataclass(frozen=True)
class LineStyle:
    """How one method looks in all figures of a report.

    Attributes:
        color: of line and band.
        dash: a matplotlib line style.
        marker: of its points.
        marked: whether the line carries its marker: dashes alone tell no more lines apart.
    """

    color: str
    dash: Any
    marker: str
    marked: bool


def line_style(index: int) -> LineStyle:
    """The style of the method with this index: the first 48 differ without their colours."""
    turn = index // len(DASHES)
    dash = DASHES[index % len(DASHES)]
    return LineStyle(PALETTE[index % len(PALETTE)], dash, MARKERS[turn - 1 if turn else index % len(MARKERS)], turn > 0)


@contextmanager
def style() -> Iterator[None]:
    """The project's look; the user's own matplotlibrc changes nothing."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")  # drawn as a box
            yield


def render(figure: Figure, name: str, formats: Sequence[str] = FORMATS) -> dict[str, bytes]:
    """The figure as `{"svg": …, "pdf": …, "png": …}`.

    No dates and no random ids: the same figure gives the same bytes (with one matplotlib version).

    Args:
        figure: to draw.
        name: prefix of the SVG's ids, so that several SVGs can stand in one page.
        formats: which of them.
    """
    files: dict[str, bytes] = {}
    with style(), matplotlib.rc_context({"svg.hashsalt": name}):
        # The canvases' own methods: `savefig` draws each file twice.
        if "svg" in formats:
            svg: Any = FigureCanvasSVG(figure)
            files["svg"] = _own_ids(_drawn(svg.print_svg, {"Date": None, "Creator": None}).decode(), name).encode()
        if "pdf" in formats:
            pdf: Any = FigureCanvasPdf(figure)
            no_date = {"CreationDate": None, "Creator": "ipv-bench", "Producer": None}
            files["pdf"] = _drawn(pdf.print_pdf, no_date)
        if "png" in formats:
            figure.set_dpi(PNG_DPI)
            png: Any = FigureCanvasAgg(figure)
            files["png"] = _drawn(png.print_png, {"Software": None})
    return files


def _drawn(write: Any, metadata: dict[str, str | None]) -> bytes:
    buffer = io.BytesIO()
    write(buffer, metadata=metadata)
    return buffer.getvalue()


def _own_ids(svg: str, name: str) -> str:
    """Prefix every id and drop comments: ids must be unique in a page, and comments hold text from runs.

    What the page can hide (`Canvas`, `hide`) gets a class in place of its id: a method has many parts.
    """
    prefix = re.sub(r"[^A-Za-z0-9-]", "-", name)
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="hide-([a-z0-9]+)"', r'class="\1"', svg)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'xlink:href="#([^"]+)"', rf'xlink:href="#{prefix}-\1"', svg)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", svg)
