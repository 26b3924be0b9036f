"""Log folders of ContextWM, APV, DreamerV2 and DreamerV3: `metrics.jsonl` or `scores.jsonl`, beside `config.yaml`.

Lines are `{"step": env steps, name: value, ...}`; DreamerV2's loggers write the step already multiplied by the action
repeat, so it is taken as env steps. Lines without a score (losses) are passed over without being parsed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ipv_bench.errors import InputError
from ipv_bench.run_record import RUN_FILE
from reports.readers.base import Read, ReadOptions, RunFields, first_bytes, read_fields, read_yaml_mapping
from reports.readers.run_format1 import is_cut_off
from reports.scores.findings import note
from reports.scores.score_table import Metric, ScoredRun
from reports.scores.task_names import split_dreamer_task, suite_metric

LOGS = ("metrics.jsonl", "scores.jsonl")
NAMES: dict[Metric, tuple[str, ...]] = {
    "success": ("eval_success", "eval/success", "eval_episode/success", "train_success"),
    "return": (
        "eval_return", "eval/return", "eval_episode/score", "eval/score",
        "train_return", "train/return", "episode/score", "score",
    ),
}  # fmt: skip
"""Names of scores, in the order in which they are looked for; evaluation before training episodes."""


class DreamerMetrics:
    """Reads a log folder as one run."""

    name = "dreamer_metrics"

    def accepts(self, path: Path) -> bool:
        """A folder with `metrics.jsonl` or `scores.jsonl` whose lines have `step`, and that is not one of our runs."""
        log = path / LOGS[0] if (path / LOGS[0]).is_file() else path / LOGS[1]
        return log.is_file() and not (path / RUN_FILE).exists() and b'"step"' in first_bytes(log, 1 << 16)

    def read(self, path: Path, options: ReadOptions) -> Read:
        """Read the run.

        Raises:
            InputError: a line before the last is not JSON, or no line has a score.
            ConfigError: `run_fields.yaml` is wrong.
        """
        fields, config = read_fields(path), _config(path)
        suite, task = task_of_folder(path, fields, config)
        log = next(path / name for name in LOGS if (path / name).is_file())
        metric, name = _score_name(log, fields, options, suite)
        points = list(_points(log, name))
        repeat = fields.action_repeat or _whole_number(config.get("action_repeat"))
        factor = repeat if fields.steps_are == "agent_steps" and repeat else 1
        run = ScoredRun(
            method=fields.method or method_of_folder(path),
            variant=fields.variant or "",
            suite=suite,
            task=task,
            seed=str(fields.seed if fields.seed is not None else config.get("seed", seed_of_folder(path))),
            env_steps=np.array([step for step, _ in points], dtype=np.float64) * factor,
            scores=np.array([score for _, score in points], dtype=np.float64),
            metric=metric,
            source=str(path),
            format=self.name,
            action_repeat=repeat,
            env_fingerprint=fields.env_fingerprint,
            pretraining=fields.pretraining,
            record={"config": dict(config)},
        )
        findings = [note("score_name", f"{path}: the score is {name!r}", subjects=[run.name])]
        if is_cut_off(log):
            findings.append(
                note("cut_off_log", f"the last line of {log} is cut off; it was used up to there", subjects=[run.name])
            )
        return Read(runs=(run,), findings=tuple(findings))


def _score_name(log: Path, fields: RunFields, options: ReadOptions, suite: str) -> tuple[Metric, str]:
    if fields.score:
        return "score", fields.score
    wanted = suite_metric(suite) if options.metric == "auto" else options.metric
    orders: tuple[Metric, ...] = (wanted,) if options.metric != "auto" else (wanted, "return", "success")
    present = _names_in(log, {name for metric in orders for name in NAMES[metric]})
    for metric in orders:
        for name in NAMES[metric]:
            if name in present:
                return metric, name
    raise InputError(
        f"{log} has no line with a score",
        expected=f"one of {', '.join(name for metric in orders for name in NAMES[metric])}",
        fix="name the log's score in run_fields.yaml beside it (score: ...)",
    )


def _names_in(log: Path, names: set[str]) -> set[str]:
    # One pass over the raw bytes; all names found, or the end of the log, stops it.
    patterns = {name: f'"{name}"'.encode() for name in names}
    found: set[str] = set()
    with open(log, "rb") as file:
        for raw in file:
            found |= {name for name, pattern in patterns.items() if name not in found and pattern in raw}
            if len(found) == len(names):
                break
    return found


def _points(log: Path, name: str) -> Iterator[tuple[float, float]]:
    """Step and score of each line that has the score; the last line may be cut off."""
    pattern = f'"{name}"'.encode()
    with open(log, "rb") as file:
        for number, raw in enumerate(file, start=1):
            if pattern not in raw or not raw.endswith(b"\n"):
                continue
            try:
                line: Any = json.loads(raw)
                step, score = float(line["step"]), line[name]
            except (ValueError, TypeError, KeyError):
                raise InputError(
                    f"{log} line {number} is damaged",
                    expected=f"JSON with step and {name}",
                    fix="mend or leave out the log",
                ) from None
            yield step, float(score) if isinstance(score, int | float) else float("nan")


def _config(folder: Path) -> dict[str, Any]:
    for name in ("config.yaml", "used_config.yaml"):
        if (folder / name).is_file():
            return dict(read_yaml_mapping(folder / name))
    return {}


def task_of_folder(folder: Path, fields: RunFields, config: dict[str, Any]) -> tuple[str, str]:
    """Suite and task: as given, as the config has it, or from a path `<suite>_<task>/<method>/<seed>`."""
    named = config.get("task")
    if not isinstance(named, str):
        parents = folder.resolve().parts
        named = parents[-3] if len(parents) >= 3 and "_" in parents[-3] else folder.resolve().name
    suite, task = split_dreamer_task(named)
    return fields.suite if fields.suite is not None else suite, fields.task or task


def method_of_folder(folder: Path) -> str:
    """The folder above the seed's (`<task>/<method>/<seed>`), else the run folder's name without its seed."""
    path = folder.resolve()
    if re.fullmatch(r"(seed[_-]?)?\d+", path.name):
        return path.parent.name
    return re.sub(r"[_-]?(seed|s)?[_-]?\d+$", "", path.name) or path.name


def seed_of_folder(folder: Path) -> str:
    """The number at the end of the folder's name; 0 without one."""
    found = re.search(r"(\d+)$", folder.resolve().name)
    return found.group(1) if found else "0"


def _whole_number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


READER = DreamerMetrics()
