"""One look for every figure, and saving that gives the same bytes for the same figure."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7A5C00")
"""Okabe and Ito's colours (the yellow left out: too pale for lines on white), told apart with any colour vision."""

DASHES: tuple[Any, ...] = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
"""A second sign beside the colour: for grey prints, and once the palette is used up."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

PNG_DPI = 160
BAND_ALPHA = 0.18
PANEL_WIDTH, PANEL_HEIGHT = 2.35, 1.95
"""Inches of one small panel: three of them fill the text width of a paper."""

_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so every machine draws the same glyphs
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.7,
    "grid.color": "#D9D9D9",
    "grid.linewidth": 0.5,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,  # whole TrueType glyphs: editors of journals refuse Type 3
    "svg.fonttype": "path",  # a page that looks the same without our font
    "text.usetex": False,
    "text.parse_math": False,  # a task named "a$b" is a name, not a formula
    "path.simplify": True,
}


@dataclass(frozen=True)
class LineStyle:
    """How one method looks in all figures of a report."""

    color: str
    dash: Any  # a matplotlib line style
    marker: str


def line_style(index: int) -> LineStyle:
    """The style of the method with this index; 32 of them differ."""
    color = PALETTE[index % len(PALETTE)]
    dash = DASHES[(index // len(PALETTE)) % len(DASHES)]
    return LineStyle(color, dash, MARKERS[index % len(MARKERS)])


@contextmanager
def style() -> Iterator[None]:
    """The project's look; the user's own matplotlibrc changes nothing."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")  # drawn as a box
            yield


def render(figure: Figure, name: str) -> dict[str, bytes]:
    """The figure as `{"svg": …, "pdf": …, "png": …}`.

    No dates and no random ids: the same figure gives the same bytes (with one matplotlib version).

    Args:
        figure: made inside `style()`.
        name: prefix of the SVG's ids, so that several SVGs can stand in one page.
    """
    buffers = {kind: io.BytesIO() for kind in ("svg", "pdf", "png")}
    with style(), matplotlib.rc_context({"svg.hashsalt": name}):
        engine = figure.get_layout_engine()
        if engine is not None:  # laid out once, then drawn three times
            engine.execute(figure)
            figure.set_layout_engine("none")
        # The canvases' own methods: `savefig` draws each file twice.
        svg: Any = FigureCanvasSVG(figure)
        pdf: Any = FigureCanvasPdf(figure)
        svg.print_svg(buffers["svg"], metadata={"Date": None, "Creator": None})
        no_date = {"CreationDate": None, "Creator": "ipv-bench", "Producer": None}
        pdf.print_pdf(buffers["pdf"], metadata=no_date)
        figure.set_dpi(PNG_DPI)
        png: Any = FigureCanvasAgg(figure)
        png.print_png(buffers["png"], metadata={"Software": None})
    files = {kind: buffer.getvalue() for kind, buffer in buffers.items()}
    files["svg"] = _own_ids(files["svg"].decode(), name).encode()
    return files


def _own_ids(svg: str, name: str) -> str:
    """Prefix every id and drop comments: ids must be unique in a page, and comments hold text from runs."""
    prefix = re.sub(r"[^A-Za-z0-9-]", "-", name)
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'xlink:href="#([^"]+)"', rf'xlink:href="#{prefix}-\1"', svg)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", svg)
