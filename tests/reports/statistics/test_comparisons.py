"""Differences from a baseline, and ranks."""

from __future__ import annotations

import numpy as np
import pytest

from reports.statistics.comparisons import difference, ranks
from reports.statistics.intervals import interval


def scores(level: float, seed: int, runs: int = 8, tasks: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(level, 0.1, (runs, tasks))


@pytest.mark.parametrize("statistic", ["iqm", "mean"])
def test_a_difference_is_that_of_the_points_with_independent_draws(statistic: str) -> None:
    ours, theirs = scores(0.7, 1), scores(0.5, 2, runs=6)
    found = difference(ours, theirs, statistic, 4000, np.random.default_rng(0))
    one, other = (interval(part, statistic, 4000, np.random.default_rng(0)) for part in (ours, theirs))
    assert found.point == pytest.approx(one.point - other.point, abs=1e-12)
    # Independent draws: the squares of the widths add up, nearly.
    assert found.width == pytest.approx(np.hypot(one.width, other.width), rel=0.1)
    same = difference(ours, ours, statistic, 4000, np.random.default_rng(0))
    assert same.point == 0
    assert same.low < -0.01 < 0.01 < same.high


def test_ranks_and_the_share_of_draws_in_which_a_method_is_first() -> None:
    found = ranks(
        {"low": scores(0.2, 1), "b": scores(0.7, 2), "a": scores(0.7, 2)}, "iqm", 2000, np.random.default_rng(0)
    )
    assert list(found) == ["a", "b", "low"]
    assert [one.rank for one in found.values()] == [1.5, 1.5, 3.0]  # equal scores share their places
    assert found["low"].low == found["low"].high == 3.0
    assert found["a"].share_first == pytest.approx(0.5, abs=0.05)
    assert sum(one.share_first for one in found.values()) == pytest.approx(1.0)
    gaps = ranks({"low": scores(0.2, 1), "high": scores(0.7, 2)}, "optimality_gap", 200, np.random.default_rng(0))
    assert list(gaps) == ["high", "low"]
