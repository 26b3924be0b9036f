"""Runs that may not decide for others: one that ended early, one in another scale than its method's other seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from reports.scores.align import GridConfig
from reports.scores.findings import Finding, warning
from reports.scores.pooling import Pool, pool_name, pool_of
from reports.scores.score_table import LeftOut, ScoredRun


def without_odd_runs(
    runs: Sequence[ScoredRun], grid: GridConfig
) -> tuple[list[ScoredRun], list[LeftOut], list[Finding]]:
    """The runs that may be pooled, those that may not with the reason, and warnings that name them.

    Judged among the runs of one method on one task, so that no run of one method decides about another's.
    """
    left_out: list[LeftOut] = []
    findings: list[Finding] = []
    for pool, its_runs in _by_pool_and_task(runs).items():
        other = _other_metric(its_runs)
        left_out += other
        rest = _without(its_runs, other)
        mixed = _percent_among_shares(rest)
        left_out += mixed
        early = _ended_early(_without(rest, mixed), grid)
        left_out += early
        for kind, found in (("mixed_metrics", [*other, *mixed]), ("short_runs", early)):
            if found:
                findings.append(_finding(kind, pool[0], found, len(its_runs)))
    return _without(runs, left_out), left_out, list(_joined(findings))


def _by_pool_and_task(runs: Iterable[ScoredRun]) -> dict[tuple[Pool, str], list[ScoredRun]]:
    found: dict[tuple[Pool, str], list[ScoredRun]] = {}
    for run in runs:
        if run.num_points:
            found.setdefault((pool_of(run), run.task_id), []).append(run)
    return found


def _without(runs: Sequence[ScoredRun], left_out: Iterable[LeftOut]) -> list[ScoredRun]:
    ids = {id(one.run) for one in left_out}
    return [run for run in runs if id(run) not in ids]


def _other_metric(runs: Sequence[ScoredRun]) -> list[LeftOut]:
    counts = Counter(run.metric for run in runs)
    main = min(counts, key=lambda metric: (-counts[metric], metric))
    return [
        LeftOut(run, f"is a {run.metric}; its method's other runs of the task are a {main}")
        for run in runs
        if run.metric != main
    ]


def _percent_among_shares(runs: Sequence[ScoredRun]) -> list[LeftOut]:
    """Runs in percent whose siblings are shares, or the other way round: whichever are fewer."""
    tops = {id(run): float(run.scores.max()) for run in runs if run.metric == "success"}
    percent = [run for run in runs if tops.get(id(run), 0) > 1]
    shares = [run for run in runs if 0 < tops.get(id(run), 0) <= 1]
    if not percent or not shares:
        return []
    odd, names = (percent, ("percent", "shares")) if len(percent) <= len(shares) else (shares, ("shares", "percent"))
    return [
        LeftOut(run, f"is in {names[0]}, its method's other runs of the task in {names[1]} (factor 100)") for run in odd
    ]


def _ended_early(runs: Sequence[ScoredRun], grid: GridConfig) -> list[LeftOut]:
    ends = [float(run.env_steps[-1]) for run in runs]
    usual = float(np.median(ends))
    needed = grid.min_length * min(usual, grid.stop if grid.stop is not None else usual)
    return [
        LeftOut(run, f"ends at {end:g} env steps; half of its method's runs of the task reach {usual:g} or more")
        for run, end in zip(runs, ends, strict=True)
        if end < needed
    ]


def _finding(code: str, pool: Pool, found: Sequence[LeftOut], number: int) -> Finding:
    first = found[0]
    names = [one.run.name for one in found]
    task = first.run.task_id
    text = f"{pool_name(pool)}: {len(found)} of {number} runs of {task} were left out: {first.run.name} {first.reason}"
    if code == "short_runs":
        return warning(code, text, "finish them, or keep them with grid: {min_length: 0} in the report's config", names)
    return warning(code, text, "read one score for all with read: {metric: …}, or correct the log", names)


def _joined(findings: Sequence[Finding]) -> Iterable[Finding]:
    """One finding per kind: a sweep that was stopped has hundreds of short runs."""
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(finding.code, []).append(finding)
    for code, same in kinds.items():
        names = [name for finding in same for name in finding.subjects]
        more = f"; and {len(names) - len(same[0].subjects)} more runs" if len(same) > 1 else ""
        yield warning(code, same[0].text + more, same[0].fix, names)
