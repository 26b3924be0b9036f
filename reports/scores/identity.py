"""Which run is which: seeds in one spelling, runs that are copies, names and steps that do not fit together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from reports.scores.findings import Finding, note, warning
from reports.scores.score_table import ScoredRun
from reports.scores.task_names import our_task

_WHOLE = re.compile(r"([-+]?\d{1,15})(?:\.0*)?")
_PSEUDO_TASK = re.compile(r"(?:.*[/_])?stats_\w+", re.IGNORECASE)
_AGGREGATES = {"mean", "median", "average", "avg", "overall", "aggregate", "iqm", "all_tasks", "total"}
_LONGEST_NAME = 500
_MANY = 10
"""Points from which on steps that count one by one are no chance."""


def whole_seed(text: str) -> str:
    """A seed in one spelling: `0.0`, `0.` and ` 0` are `0`, since tables turn whole numbers into floats."""
    found = _WHOLE.fullmatch(text.strip())
    return str(int(found.group(1))) if found else text.strip()


def with_plain_names(run: ScoredRun) -> ScoredRun:
    """The run with its seed and task in one spelling, and without characters that no table or page can hold."""
    suite = printable(run.suite)
    return replace(
        run,
        method=printable(run.method),
        variant=printable(run.variant),
        suite=suite,
        task=our_task(suite, printable(run.task)),
        seed=whole_seed(printable(run.seed)),
        source=printable(run.source),
    )


def printable(text: str) -> str:
    """A name without half characters, control characters and a length that no table holds."""
    if text.isascii() and text.isprintable() and len(text) <= _LONGEST_NAME:
        return text.strip()
    whole = text.encode("utf-8", "replace").decode()  # a lone surrogate becomes a question mark
    return "".join(mark if mark.isprintable() else "?" for mark in whole.strip())[:_LONGEST_NAME]


def without_pseudo_tasks(runs: Iterable[ScoredRun]) -> tuple[list[ScoredRun], list[Finding]]:
    """Leave out entries such as `stats_mean`, which published files keep beside the tasks; they are no tasks."""
    kept: list[ScoredRun] = []
    dropped: dict[str, int] = {}
    for run in runs:
        if _PSEUDO_TASK.fullmatch(run.task):
            dropped[run.task_id] = dropped.get(run.task_id, 0) + 1
        else:
            kept.append(run)
    if not dropped:
        return kept, []
    text = f"{sum(dropped.values())} entries are statistics and no tasks: {', '.join(sorted(dropped)[:5])}"
    return kept, [note("pseudo_tasks", f"{text}; they were left out", subjects=sorted(dropped))]


def identity_findings(runs: Sequence[ScoredRun]) -> Iterator[Finding]:
    """What suggests that a run, name or step is not what it is taken for.

    Args:
        runs: cleaned runs, each with points.
    """
    yield from _equal_points(runs)
    yield from _similar_names(runs)
    yield from _aggregates_as_tasks(runs)
    yield from _counted_one_by_one(runs)


def _equal_points(runs: Sequence[ScoredRun]) -> Iterator[Finding]:
    same: dict[tuple[str, bytes, bytes], list[ScoredRun]] = {}
    for run in runs:
        if (
            run.num_points and np.ptp(run.scores) > 0
        ):  # unlike the zeros of a sparse reward, these do not agree by chance
            key = (run.task_id, run.env_steps.tobytes(), run.scores.tobytes())
            same.setdefault(key, []).append(run)
    for copies in same.values():
        if len(copies) > 1:
            names = [run.name for run in copies]
            yield warning(
                "equal_runs",
                f"{len(copies)} runs have exactly the same points: {', '.join(names[:5])}"
                + (f" and {len(names) - 5} more" if len(names) > 5 else "")
                + " (first in " + ", ".join(dict.fromkeys(run.source for run in copies[:2])) + ")",
                "they are copies of one run, or were made with one seed: keep one",
                names,
            )  # fmt: skip


def _similar_names(runs: Sequence[ScoredRun]) -> Iterator[Finding]:
    for what, names in (
        ("methods", {run.label for run in runs}),
        ("tasks", {run.task_id for run in runs}),
    ):
        spelled: dict[str, list[str]] = {}
        for name in sorted(names):
            spelled.setdefault(re.sub(r"[^\w]|_", "", name).lower() or name, []).append(name)
        for alike in spelled.values():
            if len(alike) > 1:
                yield warning(
                    "similar_names",
                    f"{what} that differ only in spelling are kept apart: {', '.join(map(repr, alike))}",
                    "spell them one way if they are one",
                    alike,
                )


def _aggregates_as_tasks(runs: Sequence[ScoredRun]) -> Iterator[Finding]:
    found = sorted({run.task_id for run in runs if run.task.lower() in _AGGREGATES})
    if found and len({run.task_id for run in runs}) > len(found):
        yield warning(
            "aggregate_as_task",
            f"{', '.join(found)} reads like an aggregate over tasks, and is counted as a task",
            "leave these rows out, or rename the task",
            found,
        )


def _counted_one_by_one(runs: Sequence[ScoredRun]) -> Iterator[Finding]:
    """Runs whose steps are 0, 1, 2, ...: iterations or episodes, as Dopamine's and RSL-RL's loggers write them."""
    names = [run.name for run in runs if run.num_points >= _MANY and (np.diff(run.env_steps) == 1).all()]
    if names:
        yield warning(
            "counted_steps",
            f"the steps of {len(names)} runs count one by one ({', '.join(names[:3])}): iterations or episodes "
            "rather than env steps",
            "run_fields.yaml beside the logs: steps_are: agent_steps, and as action_repeat the env steps of one count",
            names,
        )
