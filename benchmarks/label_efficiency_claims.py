"""Which differences between label_efficiency.py's learners may be claimed.

Each learner is held against `scratch`, N by N, by the differences of runs of one seed (the same labelled videos, the
same order of segments). A difference is claimed where all seeds of the protocol are there and Student's interval of its
mean leaves out 0; the intervals of a measure hold together (Bonferroni), so that methods that are equal give a claim in
5 % of experiments at most, and not in 5 % of sixteen comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from label_efficiency_protocol import HIGHER_IS_BETTER, LEARNERS, WHOLE
from scipy.stats import t as student

BASELINE = "scratch"
ENOUGH_RUNS = 5
"""Pairs of runs below which nothing is claimed, however few seeds a protocol has."""
MISTAKES = 0.05
"""Share of experiments of equal methods in which a measure may give a claim."""


class Run(NamedTuple):
    """A kept run: whose, N, seed, and its result."""

    learner: str
    labels: int
    seed: int
    result: dict[str, Any]


class Comparison(NamedTuple):
    """A learner against `scratch`.

    Attributes:
        measure, learner, labels: of what.
        pairs: seeds of the protocol that both have.
        needed: so many pairs, or nothing is claimed.
        difference: mean of the learner's measure minus that of `scratch`.
        low, high: its interval; None with fewer than two pairs, or where a run's measure is not finite.
        claim: better, worse or nothing.
    """

    measure: str
    learner: str
    labels: int
    pairs: int
    needed: int
    difference: float
    low: float | None
    high: float | None
    claim: str


def compare(
    runs: Sequence[Run], measures: Sequence[str], labels: Sequence[int], seeds: Sequence[int] = WHOLE.seeds
) -> list[Comparison]:
    """Every learner against `scratch`, for each measure and N that both have runs of.

    Args:
        runs: kept ones; those of other N or seeds than the protocol's are left out.
        measures: to compare by.
        labels: N of the protocol; with the learners they say how many comparisons a measure has.
        seeds: of the protocol; a claim needs all of them.
    """
    family = max(1, len(labels) * (len(LEARNERS) - 1))
    runs = [run for run in runs if run.labels in labels and run.seed in seeds]
    needed, found = max(len(set(seeds)), ENOUGH_RUNS), []
    for measure in measures:
        for count in sorted({run.labels for run in runs}):
            values = {
                name: {run.seed: run.result[measure] for run in runs if (run.learner, run.labels) == (name, count)}
                for name in LEARNERS
            }
            for name in LEARNERS:
                pairs = sorted(values[name].keys() & values[BASELINE].keys())
                if name != BASELINE and pairs:
                    differences = [values[name][seed] - values[BASELINE][seed] for seed in pairs]
                    judged = _judged(differences, measure, family, needed)
                    found.append(Comparison(measure, name, count, len(pairs), needed, *judged))
    return found


def _judged(
    differences: list[float], measure: str, family: int, needed: int
) -> tuple[float, float | None, float | None, str]:
    """Mean, interval, claim."""
    count, mean = len(differences), float(np.mean(differences))
    if count < 2 or not np.isfinite(differences).all():
        return mean, None, None, ""
    quantile = student.ppf(1 - MISTAKES / family / 2, count - 1)
    half = float(quantile * np.std(differences, ddof=1) / np.sqrt(count))
    low, high = mean - half, mean + half
    if count < needed or low <= 0 <= high:
        return mean, low, high, ""
    return mean, low, high, "better" if (mean > 0) == HIGHER_IS_BETTER[measure] else "worse"


def sentence(found: Comparison) -> str:
    """The comparison in a line."""
    said = f"{found.learner} - {BASELINE}, N={found.labels}, {found.measure}: {found.difference:+.4g}"
    if found.low is not None and found.high is not None:
        said += f" [{found.low:+.4g}, {found.high:+.4g}]"
    if found.claim:
        return f"{said}: {found.claim}"
    if found.pairs < found.needed:
        return f"{said}: {found.pairs} of {found.needed} pairs of runs, nothing is claimed"
    if found.low is None:
        return f"{said}: a run's measure is not finite, nothing is claimed"
    return f"{said}: no difference is shown"
