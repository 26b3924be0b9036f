"""Several logs of one run: parts of a resumed run in folders of their own, and mirrors of it in several formats."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import PurePath

import numpy as np

from reports.readers.path_layouts import NEUTRAL, TIME
from reports.scores.findings import Finding, note
from reports.scores.score_table import ScoredRun

_RANK = {"evaluation": 0, "unknown": 1, "training_mean": 2, "training_episode": 3}
"""Of one run's logs, the one to use: evaluations before what training happened to give."""
_FILE = re.compile(r"\.(csv|tsv|txt|npz|json|jsonl|gz)$", re.IGNORECASE)
_VERSION = re.compile(r"version_(\d+)")


def one_log_per_run(runs: Iterable[ScoredRun]) -> tuple[list[ScoredRun], list[Finding]]:
    """Each run once, where several of its logs were read; runs from different folders are left to the other checks.

    A run that was resumed as `version_1`, `version_2`, or below another date, is put together in that order, and what
    its restart made obsolete is dropped when the points are cleaned. Of logs of one folder (or its `train/`, `eval/`),
    the one with evaluations is used.
    """
    same: dict[tuple[str, ...], list[ScoredRun]] = {}
    for run in runs:
        same.setdefault((run.suite, run.task, run.label, run.seed, _home(run.source)), []).append(run)
    kept: list[ScoredRun] = []
    findings: list[Finding] = []
    for logs in same.values():
        best = [run for run in logs if _RANK[run.origin] == min(_RANK[one.origin] for one in logs)]
        parts = [run for run in best if run.format == best[0].format]
        others = [run for run in logs if run not in parts]
        whole = _put_together(parts) if len(parts) > 1 else parts
        if len(parts) > 1 and len(whole) == 1:
            findings.append(_parts(whole[0], parts))
        kept += whole
        if others:
            findings.append(_mirrors(parts[0], others))
    return kept, findings


def _home(source: str) -> str:
    """The folder that is one run's whoever logged in it: without the file, the tool's folders, versions and dates."""
    parts = list(PurePath(source).parts)
    if parts and (_FILE.search(parts[-1]) or "tfevents" in parts[-1]):
        parts.pop()
    while parts and (NEUTRAL.fullmatch(parts[-1]) or TIME.fullmatch(parts[-1])):
        parts.pop()
    return "/".join(part for part in parts if not TIME.fullmatch(part))


def _put_together(parts: Sequence[ScoredRun]) -> list[ScoredRun]:
    """One run of parts that continue one another; the parts as they are, when two of them begin alike."""
    with_points = [part for part in parts if part.num_points]
    ordered = sorted(with_points, key=lambda run: (_order(run.source), run.env_steps[0]))
    for earlier, later in pairwise(ordered):
        begin = np.sort(earlier.env_steps)[min(1, earlier.num_points - 1)]
        if later.env_steps[0] < begin:
            return list(parts)
    if len(ordered) < 2:
        return ordered or list(parts)
    episodes = [part.episodes for part in ordered]
    known = [one for one in episodes if one is not None]
    return [
        replace(
            ordered[0],
            env_steps=np.concatenate([part.env_steps for part in ordered]),
            scores=np.concatenate([part.scores for part in ordered]),
            episodes=np.concatenate(known) if len(known) == len(episodes) else None,
        )
    ]


def _order(source: str) -> tuple[tuple[int, str], ...]:
    """Versions by number, dates and the rest as text."""
    found = []
    for part in PurePath(source).parts:
        version = _VERSION.fullmatch(part)
        found.append((int(version.group(1)), "") if version else (-1, part))
    return tuple(found)


def _parts(run: ScoredRun, parts: Sequence[ScoredRun]) -> Finding:
    sources = [part.source for part in parts]
    return note(
        "joined_logs",
        f"{run.name}: {len(parts)} logs continue one another and were put together: {', '.join(sources[:5])}",
        subjects=sources,
    )


def _mirrors(run: ScoredRun, others: Sequence[ScoredRun]) -> Finding:
    sources = [other.source for other in others]
    return note(
        "mirrors",
        f"{run.name}: {run.source} ({_words(run)}) was used, and not {', '.join(sources[:5])} "
        f"({', '.join(dict.fromkeys(map(_words, others)))})",
        subjects=sources,
    )


def _words(run: ScoredRun) -> str:
    return run.origin.replace("_", " ") if run.origin != "unknown" else run.format
