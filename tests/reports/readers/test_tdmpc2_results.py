"""The published TD-MPC2 results (IPV_BENCH_SCORES: the archive, its folder, or the folder they lie in)."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rliable import library, metrics

from ipv_bench.config import build
from reports.config import ReportConfig
from reports.readers.registry import read_sources
from reports.scores.align import Alignment, GridConfig, align
from reports.scores.checks import check
from reports.scores.normalise import normalise
from reports.scores.score_table import Collection
from reports.statistics.intervals import STATISTICS, interval
from reports.suite_scores import Ends, pooled, suite_scores
from tests.reports.statistics.replayed_draws import ReplayedDraws

METHODS = ("dreamerv3", "sac", "tdmpc", "tdmpc2")
RLIABLE = [
    metrics.aggregate_iqm, metrics.aggregate_median, metrics.aggregate_mean, metrics.aggregate_optimality_gap,
]  # fmt: skip


@pytest.fixture(scope="module")
def collected() -> Collection:
    given = os.environ.get("IPV_BENCH_SCORES", "")
    if not given or not Path(given).exists():
        pytest.skip("IPV_BENCH_SCORES does not name the TD-MPC2 results")
    path = Path(given)
    archives = sorted(path.glob("tdmpc2*.tar*")) if path.is_dir() else []
    return read_sources(archives or [path])


@pytest.fixture(scope="module")
def published(collected: Collection) -> Collection:
    return check(collected)


@pytest.fixture(scope="module")
def aligned(collected: Collection) -> Alignment:
    """Final scores of the DMControl tasks, each method's three runs on the common range of all, short ones as well."""
    runs = normalise(check(collected, grid=build(GridConfig, {"min_length": 0})).runs).runs
    groups = {name: [run for run in runs if run.method == name and run.suite == "dmc"] for name in METHODS}
    return align(groups)


def test_every_file_is_read(published: Collection) -> None:
    assert len(published.runs) + len(published.left_out) == 1284
    assert {run.suite for run in published.runs} == {"dmc", "metaworld", "maniskill", "myosuite"}
    assert len({run.task_id for run in published.runs}) == 104


def test_known_flaws_are_found(published: Collection) -> None:
    codes = {finding.code for finding in published.findings}
    assert {"few_seeds", "unequal_lengths", "out_of_order", "short_runs"} <= codes
    assert 0 < len(published.left_out) < 20


def test_a_run_of_one_point_costs_nobody_a_task(collected: Collection) -> None:
    victim = next(run for run in collected.runs if run.task_id == "dmc/walker_run" and run.method == "sac")
    odd = victim.with_points(victim.env_steps[:1], victim.scores[:1], None)
    runs = [odd if run is victim else run for run in collected.runs if run.suite == "dmc" and run.method in METHODS]
    checked = check(replace(collected, runs=tuple(runs)))
    assert victim.name in [one.run.name for one in checked.left_out]
    groups = {name: [run for run in normalise(checked.runs).runs if run.method == name] for name in METHODS}
    ends = Ends(groups, ReportConfig())
    scores, _ = suite_scores(pooled(groups, list(ends.tasks), 0.25), ends, ReportConfig())
    assert scores is not None
    assert len(scores.tasks) == 39
    assert 0.85 < float(interval(scores.final["tdmpc2"], "iqm", 10, np.random.default_rng(0)).point) < 1


def test_aggregates_equal_rliable_on_the_aligned_matrix(aligned: Alignment) -> None:
    for name, group in aligned.groups.items():
        final = group.final()
        assert final.shape == (3, 39)
        for statistic, theirs in zip(("iqm", "median", "mean", "optimality_gap"), RLIABLE, strict=True):
            np.random.seed(11)
            points, bounds = library.get_interval_estimates(
                {name: final}, lambda scores, theirs=theirs: np.array([theirs(scores)]), reps=300
            )
            ours = interval(final, statistic, 300, ReplayedDraws(11, 3))
            expected = [points[name][0], *bounds[name][:, 0]]
            np.testing.assert_allclose([ours.point, ours.low, ours.high], expected, rtol=0, atol=1e-12)
    assert set(STATISTICS) == {"iqm", "median", "mean", "optimality_gap"}


def test_tdmpc2_is_ahead_as_its_paper_says(aligned: Alignment) -> None:
    found = {
        name: interval(group.final(), "iqm", 2000, np.random.default_rng(0)) for name, group in aligned.groups.items()
    }
    assert max(found, key=lambda name: float(found[name].point)) == "tdmpc2"
    assert found["tdmpc2"].low > found["sac"].high
