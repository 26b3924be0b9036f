"""`evaluations.jsonl` as arrays.

Parsed by `json`: pyarrow takes half the time, and kills the process at a line `null`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ipv_bench.errors import RunError
from reports.readers.jsonl_blocks import as_number, read_lines


@dataclass(frozen=True, eq=False)
class Evaluations:
    """The evaluations of one run.

    Attributes:
        env_steps: (T,) of each evaluation.
        scores: (T,) mean over its episodes; NaN when one of them is null (not finite) or no number, or there are none.
        episodes: (T,) number of its episodes.
        values: "returns" or "successes", of which these are the means.
    """

    env_steps: np.ndarray
    scores: np.ndarray
    episodes: np.ndarray
    values: str


def read_evaluations(log: Path, wanted: str, *, else_returns: bool = False) -> Evaluations:
    """Read a log; a last line that is cut off is left out.

    Args:
        log: the file; one that does not exist has no evaluations.
        wanted: "returns" or "successes".
        else_returns: take the returns when no line has successes.

    Raises:
        RunError: a line is not JSON, or has no env_steps or no list of values.
    """
    if not log.is_file():
        return Evaluations(np.zeros(0), np.zeros(0), np.zeros(0, np.int64), wanted)
    lines = list(read_lines(log))
    if else_returns and not any(line.get("successes") for line in lines):
        wanted = "returns"
    points = [_point(log, number, line, wanted) for number, line in enumerate(lines, start=1)]
    steps, scores, episodes = zip(*points, strict=True) if points else ((), (), ())
    return Evaluations(np.array(steps, np.float64), np.array(scores, np.float64), np.array(episodes, np.int64), wanted)


def _point(log: Path, number: int, line: dict[str, Any], values: str) -> tuple[float, float, int]:
    steps, episodes = line.get("env_steps"), line.get(values)
    if not isinstance(steps, int | float) or isinstance(steps, bool) or not isinstance(episodes, list):
        raise RunError(
            f"{log} line {number} has no env_steps or no {values}: it has {', '.join(map(str, line)) or 'nothing'}",
            expected=f"env_steps (a number) and {values} (a list with one number per episode)",
            fix="restore the log, or take that line out",
        )
    # Successes are written as true and false; a return that is one of them is no number.
    flags = values == "successes"
    scores = [float(one) if flags and isinstance(one, bool) else as_number(one) for one in episodes]
    with np.errstate(over="ignore"):  # what is infinite is dropped and counted when the points are cleaned
        return as_number(steps), float(np.mean(scores)) if scores else float("nan"), len(scores)
