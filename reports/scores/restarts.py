"""Resumed runs: what a run logged behind the checkpoint that it went on from is no part of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.scores.findings import Finding, warning

_JITTER = 0.002
"""Steps that go back by less than this share of a log's range, again and again, are workers that log out of turn."""


@dataclass(frozen=True)
class Restarts:
    """What a log's steps say about restarts.

    Attributes:
        keep: (T,) whether an entry belongs to the run.
        places: entries at which the steps go back.
        first: the lowest step that the run went back to; NaN without a restart.
    """

    keep: np.ndarray
    places: np.ndarray
    first: float


def find_restarts(steps: np.ndarray) -> Restarts:
    """Entries that a restart made obsolete: those at or after the step that the log goes back to.

    Args:
        steps: (T,) in the order in which they were written; finite.
    """
    back = np.flatnonzero(np.diff(steps) < 0) + 1
    keep = np.ones(len(steps), dtype=bool)
    if not len(back) or _is_jitter(steps, back):
        return Restarts(keep, np.zeros(0, dtype=np.int64), float("nan"))
    lowest = np.full(len(steps) + 1, np.inf)  # of all restarts behind an entry
    lowest[back] = steps[back]
    lowest = np.minimum.accumulate(lowest[::-1])[::-1]
    return Restarts(steps < lowest[1:], back, float(steps[back].min()))


def _is_jitter(steps: np.ndarray, back: np.ndarray) -> bool:
    return len(back) > 3 and float(np.median(steps[back - 1] - steps[back])) < _JITTER * float(np.ptp(steps))


def restarted(name: str, restarts: Restarts, dropped: int, source: str) -> Finding:
    """The finding about a run that was resumed.

    Args:
        name: of the run.
        restarts: with at least one place.
        dropped: number of scores that were dropped.
        source: the log.
    """
    times = f"{len(restarts.places)} times" if len(restarts.places) > 1 else "once"
    return warning(
        "restarted",
        f"{name} was resumed {times} (its steps go back, first to {restarts.first:g}): {dropped} scores "
        f"logged before it, at or after the step that it went on from, were dropped ({source})",
        "nothing, if the run was resumed; if two runs were written into one log, give them different seeds",
        [name],
    )
