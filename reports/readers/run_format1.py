"""Our own runs: a folder with `run.json` and `evaluations.jsonl` (see `ipv_bench.run_record`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ipv_bench.errors import RunError
from ipv_bench.run_record import (
    EVALUATIONS_FILE,
    METRICS_FILE,
    RUN_FILE,
    RunRecord,
    read_jsonl,
    read_record,
)
from reports.findings import Finding, note, warning
from reports.readers.base import Read, ReadOptions
from reports.score_table import Metric, PretrainedRun, ScoredRun
from reports.task_names import suite_metric


class RunFormat1:
    """Reads run format 1; a pre-training run gives a `PretrainedRun`, a fine-tuning run a `ScoredRun`."""

    name = "run_format1"

    def accepts(self, path: Path) -> bool:
        """A folder with `run.json`."""
        return path.is_dir() and (path / RUN_FILE).is_file()

    def read(self, path: Path, options: ReadOptions) -> Read:
        """Read one run.

        Raises:
            RunError: `run.json` is damaged or of a newer format, or a log is damaged before its last line.
        """
        record = read_record(path)
        if record.kind == "pretrain":
            return _read_pretraining(path, record)
        return _read_finetuning(path, record, options)


def _read_finetuning(folder: Path, record: RunRecord, options: ReadOptions) -> Read:
    log = folder / EVALUATIONS_FILE
    lines = list(read_jsonl(log)) if log.is_file() else []
    metric = _metric(record, lines, options)
    values = "successes" if metric == "success" else "returns"
    points = [_point(log, number, line, values) for number, line in enumerate(lines, start=1)]
    run = ScoredRun(
        method=record.method,
        variant=record.variant,
        suite=record.suite,
        task=record.task,
        seed=str(record.seed),
        env_steps=np.array([step for step, _, _ in points], dtype=np.float64),
        scores=np.array([score for _, score, _ in points], dtype=np.float64),
        metric=metric,
        source=str(folder),
        format=RunFormat1.name,
        action_repeat=_action_repeat(record),
        episodes=np.array([count for _, _, count in points], dtype=np.int64),
        status=record.status,
        env_fingerprint=record.env_fingerprint,
        pretraining=record.pretraining,
        record=record.model_dump(mode="json"),
    )
    return Read(runs=(run,), findings=tuple(_findings(log, run.name, record)))


def _metric(record: RunRecord, lines: list[dict[str, Any]], options: ReadOptions) -> Metric:
    if options.metric != "auto":
        return options.metric
    wanted = suite_metric(record.suite)
    if wanted == "success" and not any(_numbers(line.get("successes")) for line in lines):
        return "return"
    return wanted


def _numbers(values: Any) -> list[Any]:
    return [value for value in values if value is not None] if isinstance(values, list) else []


def _point(log: Path, number: int, line: dict[str, Any], values: str) -> tuple[float, float, int]:
    """Env steps, mean score and number of episodes of an evaluation; a null (non-finite) episode makes the mean NaN."""
    steps, episodes = line.get("env_steps"), line.get(values)
    if not isinstance(steps, int | float) or not isinstance(episodes, list):
        raise RunError(
            f"{log} line {number} has no env_steps or no {values}: it has {', '.join(map(str, line)) or 'nothing'}",
            expected=f"env_steps (a number) and {values} (a list with one number per episode)",
        )
    if not episodes or any(value is None for value in episodes):
        return float(steps), float("nan"), len(episodes)
    return float(steps), sum(episodes) / len(episodes), len(episodes)


def _action_repeat(record: RunRecord) -> int | None:
    env = record.config.get("env")
    found = record.env_fingerprint.get("action_repeat", env.get("action_repeat") if isinstance(env, dict) else None)
    return found if isinstance(found, int) else None


def _findings(log: Path, name: str, record: RunRecord) -> Iterator[Finding]:
    if log.is_file() and is_cut_off(log):
        yield note(
            "cut_off_log",
            f"the last line of {log} is cut off (a running or killed run); it was used up to there",
            subjects=[name],
        )
    if not record.exact:
        yield warning(
            "not_exact",
            f"{name} lost an environment process and dropped its episode: it is not an exact run of its seed",
            subjects=[name],
        )


def is_cut_off(path: Path) -> bool:
    """Whether a log's last line has no line end."""
    with open(path, "rb") as file:
        file.seek(0, 2)
        if not file.tell():
            return False
        file.seek(-1, 2)
        return file.read(1) != b"\n"


def _read_pretraining(folder: Path, record: RunRecord) -> Read:
    log = folder / METRICS_FILE
    lines = [line for line in read_jsonl(log) if "updates" in line] if log.is_file() else []
    names = sorted({key for line in lines for key, value in line.items() if isinstance(value, int | float)})
    values = {
        name: np.array([_scalar(line.get(name)) for line in lines], dtype=np.float64)
        for name in names
        if name != "updates"
    }
    data = "+".join(map(str, record.pretraining.get("data") or ["none"]))
    name = f"pretrain/{data}/{record.method}{'@' + record.variant if record.variant else ''}/seed{record.seed}"
    run = PretrainedRun(
        name=name,
        source=str(folder),
        record=record.model_dump(mode="json"),
        updates=np.array([line["updates"] for line in lines], dtype=np.float64),
        values=values,
    )
    findings = list(_findings(log, name, record))
    return Read(pretraining=(run,), findings=tuple(findings))


def _scalar(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
