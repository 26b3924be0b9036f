"""Scores that are training episodes are averaged, said and warned about; published rules by name."""

from __future__ import annotations

import numpy as np
import pytest

from ipv_bench.config import build
from ipv_bench.errors import ConfigError
from reports.config import ReportConfig
from reports.scores.align import GridConfig, align, read_off
from reports.scores.checks import check
from reports.scores.ends import final_scores
from reports.scores.score_table import Collection, ScoredRun
from reports.suite_scores import Ends
from tests.reports.scored_runs import scored_run


def episodes(method: str = "sac", seed: int = 0, last: int = 1000, **changes: object) -> ScoredRun:
    """A run with an episode at each of 1, 2, ..., last; its scores are 0 and 2 in turns, and 100 at the end."""
    scores = [float(2 * (step % 2)) for step in range(1, last)] + [100.0]
    return scored_run(method, "dmc/a", seed, range(1, last + 1), scores, origin="training_episode", **changes)


def test_final_scores_are_means_and_the_curve_ends_with_them() -> None:
    run = episodes()
    (final,) = final_scores([run], 1000, fill="auto")
    assert final.number == 50  # the last 5 % of 1000 env steps
    assert final.score == pytest.approx((25 * 2 - 0 + 100 - 0) / 50, abs=0.05)
    aligned = align({"sac": [run]}, GridConfig())
    assert aligned.groups["sac"].scores[0, 0, -1] == pytest.approx(final.score, rel=1e-12)
    (single,) = final_scores([run], 1000, fill="previous")
    assert (single.score, single.number) == (100.0, 1)


def test_a_thinned_curve_averages_everything_between_its_points() -> None:
    run = scored_run(task="dmc/a", steps=range(1, 1001), scores=np.arange(1000) % 2, origin="training_episode")
    aligned = align({"a": [run]}, GridConfig(max_points=11)).groups["a"]
    assert aligned.scores[0, 0, 1:] == pytest.approx(0.5, abs=0.01)
    assert set(np.unique(read_off(run, aligned.env_steps, "previous"))) <= {0.0, 1.0}


def test_means_where_nothing_was_logged_are_the_last_score() -> None:
    run = scored_run(task="dmc/a", steps=[0, 1, 2, 100], scores=[4, 6, 8, 0], origin="training_episode")
    assert read_off(run, np.array([0.0, 2, 50, 100]), "auto").tolist() == [4, 6, 8, 0]


def test_evaluations_stay_as_they_are() -> None:
    run = scored_run(task="dmc/a", steps=range(1, 1001), origin="evaluation")
    assert read_off(run, np.array([1000.0]), "auto").tolist() == [1000]


def test_the_warnings() -> None:
    runs = [episodes(seed=seed, last=100 + seed) for seed in range(5)]
    runs += [scored_run("ppo", "dmc/a", seed, range(1, 101), origin="evaluation") for seed in range(5)]
    findings = {finding.code: finding for finding in check(Collection(tuple(runs))).findings}
    assert "means over the last 5 % of env steps" in findings["training_episodes"].text
    assert len(findings["training_episodes"].subjects) == 5
    assert "ppo on dmc: evaluations; sac on dmc: single training episodes" in findings["mixed_origins"].text


def test_published_rules_by_name() -> None:
    config = build(ReportConfig, {"protocol": "atari100k"})
    assert config.grid.stop == 400_000
    runs = [scored_run(task="atari/pong", steps=[200_000, 400_000, 800_000], scores=[1, 2, 3], origin="evaluation")]
    (final,) = Ends({"a": runs}, config).scores(runs, "atari/pong", "a")
    assert (final.score, final.read_at) == (2, 400_000)
    config = build(ReportConfig, {"protocol": "atari200m", "grid": {"stop": 1000}})
    (final,) = Ends({"sac": [episodes()]}, config).scores([episodes()], "dmc/a", "sac")
    assert (final.number, final.first, final.score) == (100, 901, pytest.approx((50 * 2 + 100) / 100, abs=0.03))
    with pytest.raises(ConfigError, match="protocol"):
        build(ReportConfig, {"protocol": "atari1k"})


def test_the_last_episode_ends_before_the_budget() -> None:
    runs = [episodes(last=980)]
    assert not align({"sac": runs}, GridConfig(stop=1000)).dropped
