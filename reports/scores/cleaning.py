"""One run's points: steps in order, each once, finite scores; everything that was changed is a finding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from reports.scores.findings import Finding, warning
from reports.scores.score_table import ScoredRun


def clean(run: ScoredRun) -> tuple[ScoredRun, list[Finding]]:
    """The run with usable points only.

    Points with a step or score that is not finite are dropped. Steps out of order are sorted; of several points at
    one step the last written counts, as after a run that was resumed from an earlier checkpoint.
    """
    findings: list[Finding] = []
    finite = np.isfinite(run.env_steps) & np.isfinite(run.scores)
    if not finite.all():
        findings.append(_not_finite(run, ~finite))
        run = _taken(run, np.flatnonzero(finite))
    if (np.diff(run.env_steps) <= 0).any():
        findings.append(_out_of_order(run))
        order = np.argsort(run.env_steps, kind="stable")
        last = np.append(np.diff(run.env_steps[order]) > 0, True)
        run = _taken(run, order[last])
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


def _taken(run: ScoredRun, places: np.ndarray) -> ScoredRun:
    episodes = None if run.episodes is None else run.episodes[places]
    return run.with_points(run.env_steps[places], run.scores[places], episodes)


def _not_finite(run: ScoredRun, wrong: np.ndarray) -> Finding:
    first = float(run.env_steps[np.argmax(wrong)])
    return warning(
        "not_finite",
        f"{run.name}: {int(wrong.sum())} of {run.num_points} evaluations have no finite score (NaN, infinite or null), "
        f"the first at {first:g} env steps; they were dropped",
        "look at the run: training may have diverged there",
        [run.name],
    )


def _out_of_order(run: ScoredRun) -> Finding:
    back = int((np.diff(run.env_steps) < 0).sum())
    doubled = run.num_points - len(np.unique(run.env_steps))
    return warning(
        "out_of_order",
        f"{run.name}: env steps go back {back} times and {doubled} evaluations repeat a step; "
        "they were sorted, and the last one written at each step was used",
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
