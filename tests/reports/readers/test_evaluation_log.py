"""`evaluations.jsonl` as `finetune` writes it: successes are true and false, and a task may have none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from reports.readers.evaluation_log import read_evaluations


def test_successes_are_counted_as_they_are_written(tmp_path: Path) -> None:
    log = tmp_path / "evaluations.jsonl"
    lines = [
        {"env_steps": 4000, "returns": [3.0, 5.0], "successes": [False, False]},
        {"env_steps": 8000, "returns": [7.0, True], "successes": [True, False]},
        {"env_steps": 9000, "returns": [7.0, 8.0], "successes": [1.0, None]},
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = read_evaluations(log, "successes", else_returns=True)
    assert found.values == "successes"
    np.testing.assert_array_equal(found.scores, [0.0, 0.5, np.nan])
    np.testing.assert_array_equal(read_evaluations(log, "returns").scores, [4.0, np.nan, 7.5])
