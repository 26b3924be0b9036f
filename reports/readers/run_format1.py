"""Our own runs: a folder with `run.json` and `evaluations.jsonl` (see `ipv_bench.run_record`)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ipv_bench.joined_sets import told_sets
from ipv_bench.run_record import (
    EVALUATIONS_FILE,
    METRICS_FILE,
    RUN_FILE,
    RunRecord,
    read_record,
)
from reports.readers.base import MAX_ACTION_REPEAT, Read, ReadOptions, check_pretraining
from reports.readers.bounded import check_bounds
from reports.readers.evaluation_log import read_evaluations
from reports.readers.jsonl_blocks import as_number, read_lines
from reports.scores.findings import Finding, note, warning
from reports.scores.score_table import PretrainedRun, ScoredRun
from reports.scores.task_names import suite_metric

DROPPED_EPISODE = "it lost an environment process and dropped its episode"
"""Why runs of older versions, which give no reason, are not exact."""


class RunFormat1:
    """Reads run format 1; a fine-tuning run gives a `ScoredRun`, a pre-training run or an adapted model a
    `PretrainedRun`."""

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
        check_bounds(record.model_dump(mode="json"), str(path / RUN_FILE))
        check_pretraining(record.pretraining, str(path / RUN_FILE))
        if record.kind != "finetune":
            return _read_pretraining(path, record)
        return _read_finetuning(path, record, options)


def _read_finetuning(folder: Path, record: RunRecord, options: ReadOptions) -> Read:
    log = folder / EVALUATIONS_FILE
    wanted = suite_metric(record.suite) if options.metric == "auto" else options.metric
    found = read_evaluations(
        log, "successes" if wanted == "success" else "returns", else_returns=options.metric == "auto"
    )
    run = ScoredRun(
        method=record.method,
        variant=record.variant,
        suite=record.suite,
        task=record.task,
        seed=str(record.seed),
        env_steps=found.env_steps,
        scores=found.scores,
        metric="success" if found.values == "successes" else "return",
        source=str(folder),
        format=RunFormat1.name,
        action_repeat=_action_repeat(record),
        episodes=found.episodes,
        origin="evaluation",
        in_written_order=True,
        status=record.status,
        env_fingerprint=record.env_fingerprint,
        pretraining=record.pretraining,
        record=record.model_dump(mode="json"),
    )
    return Read(runs=(run,), findings=tuple(_findings(log, run.name, record)))


def _action_repeat(record: RunRecord) -> int | None:
    env = record.config.get("env")
    found = record.env_fingerprint.get("action_repeat", env.get("action_repeat") if isinstance(env, dict) else None)
    return found if isinstance(found, int) and 0 < found < MAX_ACTION_REPEAT else None


def _findings(log: Path, name: str, record: RunRecord) -> Iterator[Finding]:
    if log.is_file() and is_cut_off(log):
        yield note(
            "cut_off_log",
            f"the last line of {log} is cut off (a running or killed run); it was used up to there",
            subjects=[name],
        )
    told = (record.model_extra or {}).get("warnings")
    for text in told if isinstance(told, list) else []:
        yield warning("policy_left_its_model", f"{name}: {text}", subjects=[name])
    for field, code in (("dropped_short", "episodes_not_learned_from"), ("ends_not_learned", "ends_not_learned")):
        found = (record.model_extra or {}).get(field)
        if isinstance(found, dict) and isinstance(found.get("warning"), str):
            yield warning(code, f"{name}: {found['warning']}", subjects=[name])
    if not record.exact:
        yield warning(
            "not_exact",
            f"{name} is not an exact run of its seed: {'; '.join(record.inexact_because) or DROPPED_EPISODE}",
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
    lines = [line for line in read_lines(log) if math.isfinite(as_number(line.get("updates")))] if log.is_file() else []
    names = sorted({key for line in lines for key, value in line.items() if isinstance(value, int | float)})
    values = {
        name: np.array([as_number(line.get(name)) for line in lines], dtype=np.float64)
        for name in names
        if name != "updates"
    }
    data = told_sets(record.pretraining.get("data") or ["none"])
    name = f"{record.kind}/{data}/{record.method}{'@' + record.variant if record.variant else ''}/seed{record.seed}"
    run = PretrainedRun(
        name=name,
        source=str(folder),
        record=record.model_dump(mode="json"),
        updates=np.array([as_number(line["updates"]) for line in lines], dtype=np.float64),
        values=values,
    )
    findings = list(_findings(log, name, record))
    return Read(pretraining=(run,), findings=tuple(findings))


READER = RunFormat1()
