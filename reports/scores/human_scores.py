"""Ranges of scores, and the file that gives them: returns of a random policy and of people per task."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from pydantic import model_validator

from ipv_bench.config import Config
from ipv_bench.config_faults import SECTION, RefusedValueError
from ipv_bench.errors import ConfigError, InputError


class ScoreRange(Config):
    """The scores that become 0 and 1."""

    low: float = 0.0
    """Score that becomes 0."""
    high: float = 1.0
    """Score that becomes 1."""

    @model_validator(mode="after")
    def _not_empty(self) -> ScoreRange:
        if not self.low < self.high < math.inf or self.low == -math.inf:
            raise RefusedValueError(
                f"{SECTION}high {self.high:g} is not above {SECTION}low {self.low:g}, or one of them is not finite",
                expected="finite numbers, low below high",
                fix=f"set {SECTION}low to the score that becomes 0, and {SECTION}high to the one that becomes 1",
            )
        return self


def read_human_scores(path: Path) -> dict[str, ScoreRange]:
    """Task → range from a random policy's to a person's return.

    Raises:
        InputError: unreadable, a missing column, a value that is not a finite number, or a task with two rows that
            differ.
        ConfigError: human is not above random.
    """
    found: dict[str, ScoreRange] = {}
    for number, row in enumerate(_rows(path), start=1):
        low, high = _number(row["random"]), _number(row["human"])
        task = (row["task"] or "").strip()
        if not task or low is None or high is None:
            raise InputError(
                f"{path} row {number}: task {row['task']!r}, random {row['random']!r}, human {row['human']!r}",
                expected="a name and two finite numbers",
                fix="correct that row, or take it out",
            )
        if high <= low:
            raise ConfigError(
                f"{path}: {task}: human {high:g} is not above random {low:g}",
                expected="random < human, which become 0 and 1",
                fix="see whether the two columns are exchanged, or take that row out",
            )
        entry = ScoreRange(low=low, high=high)
        if found.setdefault(task, entry) != entry:
            raise InputError(
                f"{path}: {task} has two rows that differ",
                expected="one row per task",
                fix=f"take out all rows of {task} but the right one",
            )
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read: {error}",
            expected="a CSV with task, random, human",
            fix="correct the path in the report's config, or save the file as CSV in UTF-8",
        ) from None
    columns = list(rows[0]) if rows else []
    if not {"task", "random", "human"} <= set(columns):
        raise InputError(
            f"{path} has the columns {', '.join(map(str, columns)) or '(none)'}",
            expected="task, random, human",
            fix="write these three names into the first line, with commas between",
        )
    return rows


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
