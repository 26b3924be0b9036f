"""Figures: the same bytes twice, text that cannot break them, ids that fit one page."""

from __future__ import annotations

import csv
import io
import re
import time
import warnings
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from reports.figures.bars import BarPlot, IntervalBar
from reports.figures.drawn import values_csv
from reports.figures.panels import Curve, Panel, PanelPlot, _y_limits
from reports.figures.profiles import profile_panel, profile_scale, profile_thresholds
from reports.figures.style import PALETTE, line_style, render
from reports.figures.text_metrics import text_width, wrapped
from reports.figures.ticks import Axis
from reports.text import plain, short_number
from tests.reports.page.test_page import HOSTILE


def curve(label: str = "a", count: int = 5, style_index: int = 0) -> Curve:
    steps = np.arange(count) * 1000.0
    return Curve(label, steps, steps / 5000, steps / 6000, steps / 4000, style_index)


def test_the_same_figure_gives_the_same_bytes():
    panels = [Panel("one", [curve(), curve("b", style_index=1)]), Panel("two", [curve("b", style_index=1)])]
    first = render(PanelPlot(panels).draw(), "same")
    time.sleep(1.1)  # file formats count time in seconds
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": "other", "axes.grid": False}):
        second = render(PanelPlot(panels).draw(), "same")
    assert first == second
    assert first["pdf"].startswith(b"%PDF")
    assert b"CreationDate" not in first["pdf"]
    assert first["png"].startswith(b"\x89PNG")


def test_hostile_names_are_drawn_as_text():
    panel = Panel(HOSTILE, [curve(HOSTILE)], y_label=HOSTILE, missing=[HOSTILE], level=(HOSTILE, 0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = render(PanelPlot([panel], note=HOSTILE).draw(), "hostile")
        bars = render(BarPlot([(HOSTILE, [IntervalBar(HOSTILE, 0.5, 0.4, 0.6)])], note=HOSTILE).draw(), "bars")
    for svg in (files["svg"].decode(), bars["svg"].decode()):
        ElementTree.fromstring(svg.encode())
        assert "<!--" not in svg
        assert "script" not in svg


def test_ids_of_two_figures_differ_and_their_references_resolve():
    svgs = [render(PanelPlot([Panel("same", [curve()])]).draw(), name)["svg"].decode() for name in ("one", "two")]
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in svgs]
    assert ids[0]
    assert not ids[0] & ids[1]
    for svg, known in zip(svgs, ids, strict=True):
        used = set(re.findall(r'xlink:href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg))
        assert used
        assert used <= known


def texts(figure: Figure) -> list[Text]:
    return [one for one in figure.findobj(Text) if one.get_text()]


def test_an_empty_panel_and_a_single_point_are_drawn():
    panels = [Panel("nothing", [], missing=["missing 8 runs: a"]), Panel("point", [curve(count=1)])]
    figure = PanelPlot(panels, width=486).draw()
    assert "missing 8 runs: a" in [one.get_text() for one in texts(figure)]
    assert [line.get_marker() for line in figure.findobj(Line2D)] == ["o", ""]  # the point, and its legend's sample


def test_styles_differ_without_their_colours():
    """In grey, dashes tell lines apart from the second on, and markers from the seventh on."""
    styles = {(str(look.dash), look.marker if look.marked else "") for look in map(line_style, range(48))}
    assert len(styles) == 48


@pytest.mark.parametrize("width", [180.0, 234.0, 486.0])
def test_no_text_is_smaller_than_6_points_or_outside_its_figure(width: float):
    names = ["a_method_with_quite_a_long_name@variant=of_something,and=more", "short"]
    curves = [curve(name, style_index=index) for index, name in enumerate(names)]
    panels = [Panel(f"humanoid stand with a very long title {index}", curves, "success rate") for index in range(7)]
    panels[3] = Panel("nothing", [], "success rate", missing=["missing 8 runs of 4 tasks: a method"])
    note = "Line: IQM of 15 runs (n = 3 per task, 5 tasks); band: 95 % stratified bootstrap interval. x: env steps."
    bars = [(name, [IntervalBar(one, 0.5, 0.4, 0.6) for one in names]) for name in ("IQM", "optimality gap")]
    for figure in (PanelPlot(panels, 5, width, note).draw(), BarPlot(bars, width, note).draw()):
        size = figure.get_size_inches() * 72
        assert size[0] == pytest.approx(width)
        renderer = FigureCanvasAgg(figure).get_renderer()
        for one in texts(figure):
            assert one.get_fontsize() >= 6
            box = one.get_window_extent(renderer)
            points = [
                box.x0 / figure.dpi * 72,
                box.y0 / figure.dpi * 72,
                box.x1 / figure.dpi * 72,
                box.y1 / figure.dpi * 72,
            ]
            assert points[0] > -1, one.get_text()
            assert points[1] > -1, one.get_text()
            assert points[2] < size[0] + 1, one.get_text()
            assert points[3] < size[1] + 1, one.get_text()


def test_a_panel_alone_takes_one_column():
    assert PanelPlot([Panel("one", [curve()])], width=486).draw().get_size_inches()[0] == pytest.approx(3.25)


def test_long_titles_are_wrapped_within_the_width():
    lines = wrapped("humanoid_stand_with_a_very_long_name of a task", 7.5, 60, lines=9)
    assert len(lines) > 2
    assert all(text_width(line, 7.5) <= 60 for line in lines)
    assert "".join(lines).replace(" ", "") == "humanoid_stand_with_a_very_long_nameofatask"
    assert wrapped("x" * 200, 7.5, 60, lines=2)[-1].endswith("…")
    assert wrapped("short", 7.5, 60) == ["short"]


def test_the_values_of_a_figure_can_be_drawn_again():
    nothing = np.full(5, np.nan)
    one = Curve("=b", np.arange(5.0), np.arange(5.0) / 3, nothing, nothing, runs=1)
    rows = list(csv.reader(io.StringIO(values_csv(PanelPlot([Panel("p", [curve(), one])])).decode())))
    assert rows[0] == ["panel", "line", "environment steps", "point", "low", "high", "runs"]
    assert len(rows) == 1 + 10
    assert [float(cell) for cell in rows[2][2:6]] == [1000.0, 0.2, 1000 / 6000, 0.25]
    assert rows[7] == ["p", "'=b", "1.0", repr(1 / 3), "", "", "1"]


def test_profile_thresholds_lie_at_the_scores():
    scores = np.array([[0.2, 0.5, 0.9], [0.2, np.nan, 1.4]])
    assert profile_thresholds([scores, np.array([[0.7]])]).tolist() == [0.0, 0.2, 0.5, 0.7, 0.9, 1.4]
    assert profile_thresholds([np.array([-0.5, 0.5])])[0] < -0.5
    many = profile_thresholds([np.linspace(0, 1, 5000)])
    assert len(many) <= 402
    assert many[-1] == 1.0


def test_a_few_huge_scores_do_not_squash_the_profile():
    usual = np.linspace(0, 2, 50)
    assert profile_scale(usual) == "linear"
    assert profile_scale(np.append(usual, 300)) == "symlog"
    axis = Axis(0, 300, 0, 100, "symlog")
    assert axis.place(np.array([2.0]))[0] > 30
    panel = profile_panel([Curve("a", np.append(usual, 300), *[np.linspace(1, 0, 51)] * 3, stairs=True)], "score")
    PanelPlot([panel]).draw()


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


def test_the_axis_holds_what_is_seen_within_fixed_limits_and_nothing_else():
    steps, flat = np.array([0.0, 20.0, 1000.0]), np.full(3, np.nan)
    whole = Panel("whole", [Curve("a", steps, np.array([1.0, 3.0, 983.0]), flat, flat)])
    assert _y_limits(whole)[1] > 900
    start = Panel("start", whole.curves, x_range=(0.0, 30.0))  # crosses its end at 3 + 980 * 10 / 980
    assert _y_limits(start)[1] == pytest.approx(13, rel=0.1)
    assert _y_limits(start)[1] > 13
