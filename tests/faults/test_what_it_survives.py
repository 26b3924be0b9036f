"""docs/faults.md says what the kept results say."""

from __future__ import annotations

import json

from tests.faults.scenarios import SCENARIOS
from tests.faults.what_it_survives import PAGE, RESULTS, page


def test_the_page_is_what_the_kept_results_say() -> None:
    results = json.loads((RESULTS / "crash_points.json").read_text())
    assert not [failure for result in results.values() for failure in result["failures"]]
    assert results.keys() == SCENARIOS.keys()
    assert page() == PAGE.read_text(), "run `python -m tests.faults.what_it_survives`"
