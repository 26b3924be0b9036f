"""DreamerV3's published scores: `scores/<suite>-<method>.json.gz`, a list of {task, method, seed, xs, ys}.

`xs` are env steps, `ys` mean episode scores of the steps binned there. The suite is the file name's first part; tasks
lose the suite's name where they repeat it (`atari_pong` in `atari57-…` becomes `pong` of suite `atari57`).
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from ipv_bench.errors import InputError
from reports.readers.base import Read, ReadOptions, unreadable
from reports.scores.score_table import ScoredRun
from reports.scores.task_names import suite_metric

FIELDS = ("task", "method", "seed", "xs", "ys")


class DreamerV3Scores:
    """Reads one file of scores: all seeds and tasks of one method."""

    name = "dreamerv3_scores"

    def accepts(self, path: Path) -> bool:
        """A file that ends in `.json.gz`."""
        return path.name.endswith(".json.gz")

    def read(self, path: Path, options: ReadOptions) -> Read:
        """Read all runs. A file has one score per run, so `options` choose nothing here.

        Raises:
            InputError: it is not gzip or JSON, or an entry lacks a field or has xs and ys of unequal lengths.
        """
        try:
            with gzip.open(path, "rt", encoding="utf-8") as file:
                entries = json.load(file)
        except (OSError, EOFError, ValueError) as error:
            raise unreadable(path, error, "gzip-compressed JSON") from None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(f"{path} is not a list of runs", expected=f"a list of {{{', '.join(FIELDS)}}}")
        return Read(runs=tuple(self._run(path, number, entry) for number, entry in enumerate(entries)))

    def _run(self, path: Path, number: int, entry: dict[str, Any]) -> ScoredRun:
        missing = [name for name in FIELDS if name not in entry]
        if missing:
            raise InputError(
                f"{path}: entry {number} has no {', '.join(missing)}; it has {', '.join(entry)}",
                expected=", ".join(FIELDS),
            )
        try:
            xs, ys = np.asarray(entry["xs"], dtype=np.float64), np.asarray(entry["ys"], dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError(f"{path}: entry {number} has xs or ys that are not numbers", expected="numbers") from None
        if xs.shape != ys.shape or xs.ndim != 1:
            raise InputError(f"{path}: entry {number} has {xs.size} xs and {ys.size} ys", expected="one y per x")
        suite = path.name.removesuffix(".json.gz").split("-")[0]
        family = suite.split("_")[0].rstrip("0123456789km")
        task = str(entry["task"])
        return ScoredRun(
            method=str(entry["method"]),
            variant="",
            suite=suite,
            task=task.removeprefix(suite + "_").removeprefix(family + "_"),
            seed=str(entry["seed"]),
            env_steps=xs,
            scores=ys,
            metric=suite_metric(family),
            source=str(path),
            format=self.name,
        )


READER = DreamerV3Scores()
