"""Figures: the same bytes twice, text that cannot break them, ids that fit one page."""

from __future__ import annotations

import re
import time
import warnings
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from reports.figures.bars import IntervalBar, draw_interval_bars
from reports.figures.panels import Curve, Panel, draw_panels
from reports.figures.style import PALETTE, line_style, render
from reports.text import plain, short_number
from tests.reports.page.test_page import HOSTILE


def curve(label: str = "a", count: int = 5, style_index: int = 0) -> Curve:
    steps = np.arange(count) * 1000.0
    return Curve(label, steps, steps / 5000, steps / 6000, steps / 4000, style_index)


def test_the_same_figure_gives_the_same_bytes():
    panels = [Panel("one", [curve(), curve("b", style_index=1)]), Panel("two", [curve("b", style_index=1)])]
    first = render(draw_panels(panels), "same")
    time.sleep(1.1)  # file formats count time in seconds
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": "other", "axes.grid": False}):
        second = render(draw_panels(panels), "same")
    assert first == second
    assert first["pdf"].startswith(b"%PDF")
    assert b"CreationDate" not in first["pdf"]
    assert first["png"].startswith(b"\x89PNG")


def test_hostile_names_are_drawn_as_text():
    panel = Panel(HOSTILE, [curve(HOSTILE)], y_label=HOSTILE, missing=[HOSTILE], level=(HOSTILE, 0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = render(draw_panels([panel]), "hostile")
        bars = render(draw_interval_bars([(HOSTILE, [IntervalBar(HOSTILE, 0.5, 0.4, 0.6)])]), "bars")
    for svg in (files["svg"].decode(), bars["svg"].decode()):
        ElementTree.fromstring(svg.encode())
        assert "<!--" not in svg
        assert "script" not in svg


def test_ids_of_two_figures_differ_and_their_references_resolve():
    svgs = [render(draw_panels([Panel("same", [curve()])]), name)["svg"].decode() for name in ("one", "two")]
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in svgs]
    assert ids[0]
    assert not ids[0] & ids[1]
    for svg, known in zip(svgs, ids, strict=True):
        used = set(re.findall(r'xlink:href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg))
        assert used
        assert used <= known


def test_an_empty_panel_and_a_single_point_are_drawn():
    figure = draw_panels([Panel("nothing", [], missing=["missing 8 runs: a"]), Panel("point", [curve(count=1)])])
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert texts == ["missing 8 runs: a"]
    assert figure.axes[1].lines[0].get_marker() == "o"


def test_styles_of_32_methods_differ():
    styles = {(line_style(index).color, str(line_style(index).dash)) for index in range(32)}
    assert len(styles) == 32


def test_the_palette_can_be_told_apart_without_red_and_green():
    """Luminance or blue-yellow contrast must separate each pair for a viewer without the red-green channel."""

    def seen(color: str) -> np.ndarray:
        red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
        luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        return np.array([luminance, blue - (red + green) / 2])

    pairs = [(a, b) for index, a in enumerate(PALETTE) for b in PALETTE[index + 1 :]]
    assert min(np.linalg.norm(seen(a) - seen(b)) for a, b in pairs) > 0.07


def test_plain_text_is_one_printable_line():
    assert plain("a\nb\tc\x00\u2028") == "a·b·c··"
    assert plain("x" * 100, 10) == "x" * 9 + "…"


def test_short_numbers():
    assert [short_number(value) for value in (0, 250_000, 1_500_000, 0.25)] == ["0", "250k", "1.5M", "0.25"]


def test_curves_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="share one shape"):
        Curve("a", np.zeros(3), np.zeros(2), np.zeros(3), np.zeros(3))
