"""Verdicts on latent actions in a report: from a run's last validation, with the number that decides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ipv_bench.cli import run
from tests.reports.synthetic_runs import write_pretraining


def validation(updates: int, verdict: object, decided_by: object, shuffle_ratio: float) -> dict[str, object]:
    names = {
        "verdict": verdict, "decided_by": decided_by, "shuffle_ratio": shuffle_ratio, "copy_ratio": 0.9,
        "perplexity": [31.25, 4.0], "open_loop_error": [0.5, 0.75, 1.5], "copy_ratio_by_step": [0.9, 0.8, 0.7],
    }  # fmt: skip
    return {"updates": updates, **{f"latent_action_{name}": value for name, value in names.items()}}


def test_the_last_verdict_of_each_run_stands_on_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_pretraining(tmp_path / "runs", "prelar")
    write_pretraining(tmp_path / "runs", "contextwm")  # has no latent actions, and no row
    with (folder / "metrics.jsonl").open("a") as log:
        for line in (
            validation(20, "ignored", "shuffle ratio 1.04 < 1.3", 1.04),
            validation(400, "usable", "shuffle ratio 1.48 ≥ 1.3", 1.48),
            validation(420, ["not a verdict"], None, 9.0),
        ):
            log.write(json.dumps(line) + "\n")
    assert run(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "latent actions usable (shuffle ratio 1.48 ≥ 1.3)" in printed
    table = (tmp_path / "out" / "tables" / "latent_actions.md").read_text()
    rows = [line for line in table.splitlines() if "prelar" in line]
    assert len(rows) == 1
    assert "| 400 | usable | shuffle ratio 1.48 ≥ 1.3 |" in rows[0]
    assert rows[0].endswith("| 31.2, 4 | 0.5 to 1.5 (3 steps) | 0.700 |")
    assert "perplexity of each code | open-loop error | copy ratio, last step" in table
    assert "contextwm" not in table
    page = (tmp_path / "out" / "report.html").read_text()
    assert "latent actions usable (shuffle ratio 1.48 ≥ 1.3)" in page
    assert "ignored: the model does as well with another video" in page  # what the words mean
