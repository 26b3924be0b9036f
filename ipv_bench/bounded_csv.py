"""CSV and numbers in text that somebody else made, and cells of ours that a spreadsheet must not take for formulas."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from pathlib import Path

from ipv_bench.bounded_file import INTEGER_HIGH, INTEGER_LOW, ErrorKind, read_text
from ipv_bench.errors import InputError
from ipv_bench.file_names import shown

MAX_CELL = 1 << 17
"""Characters of a cell; the csv module's own limit."""

_NUMBER = re.compile(r"[+-]?(\d{1,400}(\.\d{0,400})?|\.\d{1,400})([eE][+-]?\d{1,5})?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,20}", re.ASCII)
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What Excel, LibreOffice and Sheets begin a formula with; the last four are the full-width forms."""


def read_csv(
    path: str | Path, *, error: ErrorKind = InputError, limit: int = 1 << 30, comments: str = "", fix: str = ""
) -> Iterator[tuple[int, list[str]]]:
    """Rows of a CSV file with the line that each ends in; empty lines are left out.

    Args:
        path: UTF-8, with or without a byte order mark.
        error: kind of error to raise.
        limit: largest size in bytes.
        comments: lines that begin so are left out.
        fix: what the user can do.

    Raises:
        error: it is absent, no regular file, too large, no UTF-8, or no CSV; the line is named.
    """
    text = read_text(path, error=error, limit=limit, fix=fix)
    rows = csv.reader(
        "\n" if comments and line.startswith(comments) else line for line in io.StringIO(text, newline="")
    )
    while True:
        try:
            row = next(rows, None)
        except csv.Error as found:
            raise error(
                f"{path} line {rows.line_num} is not CSV: {found}", expected="values with commas between", fix=fix
            ) from None
        if row is None:
            return
        if row:
            yield rows.line_num, row


def parse_number(text: str, where: str, *, error: ErrorKind = InputError, finite: bool = True, fix: str = "") -> float:
    """A number in text: digits, one dot, an exponent; `nan` and `inf` unless `finite`.

    Raises:
        error: it is none (`1_000`, `0x10`, an empty cell), is not finite, or has more than 400 digits.
    """
    plain = text.strip()
    if _NUMBER.fullmatch(plain):
        value = float(plain)
        if math.isfinite(value) or not finite:
            return value
    elif not finite and plain.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return float(plain)
    raise error(f"{where}: {shown(text)} is no number", expected="a finite number" if finite else "a number", fix=fix)


def parse_whole(text: str, where: str, *, error: ErrorKind = InputError, fix: str = "") -> int:
    """A whole number of at most 64 bits in text; `3.0` and `1e6`, as pandas and numpy write them, are whole as well.

    Raises:
        error: it is none.
    """
    plain = text.strip()
    if _WHOLE.fullmatch(plain) and INTEGER_LOW <= (number := int(plain)) <= INTEGER_HIGH:
        return number
    if _NUMBER.fullmatch(plain) and abs(value := float(plain)) < 2**53 and value.is_integer():
        return int(value)
    raise error(f"{where}: {shown(text)} is no whole number of 64 bits", expected="one, such as 1000", fix=fix)


def spreadsheet_cell(text: str) -> str:
    """Text for a cell of a CSV file that Excel and others will open: formulas become text, numbers stay numbers.

    A cell that begins with =, +, -, @, a tab or a line break gets an apostrophe in front unless it is a number.
    """
    return f"'{text}" if text.startswith(_FORMULA_STARTS) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None or text.lower() in ("-inf", "-nan")
