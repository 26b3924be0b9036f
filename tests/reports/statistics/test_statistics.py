"""Statistics and intervals against rliable, and identities."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
from rliable import library, metrics

from ipv_bench.errors import InputError, UnknownNameError
from reports.statistics import resampling
from reports.statistics.intervals import STATISTICS, interval, intervals
from reports.statistics.resampling import blocks, draw_runs, run_weights
from tests.reports.statistics.replayed_draws import ReplayedDraws

RLIABLE = {
    "iqm": metrics.aggregate_iqm,
    "mean": metrics.aggregate_mean,
    "median": metrics.aggregate_median,
    "optimality_gap": metrics.aggregate_optimality_gap,
}


def scores_of(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.5, 0.4, shape)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("shape", [(3, 5), (8, 6), (5, 1), (10, 7)])
def test_interval_equals_rliable_with_equal_draws(statistic: str, shape: tuple[int, int]) -> None:
    scores = scores_of(*shape)
    np.random.seed(7)
    points, bounds = library.get_interval_estimates(
        {"x": scores}, lambda x: np.array([RLIABLE[statistic](x)]), reps=200
    )
    ours = interval(scores, statistic, 200, ReplayedDraws(7, shape[0]))
    assert abs(ours.point - points["x"][0]) < 1e-12
    assert abs(ours.low - bounds["x"][0, 0]) < 1e-12
    assert abs(ours.high - bounds["x"][1, 0]) < 1e-12


@pytest.mark.parametrize("statistic", STATISTICS)
def test_curve_point_equals_rliable_at_each_step(statistic: str) -> None:
    scores = scores_of(8, 6, 11)
    expected = [RLIABLE[statistic](scores[:, :, step]) for step in range(11)]
    np.testing.assert_allclose(interval(scores, statistic, 10, generator()).point, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_steps_of_a_curve_share_their_draws(statistic: str) -> None:
    scores = scores_of(6, 4)
    curve = np.stack([scores, 0.5 * scores, scores], axis=2)
    found = interval(curve, statistic, 300, generator(3))
    alone = interval(scores, statistic, 300, generator(3))
    np.testing.assert_allclose([found.low[0], found.high[2]], [alone.low, alone.high], atol=1e-12)


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("resample_tasks", [False, True])
def test_draws_are_runs_within_tasks(statistic: str, resample_tasks: bool) -> None:
    scores = scores_of(5, 4)
    weights = run_weights(scores)
    drawn = []
    for _, draws in blocks(weights, 50, generator(2), resample_tasks=resample_tasks):
        tasks = np.broadcast_to(draws.tasks, (len(draws.runs), 4))
        drawn += [RLIABLE[statistic](scores[runs, task]) for runs, task in zip(draws.runs, tasks, strict=True)]
    found = interval(scores, statistic, 50, generator(2), resample_tasks=resample_tasks)
    np.testing.assert_allclose([found.low, found.high], np.percentile(drawn, [2.5, 97.5]), atol=1e-12)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_unequal_seeds_weigh_as_repeated_runs(statistic: str) -> None:
    scores = scores_of(8, 3)
    scores[4:, 1] = np.nan
    scores[0, 2] = scores[5, 2] = scores[2, 2] = np.nan  # absent runs need not stand at the end
    scores[7, 2] = np.nan
    columns = [column[~np.isnan(column)] for column in scores.T]
    repeated = np.stack([np.repeat(column, 8 // len(column)) for column in columns], axis=1)
    found = interval(scores, statistic, 100, generator())
    assert abs(found.point - RLIABLE[statistic](repeated)) < 1e-12
    assert found.num_runs == (4, 8)
    assert found.low <= found.point <= found.high


def test_unequal_seeds_keep_the_weight_of_tasks() -> None:
    scores = np.full((9, 2), np.nan)
    scores[:, 0] = 0.0
    scores[:1, 1] = 1.0
    assert interval(scores, "mean", 10, generator()).point == pytest.approx(0.5)
    drawn = draw_runs(run_weights(scores), 100, generator(), False).multiplicities(run_weights(scores))
    assert set(drawn.sum(axis=0)) == {18}
    assert set(drawn[1]) <= set(range(10))


def test_block_size_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = scores_of(5, 3, 4)
    whole = interval(scores, "iqm", 2500, generator(4))
    monkeypatch.setattr(resampling, "_BLOCK_CELLS", 100)  # three blocks in place of one
    parts = interval(scores, "iqm", 2500, generator(4))
    assert np.array_equal(whole.low, parts.low)
    assert np.array_equal(whole.high, parts.high)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_same_seed_same_numbers_and_other_seed_others(statistic: str) -> None:
    scores = scores_of(6, 5)
    first, second, other = (interval(scores, statistic, 200, generator(seed)) for seed in (1, 1, 2))
    assert (first.low, first.high) == (second.low, second.high)
    assert (first.low, first.high) != (other.low, other.high)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for trial in range(300):
        found = interval(scores_of(20, 4, seed=trial), "mean", 400, generator(trial))
        covered += found.low <= 0.5 <= found.high
    assert 0.88 <= covered / 300 <= 0.98


def test_label_says_where_trimming_cuts_nothing() -> None:
    assert interval(scores_of(3, 1), "iqm", 10, generator()).label == "mean (n=3)"
    assert interval(scores_of(4, 1), "iqm", 10, generator()).label == "IQM"
    assert interval(scores_of(3, 1), "iqm", 10, generator()).point == pytest.approx(scores_of(3, 1).mean())


def test_one_run_has_no_width() -> None:
    found = interval(scores_of(1, 1), "iqm", 100, generator())
    assert found.width == 0
    assert found.point == pytest.approx(found.low)


def test_infinite_scores_are_trimmed_or_stay_infinite() -> None:
    few = np.array([[1.0], [2.0], [3.0], [np.inf]])
    assert interval(few, "iqm", 50, generator(), allow_infinite=True).point == pytest.approx(2.5)
    many = np.array([[1.0], [np.inf], [np.inf], [np.inf]])
    found = interval(many, "iqm", 50, generator(), allow_infinite=True)
    assert np.isinf(found.point)
    assert np.isinf(found.high)
    assert not np.isnan(found.low)
    assert np.isinf(interval(np.full((3, 2), np.inf), "iqm", 5, generator(), allow_infinite=True).low)


def test_wide_weights_do_not_overflow() -> None:
    scores = np.full((13, 6), np.nan)
    for task, runs in enumerate((13, 11, 7, 9, 8, 5)):
        scores[:runs, task] = scores_of(runs, 1, seed=task)[:, 0]
    found = interval(scores, "iqm", 20, generator())
    weights = run_weights(scores)
    assert weights.total == 6 * 360360
    pooled = np.repeat(scores[weights.present], np.broadcast_to(weights.repeats, scores.shape)[weights.present])
    assert found.point == pytest.approx(scipy.stats.trim_mean(pooled, 0.25), abs=1e-9)


@pytest.mark.parametrize("unequal", [False, True])
def test_several_statistics_of_one_making_of_draws_are_as_alone(unequal: bool) -> None:
    scores = scores_of(6, 5)
    scores[4:, 2] = np.nan if unequal else scores[4:, 2]
    together = intervals(scores, STATISTICS, 3000, generator(5))
    for statistic, found in together.items():
        alone = interval(scores, statistic, 3000, generator(5))
        assert (found.point, found.low, found.high) == (alone.point, alone.low, alone.high)
        assert found.label == alone.label


@pytest.mark.parametrize("counts", [range(1, 65), (5, 7, 11, 13, 17, 19, 23, 29, 31)])
def test_many_different_numbers_of_runs_are_weighed_exactly(counts: Iterable[int]) -> None:
    """The least common multiple of 1 … 64 has 27 digits; the expected IQM is computed in exact fractions."""
    numbers = list(counts)
    scores = np.full((max(numbers), len(numbers)), np.nan)
    for task, runs in enumerate(numbers):
        scores[:runs, task] = scores_of(runs, 1, seed=task)[:, 0]
    found = interval(scores, "iqm", 50, generator())
    multiple = math.lcm(*numbers)
    ranked = sorted((scores[run, task], multiple // numbers[task]) for run, task in np.argwhere(~np.isnan(scores)))
    cut = multiple * len(numbers) // 4
    total, reached = Fraction(0), 0
    for score, repeats in ranked:
        before, reached = reached, reached + repeats
        kept = min(reached, multiple * len(numbers) - cut) - max(before, cut)
        total += Fraction(float(score)) * max(0, kept)
    assert found.point == pytest.approx(float(total / (multiple * len(numbers) - 2 * cut)), abs=1e-12)
    assert found.low < found.point < found.high
    mean = interval(scores, "mean", 50, generator())
    assert mean.point == pytest.approx(np.nanmean(scores, axis=0).mean(), abs=1e-12)
    median = interval(scores, "median", 50, generator())
    assert median.point == pytest.approx(np.median(np.nanmean(scores, axis=0)), abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "text"),
    [
        (np.zeros(3), "shape"),
        (np.zeros((0, 3)), "shape"),
        (np.array([[0.0, np.inf]]), "infinite"),
        (np.array([[0.0, np.nan]]), "no runs"),
        (np.array([[[0.0, np.nan]]]), "NaN at some steps"),
    ],
)
def test_wrong_scores_are_refused(scores: np.ndarray, text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        interval(scores, "iqm", 10, generator())
    assert caught.value.expected
    assert caught.value.fix


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="iqn"):
        interval(scores_of(3, 2), "iqn", 10, generator())
    with pytest.raises(InputError, match="resamples is 0\n.*at least 1\n.*50,000 are usual"):
        interval(scores_of(3, 2), "iqm", 0, generator())
    with pytest.raises(InputError, match='∞\n.*the IQM.*\n.*"iqm" alone'):
        interval(np.array([[1.0], [np.inf]]), "mean", 10, generator(), allow_infinite=True)
