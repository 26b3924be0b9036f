"""`evaluations.jsonl` as arrays: by pyarrow, which takes half the time of `json`, and line by line for odd files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ipv_bench.errors import RunError
from reports.readers.jsonl_blocks import read_lines

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class Evaluations:
    """The evaluations of one run.

    Attributes:
        env_steps: (T,) of each evaluation.
        scores: (T,) mean over its episodes; NaN when one of them is null (not finite) or there are none.
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
    table = _parsed(log)
    if table is not None:
        if else_returns and not len(table.column("successes").combine_chunks().flatten()):
            wanted = "returns"
        found = _from_table(table, wanted)
        if found is not None:
            return found
    lines = list(read_lines(log))
    if else_returns and not any(line.get("successes") for line in lines):
        wanted = "returns"
    points = [_point(log, number, line, wanted) for number, line in enumerate(lines, start=1)]
    steps, scores, episodes = zip(*points, strict=True) if points else ((), (), ())
    return Evaluations(np.array(steps, np.float64), np.array(scores, np.float64), np.array(episodes, np.int64), wanted)


def _parsed(log: Path) -> Any:
    """The log as a `pyarrow.Table`; None when types are not the usual ones: the slow way then names what is wrong."""
    import pyarrow as pa
    import pyarrow.json as pj

    data = log.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    numbers = pa.list_(pa.float64())
    schema = pa.schema([("env_steps", pa.float64()), ("returns", numbers), ("successes", numbers)])
    block = max(BLOCK_BYTES, 2 * max(map(len, whole.split(b"\n", 8)[:8]), default=0))
    try:
        return pj.read_json(
            pa.BufferReader(whole),
            read_options=pj.ReadOptions(use_threads=False, block_size=block),
            parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return None


def _from_table(table: Any, wanted: str) -> Evaluations | None:
    import pyarrow.compute as pc

    steps, lists = table.column("env_steps").combine_chunks(), table.column(wanted).combine_chunks()
    if steps.null_count or lists.null_count:
        return None
    episodes = pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    values = lists.flatten().to_numpy(zero_copy_only=False)  # null becomes NaN
    scores = np.full(len(episodes), np.nan)
    some = episodes > 0
    if some.any():
        starts = np.cumsum(episodes[some]) - episodes[some]
        scores[some] = np.add.reduceat(values, starts) / episodes[some]
    return Evaluations(steps.to_numpy(zero_copy_only=False), scores, episodes, wanted)


def _point(log: Path, number: int, line: dict[str, Any], values: str) -> tuple[float, float, int]:
    steps, episodes = line.get("env_steps"), line.get(values)
    if not isinstance(steps, int | float) or not isinstance(episodes, list):
        raise RunError(
            f"{log} line {number} has no env_steps or no {values}: it has {', '.join(map(str, line)) or 'nothing'}",
            expected=f"env_steps (a number) and {values} (a list with one number per episode)",
        )
    if not episodes or None in episodes:
        return float(steps), float("nan"), len(episodes)
    return float(steps), float(np.mean(episodes)), len(episodes)
