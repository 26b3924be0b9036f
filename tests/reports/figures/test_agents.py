"""The value gap on the page: a figure where it was logged, and the run's own warnings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ipv_bench.cli import run
from ipv_bench.run_record import read_record, write_record
from reports.figures.agents import MAX_POINTS, _values, value_gap_figure
from reports.readers.registry import read_sources
from tests.reports.synthetic_runs import write_finetuning


def with_gaps(folder: Path, count: int) -> None:
    lines = [{"env_steps": 1000 * n, "updates": n, "image_loss": 5.0} for n in range(count)]
    lines += [{"env_steps": 1000 * n, "value_gap": n / count, "episode_image_loss": 9.0} for n in range(count)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_lines_are_drawn_where_a_run_logged_them(tmp_path: Path) -> None:
    write_finetuning(tmp_path, "dmc/cheetah_run", "apv", 0)
    assert value_gap_figure(read_sources([tmp_path]).runs, 500.0) is None
    with_gaps(write_finetuning(tmp_path, "dmc/cheetah_run", "contextwm", 0), 200)
    drawn = value_gap_figure(read_sources([tmp_path]).runs, 500.0)
    assert drawn is not None
    assert drawn.name == "value_gap"


def test_long_logs_are_averaged_and_numbers_that_are_none_left_out() -> None:
    lines = [{"env_steps": n, "value_gap": float(n)} for n in range(10 * MAX_POINTS)]
    lines += [{"env_steps": 1, "value_gap": None}, {"env_steps": 2, "value_gap": float("nan")}]
    steps, values = _values(lines, "value_gap")
    assert len(steps) == MAX_POINTS
    np.testing.assert_allclose(values, np.arange(MAX_POINTS) * 10 + 4.5)
    assert _values(lines, "absent") is None


def test_a_runs_warnings_stand_on_the_page(tmp_path: Path) -> None:
    folder = write_finetuning(tmp_path / "runs", "dmc/cheetah_run", "contextwm", 0)
    with_gaps(folder, 20)
    write_record(folder, read_record(folder).model_copy(update={"warnings": ["the policy exploits its model"]}))
    assert (
        run(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "report"), "--resamples", "200", "--quiet"]) == 0
    )
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Imagination against episodes" in page
    assert "the policy exploits its model" in page
