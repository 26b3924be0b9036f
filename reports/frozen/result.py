"""The result of a protocol: scores, their IQM, and everything that others need to check and merge it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ipv_bench import __version__
from ipv_bench.addresses import public_values
from ipv_bench.frozen_protocol import Protocol
from ipv_bench.seeding import numpy_generator
from reports.frozen.alike import kept_config, kept_overrides, scored_actions
from reports.frozen.checked_run import CheckedRun, CheckedRuns
from reports.frozen.entries import known_entries, set_by_task
from reports.readers.protocol_result import FORMAT, VERSION
from reports.statistics.intervals import TABLE_RESAMPLES, interval
from reports.tables.tables import Estimate, Table

SEED = 0
"""Of the resampling: the same runs give the same interval everywhere."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One line of a leaderboard.

    Attributes:
        name: method, and what was chosen.
        display_name: as papers write the method.
        pretraining: what its agents start from, in words.
        actions: which ones its evaluations played: `sampled`, or the `most likely` ones.
        scores: task → seed → score in the task's own units.
        aggregate: IQM of the normalised scores over all runs and tasks; None while a task has no run.
        runs: the runs behind it.
        wanted: runs that the protocol asks for.
        imposed: fields whose values are the protocol's and not the method's own preset's, on some suite at least.
        by_task: what it has on one task alone; see `set_by_task`.
    """

    name: str
    display_name: str
    pretraining: str
    actions: str
    scores: Mapping[str, Mapping[int, float]]
    aggregate: Estimate | None
    runs: tuple[CheckedRun, ...]
    wanted: int
    imposed: tuple[str, ...]
    by_task: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every run is there that the protocol asks for."""
        return len(self.runs) == self.wanted


def entries(checked: CheckedRuns, resamples: int = TABLE_RESAMPLES) -> list[Entry]:
    """The lines of a leaderboard, those that are complete first, the best first."""
    found = [_entry(name, runs, checked.protocol, resamples) for name, runs in known_entries(checked.following).items()]
    return sorted(found, key=lambda one: (not one.is_complete, -(one.aggregate.point if one.aggregate else -np.inf)))


def _entry(name: str, runs: Sequence[CheckedRun], protocol: Protocol, resamples: int) -> Entry:
    scores: dict[str, dict[int, float]] = {task: {} for task in protocol.tasks}
    for one in runs:
        last = one.run.scores[-protocol.score.evaluations :]
        scores[one.run.task_id][int(one.run.seed)] = float(np.mean(last))
    run = runs[0].run
    return Entry(
        name,
        str(run.record.get("display_name") or run.method),
        _start(runs),
        scored_actions(run.record),
        {task: dict(sorted(of_task.items())) for task, of_task in scores.items()},
        _aggregate(scores, protocol, resamples),
        tuple(sorted(runs, key=lambda one: (one.run.task_id, int(one.run.seed)))),
        len(protocol.tasks) * protocol.seeds,
        tuple(sorted({key for one in runs for key in one.imposed})),
        set_by_task(runs),
    )


def _start(runs: Sequence[CheckedRun]) -> str:
    made = runs[0].run.pretraining
    if made.get("kind") in (None, "none"):
        return "none"
    return f"{'+'.join(map(str, made.get('data') or []))}, {made.get('updates')} updates"


def _aggregate(scores: Mapping[str, Mapping[int, float]], protocol: Protocol, resamples: int) -> Estimate | None:
    if not all(scores.values()):
        return None
    matrix = np.full((max(map(len, scores.values())), len(scores)), np.nan)  # (R, M)
    for column, (task, of_task) in enumerate(scores.items()):
        low, high = protocol.score.range_of(task)
        matrix[: len(of_task), column] = (np.array(list(of_task.values())) - low) / (high - low)
    found = interval(matrix, "iqm", resamples, numpy_generator(SEED, 0, "protocol"))
    if found.num_runs[1] == 1:
        return Estimate(float(found.point), np.nan, np.nan, "n = 1 per task")
    return Estimate(
        float(found.point), float(found.low), float(found.high), "" if found.label == "IQM" else found.label
    )


def result_record(checked: CheckedRuns, lines: Sequence[Entry], resamples: int = TABLE_RESAMPLES) -> dict[str, Any]:
    """What the result file holds; the same runs give the same bytes."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "protocol": checked.name,
        "protocol_sha256": checked.sha256,
        "ipv_bench": __version__,
        "entries": [_entry_record(line, resamples) for line in lines],
        "runs": [_run_record(one) for line in lines for one in line.runs],
        "deviating": [
            {"run": one.run.name, "deviations": [vars(deviation) for deviation in one.deviations]}
            for one in checked.deviating
        ],
    }


def result_bytes(checked: CheckedRuns) -> bytes:
    """The result file."""
    record = result_record(checked, entries(checked))
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _entry_record(line: Entry, resamples: int) -> dict[str, Any]:
    found = line.aggregate
    aggregate = found and {
        "statistic": found.label or "IQM", "point": found.point, "low": _or_none(found.low),
        "high": _or_none(found.high), "resamples": resamples, "seed": SEED,
    }  # fmt: skip
    return {
        "name": line.name, "display_name": line.display_name, "pretraining": line.pretraining,
        "actions": line.actions, "runs": len(line.runs), "runs_wanted": line.wanted, "complete": line.is_complete,
        "scores": {task: {str(seed): score for seed, score in seeds.items()} for task, seeds in line.scores.items()},
        "aggregate": aggregate, "set_by_protocol": list(line.imposed), "set_by_task": list(line.by_task),
    }  # fmt: skip


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def _run_record(one: CheckedRun) -> dict[str, Any]:
    run, record = one.run, one.run.record
    kept = ("status", "exact", "preset", "env_fingerprint", "packages", "hardware", "git_commit")
    return {
        "id": run.name,
        "method": run.method, "variant": run.variant, "display_name": record.get("display_name", ""),
        "suite": run.suite, "task": run.task, "seed": int(run.seed), "metric": run.metric,
        "env_steps": run.env_steps.tolist(), "scores": run.scores.tolist(),
        "episodes": run.episodes.tolist() if run.episodes is not None else [0] * run.num_points,
        "sha256": one.sha256,
        **{name: record[name] for name in kept if name in record},
        "overrides": kept_overrides(record), "config": kept_config(record),
        "pretraining": dict(run.pretraining),
        "shard_sets": [_set_record(shards) for shards in record.get("shard_sets") or []],
        "pretrain": one.pretrain and _model_record(one.pretrain),
    }  # fmt: skip


def _model_record(record: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("kind", "preset", "status", "packages", "hardware", "git_commit")
    found = {name: record[name] for name in kept if name in record}
    return {**found, "overrides": kept_overrides(record), "config": kept_config(record)}


def _set_record(shards: Mapping[str, Any]) -> dict[str, Any]:
    """A shard set without the folder that it lies in."""
    return dict(public_values({key: value for key, value in shards.items() if key != "path"}))


def result_table(checked: CheckedRuns, lines: Sequence[Entry], name: str) -> Table:
    """Scores by method and task, and the IQM."""
    protocol = checked.protocol
    rows = [
        (
            line.name,
            line.pretraining,
            line.actions,
            *(_mean(line.scores[task], protocol.seeds) for task in protocol.tasks),
            line.aggregate if line.aggregate is not None else "–",
            f"{len(line.runs)} of {line.wanted}",
        )
        for line in lines
    ]
    note = (
        f"A run's score: the mean of its last {protocol.score.evaluations} evaluations. Per task: the mean over its "
        f"runs. IQM: over all runs and tasks, each task on its range ({_ranges(protocol)}), with its 95 % interval; – "
        "while a task has no run. Only runs that follow the protocol count. Actions: which ones were scored; sampled "
        "and most likely ones are two measures: compare entries of one kind."
    )
    for line in lines:
        if line.imposed:
            note += f" {line.name} has the protocol's {', '.join(line.imposed)}, not its preset's."
    by_task: dict[tuple[str, ...], list[str]] = {}
    for line in lines:
        by_task.setdefault(line.by_task, []).append(line.name)
    for told, names in by_task.items():
        if told:
            note += f" {', '.join(names)}: on {'; on '.join(told)}."
    columns = ("method", "pre-training", "actions", *protocol.tasks, "IQM", "runs")
    return Table(name, f"{protocol.title}: results", columns, rows, note)


def _ranges(protocol: Protocol) -> str:
    return ", ".join(f"{suite} {low:g} to {high:g}" for suite, (low, high) in protocol.score.ranges.items())


def _mean(scores: Mapping[int, float], wanted: int) -> str:
    if not scores:
        return "–"
    mean = f"{np.mean(list(scores.values())):.3g}"
    return mean if len(scores) == wanted else f"{mean} (n={len(scores)})"


def deviation_table(checked: CheckedRuns, name: str) -> Table:
    """Every deviation of every run."""
    rows = [
        (one.run.name, one.run.source, deviation.field, deviation.found, deviation.wanted)
        for one in checked.deviating
        for deviation in one.deviations
    ]
    columns = ("run", "read from", "field", "run's value", "protocol's value")
    note = f"Protocol {checked.name}, SHA-256 {checked.sha256}. These runs are not among the results."
    return Table(name, f"{checked.protocol.title}: deviations", columns, rows, note)
