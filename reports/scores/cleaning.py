"""One run's points: steps in order, each once, finite scores; everything that was changed is a finding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from reports.scores.findings import Finding, note, warning
from reports.scores.restarts import Restarts, find_restarts, restarted
from reports.scores.score_table import ScoredRun

LARGEST_SCORE = 1e100
"""Beyond this a score has diverged, and sums of scores overflow."""


def clean(run: ScoredRun) -> tuple[ScoredRun, list[Finding]]:
    """The run with usable points only.

    Points with a step or score that is not finite are dropped. Where the steps of a log go back, the run was resumed,
    and what it logged at or after that step before is dropped; the rows of a table may stand in any order, and are
    sorted unless they read like such a log. Of several evaluations at one step the last written counts; training
    episodes that end at one step are averaged.
    """
    findings: list[Finding] = []
    finite = np.isfinite(run.env_steps) & (np.abs(run.scores) < LARGEST_SCORE)
    if not finite.all():
        findings.append(_not_finite(run, ~finite))
        run = _taken(run, np.flatnonzero(finite))
    if not run.in_written_order and (np.diff(run.env_steps) < 0).any():
        run, found = _without_copies(run)
        findings += found
    if (np.diff(run.env_steps) < 0).any():
        run, finding = _in_order(run)
        findings.append(finding)
    if (np.diff(run.env_steps) == 0).any():
        run, finding = _each_step_once(run)
        findings.append(finding)
    return run, findings


def clean_all(runs: Iterable[ScoredRun]) -> tuple[list[ScoredRun], list[Finding]]:
    """`clean` for each run; findings of one kind about one file are one finding."""
    cleaned: list[ScoredRun] = []
    found: list[tuple[str, Finding]] = []
    for run in runs:
        better, findings = clean(run)
        cleaned.append(better)
        found += [(run.source, finding) for finding in findings]
    return cleaned, list(_joined(found))


def _without_copies(run: ScoredRun) -> tuple[ScoredRun, list[Finding]]:
    """The run with each row of its table once, where the table holds the same step and score again further down."""
    pairs = np.stack([run.env_steps, run.scores], axis=1)
    first = np.sort(np.unique(pairs, axis=0, return_index=True)[1])
    copies = run.num_points - len(first)
    if not copies:
        return run, []
    finding = warning(
        "copied_rows",
        f"{run.name}: {copies} rows are in the table twice, with the same step and score; they were used once",
        "look whether a run was written into the table twice",
        [run.name],
    )
    return _taken(run, first), [finding]


def _in_order(run: ScoredRun) -> tuple[ScoredRun, Finding]:
    """The run with steps that do not go back."""
    restarts = find_restarts(run.env_steps)
    if len(restarts.places) and (run.in_written_order or _reads_like_a_log(run.env_steps, restarts)):
        kept = _taken(run, np.flatnonzero(restarts.keep))
        return kept, restarted(run.name, restarts, run.num_points - kept.num_points, run.source)
    return _taken(run, np.argsort(run.env_steps, kind="stable")), _out_of_order(run)


def _reads_like_a_log(steps: np.ndarray, restarts: Restarts) -> bool:
    """Whether a table's rows are a resumed log rather than rows in another order.

    A resumed log goes back few times and covers again, each time, what it lost; rows that are shuffled, turned round or
    sorted as texts (1000, 10000, 2000) do not.
    """
    as_texts = [f"{step:.15g}" for step in steps]
    few = len(restarts.places) <= 1 + len(steps) // 20
    ends = [*(restarts.places[1:] - 1), len(steps) - 1]
    highest = np.maximum.accumulate(steps)
    again = all(steps[end] >= highest[place] for place, end in zip(restarts.places, ends, strict=True))
    return few and again and as_texts != sorted(as_texts)


def _each_step_once(run: ScoredRun) -> tuple[ScoredRun, Finding]:
    first = np.flatnonzero(np.append(True, np.diff(run.env_steps) > 0))
    repeated = run.num_points - len(first)
    if run.origin == "training_episode":
        counts = np.diff(np.append(first, run.num_points))
        means = np.add.reduceat(run.scores, first) / counts
        text = f"{run.name}: {repeated} training episodes end at a step with another one; they were averaged"
        return run.with_points(run.env_steps[first], means, None), note("episodes_averaged", text, subjects=[run.name])
    last = np.append(first[1:], run.num_points) - 1
    return _taken(run, last), _repeated(run, repeated)


def _taken(run: ScoredRun, places: np.ndarray) -> ScoredRun:
    episodes = None if run.episodes is None else run.episodes[places]
    return run.with_points(run.env_steps[places], run.scores[places], episodes)


def _not_finite(run: ScoredRun, wrong: np.ndarray) -> Finding:
    first = float(run.env_steps[np.argmax(wrong)])
    return warning(
        "not_finite",
        f"{run.name}: {int(wrong.sum())} of {run.num_points} evaluations have no finite score "
        "(NaN, infinite, beyond 1e100 or null), "
        f"the first at {first:g} env steps; they were dropped",
        "look at the run: training may have diverged there",
        [run.name],
    )


def _out_of_order(run: ScoredRun) -> Finding:
    back = int((np.diff(run.env_steps) < 0).sum())
    return warning(
        "out_of_order",
        f"{run.name}: env steps go back {back} times; the points were sorted by step",
        "if two runs were written into one file, give them different seeds",
        [run.name],
    )


def _repeated(run: ScoredRun, repeated: int) -> Finding:
    return warning(
        "repeated_steps",
        f"{run.name}: {repeated} evaluations repeat a step; the last one written at each step was used",
        "if two runs were written into one file, give them different seeds",
        [run.name],
    )


def _joined(found: Iterable[tuple[str, Finding]]) -> Iterator[Finding]:
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for source, finding in found:
        kinds.setdefault((source, finding.code), []).append(finding)
    for (source, code), findings in kinds.items():
        first = findings[0]
        if len(findings) == 1:
            yield first
            continue
        subjects = tuple(name for finding in findings for name in finding.subjects)
        more = f"{first.text} (and {len(findings) - 1} more runs of {source})"
        yield Finding(first.level, code, more, first.fix, subjects)
