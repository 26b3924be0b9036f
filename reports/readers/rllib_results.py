"""RLlib's and Tune's `result.json`: one JSON object per training iteration, nested, with the trial's config inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ipv_bench.bounded_json import MAX_LINE_BYTES, parse_json
from ipv_bench.errors import InputError
from reports.readers.base import Read, ReadOptions, first_bytes
from reports.readers.log_run import choose_score, log_run
from reports.readers.path_layouts import Fields
from reports.readers.run_names import names_of_log
from reports.readers.score_names import find_step
from reports.scores.findings import Finding, note
from reports.scores.task_names import split_task

_DEPTH = 4
"""Scores and steps lie at most this deep (`evaluation/env_runners/episode_return_mean`)."""


class RllibResults:
    """Reads one trial."""

    name = "rllib_results"

    def accepts(self, path: Path) -> bool:
        """A file `result.json` whose first line has `training_iteration`."""
        return path.is_file() and path.name == "result.json" and b'"training_iteration"' in first_bytes(path, 1 << 16)

    def read(self, path: Path, options: ReadOptions) -> Read:
        """Read the trial; a last line that is cut off is left out.

        Raises:
            InputError: a line is not JSON, there is no score or no count of env steps, or the run has no names.
        """
        rows: list[dict[str, float]] = []
        inside: Fields = {}
        findings: list[Finding] = []
        for result in _results(path, findings):
            inside = inside or _named_inside(result)
            rows.append(_flat(result, _DEPTH))
        present = list(dict.fromkeys(name for row in rows for name, value in row.items() if np.isfinite(value)))
        names = names_of_log(path, options, inside=inside)
        score = choose_score(path, present, names, options)
        step = options.columns.get("step") or find_step(present)
        if step not in present:
            raise InputError(
                f"{path} counts no env steps" + (f": it has no {step}" if step else ""),
                expected="num_env_steps_sampled_lifetime, timesteps_total",
                fix="name the field that counts them with `columns: {step: NAME}` in the report's config",
            )
        points = [(row[step], row[score.name]) for row in rows if step in row and score.name in row]
        pairs = np.array(points, dtype=np.float64).reshape(-1, 2)
        pairs = pairs[np.isfinite(pairs[:, 0])]
        if len(pairs):  # before the first episode has ended there is no score yet
            pairs = pairs[np.isfinite(pairs[:, 1]).argmax() :]
        run, said = log_run(self.name, path, names, score, pairs[:, 0], pairs[:, 1])
        return Read(runs=(run,), findings=(said, *findings))


def _results(path: Path, findings: list[Finding]) -> Iterator[dict[str, Any]]:
    """The iterations, one at a time: a line holds the whole config and histograms."""
    with open(path, "rb") as file:
        number = 0
        while raw := file.readline(MAX_LINE_BYTES):
            number += 1
            if not raw.endswith(b"\n"):
                findings.append(note("cut_off_log", f"the last line of {path} is cut off; it was used up to there"))
                return
            if raw.strip():
                fix = "restore the log, or take that line out"
                yield parse_json(raw, f"{path} line {number}", expect=dict, nan=True, fix=fix)


def _flat(values: dict[str, Any], depth: int, prefix: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, dict) and depth > 1 and key != "config":
            found |= _flat(value, depth - 1, f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[prefix + key] = float(value) if abs(value) < 1e300 else float("nan")
    return found


def _named_inside(result: dict[str, Any]) -> Fields:
    config = result.get("config")
    found: Fields = {}
    if isinstance(config, dict):
        if isinstance(config.get("env"), str):
            suite, task = split_task(config["env"])
            found |= {"task": task} | ({"suite": suite} if suite else {})
        if isinstance(config.get("seed"), int):
            found["seed"] = str(config["seed"])
    return found


READER = RllibResults()
