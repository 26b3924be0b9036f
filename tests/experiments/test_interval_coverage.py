"""Intervals of few runs are narrower than they say, and the page has the numbers."""

from __future__ import annotations

import interval_coverage

from tests.experiments.runs_of_scripts import ROOT


def test_few_runs_are_covered_less_often_than_many() -> None:
    shares = [interval_coverage.coverage(interval_coverage.SCORES["normal"], runs, 400, 200) for runs in (3, 20)]
    assert 0.6 < shares[0] < 0.85 < shares[1] < 0.98
    page = (ROOT / "docs" / "reports" / "statistics.md").read_text()
    assert f"| runs | {' | '.join(map(str, interval_coverage.RUNS))} |" in page
