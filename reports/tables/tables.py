"""Tables of a report, written as CSV, LaTeX and Markdown; the page draws the same records."""

from __future__ import annotations

import csv
import io
import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from ipv_bench.bounded_csv import spreadsheet_cell
from reports.text import plain

LONGEST_NOTE = 4000
"""Characters of a note in Markdown and LaTeX."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        point: the statistic.
        low, high: ends of the interval; NaN where there is none, as of one run.
        label: what the statistic is called where this differs from the column's name ("mean (n=3)"), or why there is
            no interval ("n = 1").
        digits: after the point; None: as fits its size.
    """

    point: float
    low: float
    high: float
    label: str = ""
    digits: int | None = None


@dataclass(frozen=True)
class Link:
    """Text that the page links to a file."""

    text: str
    href: str


Cell = str | int | float | Estimate | Link | None


@dataclass(frozen=True)
class Table:
    """A table: typed cells, so that each output can format and sort them.

    Attributes:
        name: file name without ending.
        title: shown above.
        columns: headings.
        rows: cells, as many as there are columns.
        note: how it was computed.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def __post_init__(self) -> None:
        wrong = [len(row) for row in self.rows if len(row) != len(self.columns)]
        if wrong:
            raise ValueError(f"table {self.name}: rows of {sorted(set(wrong))} cells under {len(self.columns)} columns")


def number(value: float, digits: int | None = None) -> str:
    """A number with fixed digits; NaN is a dash, never reached is ∞.

    Args:
        value: what to show.
        digits: after the point; None: 3 below 10, 1 below 1000, else 0.
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    text = f"{value:.{_digits(value) if digits is None else digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _digits(value: float) -> int:
    return 3 if abs(value) < 10 else 1 if abs(value) < 1000 else 0


def cell_text(cell: Cell) -> str:
    """A cell for a reader."""
    if cell is None:
        return "–"
    if isinstance(cell, Estimate):
        label = f" {cell.label}" if cell.label else ""
        digits = _digits(cell.point) if cell.digits is None else cell.digits
        if math.isnan(cell.low):
            return f"{number(cell.point, digits)}{f' ({cell.label})' if cell.label else ''}"
        return f"{number(cell.point, digits)} [{number(cell.low, digits)}, {number(cell.high, digits)}]{label}"
    if isinstance(cell, Link):
        return cell.text
    if isinstance(cell, float):
        return number(cell)
    return str(cell)


def to_csv(table: Table) -> str:
    """CSV with full precision; an estimate fills three columns."""
    wide = [any(isinstance(row[i], Estimate) for row in table.rows) for i in range(len(table.columns))]
    header: list[str] = []
    for name, is_wide in zip(table.columns, wide, strict=True):
        name = spreadsheet_cell(name)
        header += [name, f"{name} low", f"{name} high", f"{name} statistic"] if is_wide else [name]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for row in table.rows:
        cells: list[object] = []
        for cell, is_wide in zip(row, wide, strict=True):
            cells += _csv_cells(cell, is_wide)
        writer.writerow(cells)
    return buffer.getvalue()


def _csv_cells(cell: Cell, is_wide: bool) -> list[object]:
    if isinstance(cell, Estimate):
        bounds = ["" if math.isnan(end) else repr(float(end)) for end in (cell.low, cell.high)]
        return [repr(float(cell.point)), *bounds, spreadsheet_cell(cell.label)]
    if cell is None:
        return ["", "", "", ""] if is_wide else [""]
    text = cell.text if isinstance(cell, Link) else repr(cell) if isinstance(cell, float) else str(cell)
    text = spreadsheet_cell(text)
    return [text, "", "", ""] if is_wide else [text]


def to_markdown(table: Table) -> str:
    """A Markdown table."""
    lines = [
        "| " + " | ".join(_markdown(name) for name in table.columns) + " |",
        "|" + "---|" * len(table.columns),
    ]
    for row in table.rows:
        cells = [_markdown(cell_text(cell)) for cell in row]
        lines.append("| " + " | ".join(cells) + " |")
    note = f"\n{_markdown(table.note, LONGEST_NOTE)}\n" if table.note else ""
    return f"**{_markdown(table.title)}**\n\n" + "\n".join(lines) + "\n" + note


def _markdown(text: str, limit: int = 1000) -> str:
    text = plain(text, limit).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", text)


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "∞": r"$\infty$", "±": r"$\pm$", "×": r"$\times$",
    "<": "$<$", ">": "$>$", "|": r"\textbar{}", '"': r"\textquotedbl{}", "→": r"$\to$", "−": "$-$", "≥": r"$\geq$",
    "≤": r"$\leq$", "…": r"\ldots{}", "·": r"$\cdot$", "“": "``", "”": "''", "—": "---",
}  # fmt: skip


def to_latex(table: Table) -> str:
    """A `tabular` with booktabs rules, to be `\\input` into a paper."""
    numeric = [
        all(isinstance(row[i], int | float | Estimate | None) for row in table.rows) for i in range(len(table.columns))
    ]
    lines = [
        f"% {plain(table.title, 400)}",
        *(f"% {line}" for line in textwrap.wrap(plain(table.note, LONGEST_NOTE), 110)),
        "% needs \\usepackage{booktabs}",
        r"\begin{tabular}{" + "".join("r" if right else "l" for right in numeric) + "}",
        r"\toprule",
        " & ".join(_latex(name) for name in table.columns) + r" \\",
        r"\midrule",
    ]
    for row in table.rows:
        lines.append(" & ".join(_latex(cell_text(cell)) for cell in row) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex(text: str) -> str:
    text = "".join(_LATEX.get(character, character) for character in plain(text, 1000))
    return f"{{{text[0]}}}{text[1:]}" if text[:1] in ("[", "*") else text  # they would be arguments of the \\ before
