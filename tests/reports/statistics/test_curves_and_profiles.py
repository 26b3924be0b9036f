"""Profiles, probability of improvement, area under the curve, steps to reach a score."""

from __future__ import annotations

import numpy as np
import pytest
from rliable import library, metrics

from ipv_bench.errors import InputError
from reports.statistics.curves import area_under_curve, reach, steps_to_reach
from reports.statistics.profiles import performance_profile, probability_of_improvement
from tests.reports.statistics.replayed_draws import ReplayedDraws


def generator() -> np.random.Generator:
    return np.random.default_rng(5)


def test_profile_equals_rliable_with_equal_draws() -> None:
    scores = np.random.default_rng(0).random((6, 4))
    thresholds = np.linspace(0, 1, 11)
    np.random.seed(3)
    profiles, bounds = library.create_performance_profile({"x": scores}, thresholds, reps=200)
    ours = performance_profile(scores, thresholds, 200, ReplayedDraws(3, 6))
    np.testing.assert_allclose(ours.point, profiles["x"], rtol=0, atol=1e-12)
    np.testing.assert_allclose([ours.low, ours.high], bounds["x"], rtol=0, atol=1e-12)


def test_profile_with_unequal_runs_weighs_tasks_equally() -> None:
    scores = np.array([[0.9, 0.1], [0.9, np.nan], [0.9, np.nan]])
    assert performance_profile(scores, np.array([0.5]), 10, generator()).point[0] == pytest.approx(0.5)


def test_probability_of_improvement_equals_rliable() -> None:
    source = np.random.default_rng(1)
    scores, others = source.random((7, 5)), source.random((4, 5)).round(1)
    scores[:, 0] = scores[:, 0].round(1)  # ties
    found = probability_of_improvement(scores, others, 500, generator())
    assert found.point == pytest.approx(metrics.probability_of_improvement(scores, others), abs=1e-12)
    assert 0 <= found.low < found.point < found.high <= 1
    np.random.seed(0)
    _, bounds = library.get_interval_estimates(
        {"x": (scores, others)}, lambda x, y: np.array([metrics.probability_of_improvement(x, y)]), reps=500
    )
    np.testing.assert_allclose([found.low, found.high], bounds["x"][:, 0], atol=0.05)  # other draws


def test_probability_of_improvement_of_known_cases() -> None:
    better = np.array([[2.0, 2.0], [3.0, np.nan]])
    assert probability_of_improvement(better, better - 5, 20, generator()).low == 1.0
    assert probability_of_improvement(better, better, 20, generator()).point == pytest.approx(0.5)
    there = probability_of_improvement(better, better + 0.5, 50, generator()).point
    back = probability_of_improvement(better + 0.5, better, 50, generator()).point
    assert there + back == pytest.approx(1.0)
    with pytest.raises(InputError, match="shape.*\n.*equal tasks\n.*the tasks that both have"):
        probability_of_improvement(better, better[:, :1], 20, generator())


def test_area_of_a_straight_line_is_its_middle() -> None:
    steps = np.array([0.0, 10.0, 40.0])
    scores = np.stack([steps / 40, np.full(3, 0.3)])[:, None, :]  # (2, 1, 3)
    np.testing.assert_allclose(area_under_curve(scores, steps)[:, 0], [0.5, 0.3])
    assert area_under_curve(scores[:, :, :1], steps[:1])[1, 0] == 0.3
    with pytest.raises(InputError, match="shape.*\n.*num_steps.*\n.*align the runs"):
        area_under_curve(scores, steps[:2])


def test_steps_to_reach_counts_never_as_infinite() -> None:
    steps = np.array([10.0, 20.0, 30.0])
    scores = np.array([[[0.1, 0.6, 0.2]], [[0.9, 0.9, 0.9]], [[0.1, 0.1, 0.4]], [[np.nan] * 3]])
    assert steps_to_reach(scores, steps, 0.5)[:3, 0].tolist() == [20.0, 10.0, np.inf]
    assert np.isnan(steps_to_reach(scores, steps, 0.5)[3, 0])
    found = reach(scores, steps, 0.5, 200, generator())
    assert found.share.point == pytest.approx(2 / 3)
    assert np.isinf(found.env_steps.point)
    assert found.env_steps.label == "mean (n=3)"
    easy = reach(scores, steps, 0.1, 200, generator())
    assert easy.share.point == 1.0
    assert easy.env_steps.point == 10.0
