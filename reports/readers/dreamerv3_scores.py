"""DreamerV2's and DreamerV3's published scores: `<suite>-<method>.json`, `<suite>_<method>.json.gz`.

Each is a list of {task, method, seed, xs, ys}: `xs` are env steps, `ys` mean episode scores of the steps binned there.
The suite is the file name's first part where the tasks are of its family (`atari_pong` in `atari57-…` becomes `pong` of
suite `atari57`), else what the task says (`dmc_humanoid_walk` in `humanoid-…` is DMControl's).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from ipv_bench.bounded_json import parse_json
from ipv_bench.errors import InputError
from reports.readers.base import Read, ReadOptions, first_bytes
from reports.readers.bounded import read_bounded
from reports.scores.score_table import ScoredRun
from reports.scores.task_names import known_task, suite_metric

LARGEST_BYTES = 1 << 28
"""Unpacked; published files have megabytes."""
FIELDS = ("task", "method", "seed", "xs", "ys")
_FIX = "restore the file, or leave it out"


class DreamerV3Scores:
    """Reads one file of scores: all seeds and tasks of one method."""

    name = "dreamerv3_scores"

    def accepts(self, path: Path) -> bool:
        """A file that ends in `.json.gz`, or a `.json` that begins with a list of objects with `xs`."""
        if not path.is_file():
            return False
        start = first_bytes(path, 1 << 12).lstrip() if path.suffix == ".json" else b""
        return path.name.endswith(".json.gz") or (
            re.match(rb"\[\s*\{", start) is not None and any(name in start for name in (b'"xs"', b'"ys"', b'"method"'))
        )

    def read(self, path: Path, options: ReadOptions) -> Read:
        """Read all runs. A file has one score per run, so `options` choose nothing here.

        Raises:
            InputError: it is not gzip or JSON, or an entry lacks a field or has xs and ys of unequal lengths.
        """
        entries = parse_json(read_bounded(path, LARGEST_BYTES), str(path), nan=True, fix=_FIX)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(f"{path} is not a list of runs", expected=f"a list of {{{', '.join(FIELDS)}}}", fix=_FIX)
        return Read(runs=tuple(self._run(path, number, entry) for number, entry in enumerate(entries)))

    def _run(self, path: Path, number: int, entry: dict[str, Any]) -> ScoredRun:
        missing = [name for name in FIELDS if name not in entry]
        if missing:
            raise InputError(
                f"{path}: entry {number} has no {', '.join(missing)}; it has {', '.join(entry)}",
                expected=", ".join(FIELDS),
                fix=_FIX,
            )
        try:
            xs, ys = np.asarray(entry["xs"], dtype=np.float64), np.asarray(entry["ys"], dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            raise InputError(
                f"{path}: entry {number} has xs or ys that are not numbers", expected="numbers", fix=_FIX
            ) from None
        if xs.shape != ys.shape or xs.ndim != 1:
            raise InputError(
                f"{path}: entry {number} has {xs.size} xs and {ys.size} ys", expected="one y per x", fix=_FIX
            )
        suite, task = _suite_and_task(path, str(entry["task"]))
        return ScoredRun(
            method=str(entry["method"]),
            variant="",
            suite=suite,
            task=task,
            seed=str(entry["seed"]),
            env_steps=xs,
            scores=ys,
            metric=suite_metric(_family(suite)),
            source=str(path),
            format=self.name,
        )


def _suite_and_task(path: Path, task: str) -> tuple[str, str]:
    name = re.sub(r"\.json(\.gz)?$", "", path.name)
    suite = name.split("-")[0] if "-" in name else name.split("_")[0]
    for prefix in (suite, _family(suite)):
        if task.startswith(prefix + "_"):
            return suite, task.removeprefix(prefix + "_")
    known = known_task(task)
    if known and known[0] and not suite.startswith(known[0]):
        return known
    return suite, task.removeprefix(known[0] + "_") if known and known[0] else task


def _family(suite: str) -> str:
    """`atari` of `atari100k` and `atari57`, `dmc` of `dmc_vision`."""
    return suite.split("_")[0].rstrip("0123456789km")


READER = DreamerV3Scores()
