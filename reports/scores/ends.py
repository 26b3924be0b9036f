"""Where final scores are read: which env step on each task, and which evaluations of which run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from reports.scores.align import Fill, fill_of, mean_window, read_off
from reports.scores.findings import Finding, warning
from reports.scores.score_table import ScoredRun

FinalAt = Literal["auto", "common", "own"]

TOGETHER = 0.8
"""Methods whose shortest ends at this share of the longest or later are read at one step."""

OTHER_UNITS = 10
"""Ends that differ by more than this factor are probably counted in other units."""


@dataclass(frozen=True)
class TaskEnds:
    """Where one task's final scores are read.

    Attributes:
        task: its id.
        own: label → last env step that all of the method's runs reached.
        read_at: label → env step at which its final scores are read.
    """

    task: str
    own: Mapping[str, float]
    read_at: Mapping[str, float]


def task_ends(
    groups: Mapping[str, Sequence[ScoredRun]], task: str, final_at: FinalAt = "auto", stop: float | None = None
) -> TaskEnds:
    """The ends of a task for all methods that have runs of it.

    Args:
        groups: label → runs, those that ended early left out (`without_odd_runs`).
        task: task id.
        final_at: auto: methods that end within a fifth of each other are read together, where the first of them ends.
        stop: no score is read behind this step.
    """
    own: dict[str, float] = {}
    for label, runs in groups.items():
        ends = [float(run.env_steps[-1]) for run in runs if run.task_id == task and run.num_points]
        if ends:
            own[label] = min([*ends, stop] if stop is not None else ends)
    return TaskEnds(task, own, _read_at(own, final_at))


def _read_at(own: Mapping[str, float], final_at: FinalAt) -> dict[str, float]:
    if final_at == "own" or not own:
        return dict(own)
    if final_at == "common":
        return dict.fromkeys(own, min(own.values()))
    found: dict[str, float] = {}
    left = dict(own)
    while left:
        longest = max(left.values())
        together = {label: end for label, end in left.items() if end >= TOGETHER * longest}
        found |= dict.fromkeys(together, min(together.values()))
        left = {label: end for label, end in left.items() if label not in together}
    return {label: found[label] for label in own}


@dataclass(frozen=True, eq=False)
class FinalScore:
    """One run's score at the end.

    Attributes:
        run: the run.
        score: in the run's units.
        read_at: env step that it is read at.
        first, last: env steps of the first and last evaluation that it is made of.
        number: of these evaluations.
    """

    run: ScoredRun
    score: float
    read_at: float
    first: float
    last: float
    number: int


def final_scores(
    runs: Sequence[ScoredRun], read_at: float, window: float = 0.0, fill: Fill = "previous", episodes: int = 0
) -> list[FinalScore]:
    """Final scores of runs of one task; a run that starts behind `read_at` has none.

    Args:
        runs: of one task.
        read_at: env step.
        window: 0: the score at `read_at` itself; else the mean of the evaluations in the last so many env steps, or
            the one before where there are none.
        fill: the score at a step between two evaluations.
        episodes: of a run whose scores are training episodes, the mean of the last so many; 0: by `window` and `fill`.
    """
    found = []
    for run in runs:
        if not run.num_points or run.env_steps[0] > read_at:
            continue
        inside = (run.env_steps >= read_at - window) & (run.env_steps <= read_at)
        place = np.array([read_at])
        if episodes and run.origin == "training_episode":
            behind = int(np.searchsorted(run.env_steps, read_at, side="right"))
            chosen = slice(max(behind - episodes, 0), behind)
            steps, score = run.env_steps[chosen], float(run.scores[chosen].mean())
        elif window and inside.any():
            steps, score = run.env_steps[inside], float(run.scores[inside].mean())
        elif fill_of(run, fill) == "mean":
            first, end = (int(one[0]) for one in mean_window(run, place))
            steps, score = run.env_steps[first:end], float(run.scores[first:end].mean())
        else:
            score = float(read_off(run, place, fill)[0])
            before = int(np.searchsorted(run.env_steps, read_at, side="right")) - 1
            last = before + (1 if fill == "linear" and run.env_steps[before] < read_at else 0)
            steps = run.env_steps[before : last + 1]
        found.append(FinalScore(run, score, read_at, float(steps[0]), float(steps[-1]), len(steps)))
    return found


def unequal_ends(suite: str, ends: Sequence[TaskEnds]) -> Iterator[Finding]:
    """One warning when methods end at different env steps, and one when they seem to count other units."""
    uneven = [one for one in ends if len(set(one.own.values())) > 1]
    if not uneven:
        return
    worst = max(uneven, key=_ratio)
    shown = ", ".join(f"{label} at {end:g}" for label, end in sorted(worst.own.items(), key=lambda item: item[1]))
    where = (
        f"{suite or 'runs without a suite'}: methods end at different env steps on {len(uneven)} of {len(ends)} tasks"
    )
    read = sorted(set(worst.read_at.values()))
    at = (
        f"all are read at {read[0]:g}"
        if len(read) == 1
        else "; ".join(f"{label} is read at {step:g}" for label, step in worst.read_at.items())
    )
    names = [one.task for one in uneven]
    yield warning(
        "unequal_ends",
        f"{where}, the most on {worst.task}: {shown}; there {at}",
        "train all for the same number of steps; `final_at: common` or `own` in the report's config reads all at the "
        "first end, or each at its own",
        names,
    )
    other = [one for one in uneven if _ratio(one) > OTHER_UNITS]
    if other:
        yield warning(
            "step_units",
            f"{suite or 'runs without a suite'}: on {len(other)} tasks the methods' ends differ more than "
            f"{OTHER_UNITS}-fold, such as {worst.task} ({shown}): are some in millions, or in agent steps where others "
            "are frames?",
            "give all logs one unit of steps (docs/reports/formats.md: steps_are, columns)",
            [one.task for one in other],
        )


def _ratio(ends: TaskEnds) -> float:
    low, high = min(ends.own.values()), max(ends.own.values())
    return high / low if low > 0 else float("inf") if high > 0 else 1.0
