"""Intervals of few runs are narrower than they say, and the page has the numbers."""

from __future__ import annotations

import json

import interval_coverage

from tests.experiments.runs_of_scripts import ROOT


def test_few_runs_are_covered_less_often_than_many() -> None:
    shares = [interval_coverage.coverage(interval_coverage.SCORES["normal"], runs, 400, 200) for runs in (3, 20)]
    assert 0.6 < shares[0] < 0.85 < shares[1] < 0.98


def test_the_page_has_the_kept_numbers() -> None:
    page = (ROOT / "docs" / "reports" / "statistics.md").read_text()
    kept = json.loads(interval_coverage.RESULT.read_text())["coverage"]
    assert f"| runs | {' | '.join(map(str, interval_coverage.RUNS))} |" in page
    for name, shares in kept.items():
        assert f"| {name} | {' | '.join(f'{100 * share:.0f} %' for share in shares.values())} |" in page
