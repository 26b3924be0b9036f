"""Logs of one JSON object per line: `metrics.jsonl` or `scores.jsonl` of ContextWM, APV and Dreamer, and their like.

Lines are `{"step": env steps, name: value, ...}`; DreamerV2's loggers write the step already multiplied by the action
repeat, so it is taken as env steps. Lines without a score (losses) are not parsed: only their step is read, because a
run that is resumed goes back in steps before it evaluates again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ipv_bench.bounded_json import parse_json
from ipv_bench.errors import InputError
from ipv_bench.run_record import RUN_FILE
from reports.readers.base import Read, ReadOptions, first_bytes
from reports.readers.log_run import choose_score, log_run, origin_of
from reports.readers.run_format1 import is_cut_off
from reports.readers.run_names import names_of_log
from reports.readers.score_names import STEPS, find_score
from reports.scores.findings import Finding, note, warning
from reports.scores.restarts import find_restarts, restarted

LOGS = ("metrics.jsonl", "scores.jsonl")
PATTERNS = ("metrics*.jsonl", "scores*.jsonl", "eval*.jsonl", "log*.jsonl", "progress*.jsonl", "train*.jsonl")
"""Names of logs, in the order in which they are looked for; all files of the first pattern that fits are one run's."""
LONGEST_LINE = 1 << 26
_SURE_STEPS = ("env_steps", "env_step", "total_env_steps", "frame", "frames")
"""Of the names of steps those that can be no number of agent steps, updates or episodes."""
_LOOKED_INTO = 1 << 26
"""Bytes of a log in which its names are looked for: whatever is logged now and then is in them several times."""
_KEY = re.compile(rb'"((?:[^"\\]|\\.){1,100})"\s*:\s*(?=[-\d.NIt"fn])')
_NUMBER = rb"\s*:\s*(-?\d[\d.eE+-]*)"


class DreamerMetrics:
    """Reads the logs of a folder as one run."""

    name = "dreamer_metrics"
    uses = PATTERNS

    def accepts(self, path: Path) -> bool:
        """A folder with such a log whose lines have a step, and that is not one of our runs; another `.jsonl` alone."""
        if path.is_file() and path.suffix == ".jsonl" and not (path.parent / RUN_FILE).exists():
            return _step_key(first_bytes(path, 1 << 16)) is not None
        if not path.is_dir() or (path / RUN_FILE).exists():
            return False
        logs = _logs(path)
        return bool(logs) and _step_key(first_bytes(logs[0], 1 << 16)) is not None

    def read(self, path: Path, options: ReadOptions) -> Read:
        """Read the run.

        Raises:
            InputError: a line before the last is not JSON, or no line has a score.
            ConfigError: `run_fields.yaml` is wrong.
        """
        names = names_of_log(path, options)
        logs, left_out = _continued(_logs(path) if path.is_dir() else [path])
        key = _step_key(first_bytes(logs[0], 1 << 16)) or "step"
        score = choose_score(logs[0], _names_in(logs), names, options)
        lines = [line for log in logs for line in _lines(log, key, score.name)]
        every = np.array([step for step, _ in lines], dtype=np.float64)
        values = np.array([np.inf if value is None else value for _, value in lines], dtype=np.float64)
        has_score = np.array([value is not None for _, value in lines], dtype=bool)
        restarts = find_restarts(every)
        kept = has_score & restarts.keep
        score = replace(score, origin=origin_of(logs[0], origin_of(path, score.origin)))
        run, said = log_run(self.name, path, names, score, every[kept], values[kept])
        said = replace(said, text=f"{said.text}, the env steps are {key!r}")
        findings = [said, *_cut_off(logs, run.name), *_left_out(left_out)]
        if len(restarts.places) and has_score.any():
            findings.append(restarted(run.name, restarts, int((has_score & ~restarts.keep).sum()), str(path)))
        return Read(runs=(run,), findings=tuple(findings))


def _logs(folder: Path) -> list[Path]:
    """The logs of the first pattern that fits and has a known score, in natural order of their names."""
    fitting = []
    for pattern in PATTERNS:
        found = [path for path in folder.glob(pattern) if path.is_file()]
        if found:
            fitting.append(sorted(found, key=lambda path: (len(path.name), path.name)))
    with_scores = (logs for logs in fitting if len(fitting) == 1 or find_score(_names_in(logs), "return"))
    return next(with_scores, fitting[0] if fitting else [])


def _step_key(start: bytes) -> str | None:
    """The name of the steps in a log's first lines.

    `step` is that of Dreamer's loggers, unless each line with one also has a number that is surely of env steps.
    """
    lines = [{name.decode("utf-8", "replace") for name in _KEY.findall(line)} for line in start.splitlines()]
    present = set().union(*lines)
    sure = [name for name in _SURE_STEPS if name in present and all(name in line for line in lines if "step" in line)]
    return next((name for name in (*sure, "step", *STEPS) if name in present), None)


def _first_steps(log: Path) -> list[float]:
    start = first_bytes(log, 1 << 16)
    key = _step_key(start)
    pattern = re.compile(b'"' + re.escape((key or "step").encode()) + b'"' + _NUMBER)
    return [_float(found) for found in pattern.findall(start)[:2]]


def _float(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _continued(logs: list[Path]) -> tuple[list[Path], list[Path]]:
    """The logs that are one run's, in the order of its steps; and those that begin anew and may be another run's.

    A run that was resumed into a new file goes on somewhere behind its first steps.
    """
    started = [(steps, log) for log in logs if (steps := _first_steps(log))]
    if len(started) < 2:
        return logs[:1] if not started else [started[0][1]], []
    first, main = min(started, key=lambda one: one[0][0])
    begin = first[-1]  # its second step
    later = sorted((steps[0], log.name, log) for steps, log in started if log != main and steps[0] >= begin > first[0])
    chosen = [main, *(log for _, _, log in later)]
    return chosen, [log for log in logs if log not in chosen]


def _names_in(logs: Iterable[Path]) -> list[str]:
    """All names of numbers at the logs' beginnings."""
    found: set[bytes] = set()
    for log in logs:
        found.update(_KEY.findall(first_bytes(log, _LOOKED_INTO)))
    return [name.decode("utf-8", "replace").removeprefix("scalars/") for name in found]


def _lines(log: Path, key: str, score: str) -> Iterable[tuple[float, float | None]]:
    """Step and score of each line; no score where the line has none."""
    wanted, step_of = f'"{score}"'.encode(), re.compile(b'"' + re.escape(key.encode()) + b'"' + _NUMBER)
    with open(log, "rb") as file:
        number = 0
        while raw := file.readline(LONGEST_LINE):
            number += 1
            if not raw.endswith(b"\n"):
                if len(raw) >= LONGEST_LINE:
                    raise InputError(
                        f"{log} line {number} is longer than {LONGEST_LINE >> 20} MiB",
                        expected="one JSON object with the metrics of a step in each line",
                        fix="restore the file, or leave it out",
                    )
                return  # cut off by a run that is still writing, or was killed
            if wanted not in raw:
                found = step_of.search(raw)
                if found and np.isfinite(step := _float(found.group(1))):
                    yield step, None
                continue
            yield _point(log, number, raw, key, score)


def _point(log: Path, number: int, raw: bytes, key: str, score: str) -> tuple[float, float]:
    try:
        line: Any = parse_json(raw, f"{log} line {number}", nan=True)
        step, value = float(line[key]), line[score]
    except (InputError, ValueError, TypeError, KeyError, OverflowError):
        raise InputError(
            f"{log} line {number} is damaged", expected=f"JSON with {key} and {score}", fix="mend or leave out the log"
        ) from None
    if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > 1e300:
        return step, float("nan")
    return step, float(value)


def _cut_off(logs: Iterable[Path], name: str) -> list[Finding]:
    return [
        note("cut_off_log", f"the last line of {log} is cut off; it was used up to there", subjects=[name])
        for log in logs
        if is_cut_off(log)
    ]


def _left_out(logs: Iterable[Path]) -> list[Finding]:
    return [
        warning(
            "second_log",
            f"{log} begins where the log beside it begins: it may be another run's, and was not used",
            "put each run's log into a folder of its own",
            [str(log)],
        )
        for log in logs
    ]


READER = DreamerMetrics()
