"""CSV files as columns: texts, and numbers that are checked with the row that is wrong."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ipv_bench.errors import InputError
from reports.readers.base import first_bytes, unreadable

_NOT_A_NUMBER = {"", "nan", "none", "null"}
"""How a missing score is written; all become NaN, which the checks count and drop."""


def csv_header(path: Path) -> list[str]:
    """Names of the columns, from the first line that is not a comment; empty for a file that is not text."""
    lines = first_bytes(path).decode("utf-8-sig", "replace").splitlines()
    first = next((line for line in lines if line and not line.startswith("#")), "")
    return [name.strip() for name in next(csv.reader([first]), [])]


class CsvColumns:
    """A CSV with a header, read into memory column by column.

    Args:
        path: the file; lines that begin with `#` and empty lines are passed over.

    Raises:
        InputError: it is not text, or a row has another number of values than the header.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with open(path, newline="", encoding="utf-8-sig") as file:
                rows = csv.reader(line for line in file if line.strip() and not line.startswith("#"))
                self.names = [name.strip() for name in next(rows, [])]
                self._rows = list(rows)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise unreadable(path, error, "comma-separated values with one header line") from None
        for number, row in enumerate(self._rows, start=1):
            if len(row) != len(self.names):
                raise InputError(
                    f"{path}: data row {number} has {len(row)} values", expected=f"{len(self.names)}, as the header"
                )

    def numbers(self, name: str) -> np.ndarray:
        """(rows,) float64 values of a column; empty, nan, none and null are NaN.

        Raises:
            InputError: a value is not a number.
        """
        place = self.names.index(name)
        values = [row[place] for row in self._rows]
        try:
            return np.array(list(map(float, values)), dtype=np.float64)
        except ValueError:
            return np.array([self._number(name, number, value) for number, value in enumerate(values, start=1)])

    def _number(self, name: str, number: int, value: str) -> float:
        if value.strip().lower() in _NOT_A_NUMBER:
            return float("nan")
        try:
            return float(value)
        except ValueError:
            raise InputError(f"{self.path}: {name} {value!r} in data row {number}", expected="a number") from None

    def groups(self, names: Sequence[str]) -> Iterator[tuple[dict[str, str], np.ndarray]]:
        """Rows with equal texts in the columns `names`: the texts, and the rows' indices in order."""
        places = [self.names.index(name) for name in names]
        indices: dict[tuple[str, ...], list[int]] = {}
        for index, row in enumerate(self._rows):
            indices.setdefault(tuple([row[place] for place in places]), []).append(index)
        for texts in sorted(indices):
            stripped = [text.strip() for text in texts]
            yield dict(zip(names, stripped, strict=True)), np.array(indices[texts], dtype=np.int64)
