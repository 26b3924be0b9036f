"""Tables as CSV, LaTeX and Markdown."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

from reports.tables.tables import Estimate, Link, Table, number, to_csv, to_latex, to_markdown

TABLE = Table(
    "scores",
    "Scores",
    ["task", "a_b", "c"],
    [["reach|wall_1", Estimate(0.51234567890123, 0.4, 0.6), 3], ["50% & more", None, 4]],
    "made up",
)


def test_csv_keeps_full_precision_and_gives_an_estimate_its_own_columns():
    rows = list(csv.reader(io.StringIO(to_csv(TABLE))))
    assert rows[0] == ["task", "a_b", "a_b low", "a_b high", "a_b statistic", "c"]
    assert float(rows[1][1]) == 0.51234567890123
    assert rows[2] == ["50% & more", "", "", "", "", "4"]


def test_csv_defuses_formulas():
    table = Table("t", "t", ["name"], [["=HYPERLINK(1)"], ["@x"], [Link("+1+1", "x")], ["-2+3"], ["-1.5"], [-2.5]])
    assert [row[0] for row in csv.reader(io.StringIO(to_csv(table)))][1:] == [
        "'=HYPERLINK(1)", "'@x", "'+1+1", "'-2+3", "-1.5", "-2.5",
    ]  # fmt: skip


def test_latex_escapes_and_aligns_numbers_right():
    text = to_latex(TABLE)
    assert r"\begin{tabular}{lrr}" in text
    assert r"50\% \& more & -- & 4 \\" in text
    assert r"a\_b" in text
    assert "0.512 [0.400, 0.600]" in text
    headers = to_latex(replace(TABLE, columns=["P(X > Y)", 'a|"b"', "0 → 1"]))
    assert r"P(X $>$ Y) & a\textbar{}\textquotedbl{}b\textquotedbl{} & 0 $\to$ 1 \\" in headers


def test_markdown_escapes_what_would_break_a_row():
    text = to_markdown(TABLE)
    assert r"reach\|wall\_1" in text
    assert all(line.count("|") - line.count(r"\|") == 4 for line in text.splitlines() if line.startswith("|"))


def test_numbers_without_a_value_have_a_sign_of_their_own():
    assert number(math.nan, 3) == "–"
    assert number(math.inf, 3) == "∞"
    assert number(-0.0001, 3) == "0.000"


def test_csv_defuses_formulas_in_headers_and_labels():
    table = Table("t", "t", ["=a", "b"], [["x", Estimate(-1.0, -2.0, -0.5, "=b")]])
    header, row = csv.reader(io.StringIO(to_csv(table)))
    assert header[0] == "'=a"
    assert row == ["x", "-1.0", "-2.0", "-0.5", "'=b"]


def test_a_latex_row_is_no_argument_of_the_line_before():
    table = Table("t", "t", ["name"], [["a"], ["[1cm]x"], ["*x"], [r"\input{/etc/passwd}"]])
    text = to_latex(table)
    assert "{[}1cm]x" in text
    assert "{*}x" in text
    assert r"\input" not in text
