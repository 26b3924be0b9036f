"""Intervals of few runs are narrower than they say, and the page has the numbers."""

from __future__ import annotations

import json

import interval_coverage

from tests.experiments.runs_of_scripts import ROOT


def test_few_runs_are_covered_less_often_than_many() -> None:
    shares = [interval_coverage.coverage(interval_coverage.SCORES["normal"], runs, 400, 200) for runs in (3, 20)]
    assert 0.6 < shares[0] < 0.85 < shares[1] < 0.98


def test_of_methods_without_a_difference_few_intervals_see_one() -> None:
    assert 0.01 < interval_coverage.differences(8, 5, 400, 200) < 0.13


def test_the_page_has_the_kept_numbers() -> None:
    page = (ROOT / "docs" / "reports" / "statistics.md").read_text()
    whole = json.loads(interval_coverage.RESULT.read_text())
    kept = whole["coverage"]
    pairs = [f"{ours} and {theirs}" for ours, theirs in interval_coverage.PAIRS]
    chance = {pair: whole["improvement_by_chance"][pair] for pair in pairs}
    assert f"| runs of each task, of the one and the other | {' | '.join(chance)} |" in page
    assert (
        f"| a difference where there is none | {' | '.join(f'{100 * share:.1f} %' for share in chance.values())} |"
        in page
    )
    assert f"| runs | {' | '.join(map(str, interval_coverage.RUNS))} |" in page
    for name, shares in kept.items():
        assert f"| {name} | {' | '.join(f'{100 * share:.0f} %' for share in shares.values())} |" in page
