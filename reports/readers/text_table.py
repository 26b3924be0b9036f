"""CSV and its relatives as columns: comma, semicolon or tab, packed or not, UTF-8 or UTF-16, checked row by row."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from ipv_bench.errors import InputError
from reports.readers.bounded import read_bounded
from reports.scores.identity import whole_seed

_NOT_A_NUMBER = {"", "nan", "none", "null", "na", "n/a", "-"}
"""How a missing score is written; all become NaN, which the checks count and drop."""
_SUFFIXES = re.compile(r"\.(csv|tsv|txt)(\.gz)?$", re.IGNORECASE)
_DELIMITERS = ",;\t"
_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+([eE][-+]?\d+)?\s*")
_THOUSANDS = re.compile(r"\s*[-+]?\d{1,3}(\.\d{3})+\s*")
_TABLE = "a table with one header line"
_SAVE = "save it as CSV in UTF-8 with one line of names above the numbers, or leave it out"
LARGEST_TABLE_BYTES = 1 << 27
"""Unpacked; a table in memory takes about twenty times its bytes."""
_HEADER_BYTES = 1 << 20
"""The first line of a wide export has a column per run: tens of kilobytes."""


def is_table_name(path: Path) -> bool:
    """Whether a file's name is that of a table: `.csv`, `.tsv` or `.txt`, perhaps `.gz`, in capitals or not."""
    return bool(_SUFFIXES.search(path.name))


def table_stem(path: Path) -> str:
    """The file's name without `.csv`, `.csv.gz` and the like."""
    return _SUFFIXES.sub("", path.name)


def table_header(path: Path) -> tuple[str, ...]:
    """Names of the columns, from the first line that is not a comment; empty for what is no table."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return _header(path, status.st_mtime_ns, status.st_size) if is_table_name(path) else ()


@lru_cache(maxsize=64)  # every reader of tables asks
def _header(path: Path, changed: int, size: int) -> tuple[str, ...]:
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            data = gzip.GzipFile(fileobj=file).read(_HEADER_BYTES) if packed else file.read(_HEADER_BYTES)
        if len(data) == _HEADER_BYTES:  # the cut may go through a letter
            data = data[: data.rfind(b"\n") + 1] or data
    except (OSError, EOFError, zlib.error):
        return ()
    first = next((line for line in _text(data).splitlines() if not _is_passed_over(line)), "")
    try:
        names = next(csv.reader([first], delimiter=_delimiter(first)), [])
    except csv.Error:
        return ()
    return tuple(name.strip() for name in names)


def _text(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    if data[1:200:2].count(0) > len(data[1:200:2]) // 2:
        return data.decode("utf-16-le", "replace")
    if data[0:200:2].count(0) > len(data[0:200:2]) // 2:
        return data.decode("utf-16-be", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")  # what spreadsheets write where they do not write Unicode


def _is_passed_over(line: str) -> bool:
    """Empty lines, comments, and the line by which Excel is told the delimiter."""
    return not line.strip() or line.startswith("#") or line.strip().lower() in ("sep=;", "sep=,", "sep=\t", "sep=")


def _delimiter(header: str) -> str:
    """The delimiter that gives most columns; a comma when none does."""
    counts = {mark: len(next(csv.reader([header], delimiter=mark), [])) for mark in _DELIMITERS}
    return max(_DELIMITERS, key=lambda mark: counts[mark])


class TextTable:
    """A table with a header, read into memory column by column.

    Args:
        path: the file; lines that begin with `#`, empty lines, and a header that comes again are passed over.
        cut_off_allowed: leave out a last row that is shorter than the header and has no line end, as a run that is
            being written leaves it; `is_cut_off` says so.

    Raises:
        InputError: it cannot be read or unpacked, or a row has another number of values than the header.
    """

    def __init__(self, path: Path, *, cut_off_allowed: bool = False) -> None:
        self.path = path
        text = _text(read_bounded(path, LARGEST_TABLE_BYTES))
        if "\0" in text:
            raise InputError(f"{path} is not text", expected=_TABLE, fix=_SAVE)
        header = table_header(path)
        self._delimiter = _delimiter(next((line for line in text.splitlines() if not _is_passed_over(line)), ""))
        try:
            lines = (line for line in io.StringIO(text, newline="") if not _is_passed_over(line))
            rows = csv.reader(lines, delimiter=self._delimiter)
            first = next(rows, None)
            self._rows = [row for row in rows if row != first]  # a logger that was started again writes it again
        except csv.Error as error:
            raise InputError(f"{path} cannot be read: {error}", expected=_TABLE, fix=_SAVE) from None
        self.names = list(header)
        self._has_decimal_commas = self._delimiter != "," and any(
            _DECIMAL_COMMA.fullmatch(value) for row in self._rows for value in row
        )
        self.is_cut_off = bool(self._rows) and not text.endswith(("\n", "\r")) and len(self._rows[-1]) < len(header)
        if self.is_cut_off and cut_off_allowed:
            self._rows.pop()
        for number, row in enumerate(self._rows, start=1):
            if len(row) != len(self.names):
                raise InputError(
                    f"{path}: data row {number} has {len(row)} values",
                    expected=f"{len(self.names)}, as the header",
                    fix=f"complete that row, or take it out; text that holds {self._delimiter!r} needs quotes",
                )

    @property
    def num_rows(self) -> int:
        """Rows after the header."""
        return len(self._rows)

    def texts(self, name: str) -> list[str]:
        """(rows,) a column as it is written, without spaces around."""
        place = self._place(name)
        return [row[place].strip() for row in self._rows]

    def numbers(self, name: str) -> np.ndarray:
        """(rows,) float64 values of a column; empty, nan, none and null are NaN.

        Raises:
            InputError: a value is not a number, or two columns have the name.
        """
        place = self._place(name)
        values = [row[place] for row in self._rows]
        if self._has_decimal_commas and any(_THOUSANDS.fullmatch(value) for value in values):
            example = next(value for value in values if _THOUSANDS.fullmatch(value))
            raise InputError(
                f"{self.path}: {name} {example.strip()!r} may be a thousand or one, since other numbers have a comma",
                expected="numbers with a dot before the decimals, and no marks between thousands",
                fix="export the table again in English",
            )
        try:
            return np.array(list(map(float, values)), dtype=np.float64)
        except ValueError:
            return np.array([self._number(name, number, value) for number, value in enumerate(values, start=1)])

    def _place(self, name: str) -> int:
        if self.names.count(name) > 1:
            raise InputError(
                f"{self.path} has {self.names.count(name)} columns {name!r}",
                expected="one",
                fix="rename the others, or take them out",
            )
        return self.names.index(name)

    def _number(self, name: str, number: int, value: str) -> float:
        if value.strip().lower() in _NOT_A_NUMBER:
            return float("nan")
        if self._delimiter != "," and _DECIMAL_COMMA.fullmatch(value):
            value = value.replace(",", ".")
        try:
            return float(value)
        except ValueError:
            raise InputError(
                f"{self.path}: {name} {value!r} in data row {number}",
                expected="a number",
                fix="correct it; an empty value or nan stands for none",
            ) from None

    def groups(self, names: Sequence[str], seed: str = "") -> Iterator[tuple[dict[str, str], np.ndarray]]:
        """Rows with equal texts in the columns `names`: the texts, and the rows' indices in order.

        Args:
            names: the columns.
            seed: the one of them whose whole floats are whole numbers: 0.0 is the seed 0.
        """
        places = [self._place(name) for name in names]
        indices: dict[tuple[str, ...], list[int]] = {}
        for index, row in enumerate(self._rows):
            indices.setdefault(tuple([row[place] for place in places]), []).append(index)
        joined: dict[tuple[str, ...], list[int]] = {}
        for texts, rows in indices.items():
            key = [text.strip() for text in texts]
            key = [whole_seed(text) if name == seed else text for name, text in zip(names, key, strict=True)]
            joined.setdefault(tuple(key), []).extend(rows)
        for texts in sorted(joined):
            yield dict(zip(names, texts, strict=True)), np.array(sorted(joined[texts]), dtype=np.int64)
