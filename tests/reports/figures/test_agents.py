"""The value gap on the page: a figure where it was logged, and the run's own warnings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ipv_bench.cli import run
from ipv_bench.run_record import read_record, write_record
from reports.figures.agents import MAX_POINTS, _values, value_gap_figure
from reports.figures.drawn import PlannedFigure
from reports.figures.panels import PanelPlot
from reports.grouping import Grouping
from reports.readers.registry import read_sources
from reports.scores.findings import Finding
from tests.reports.synthetic_runs import write_finetuning, write_pretraining


def with_gaps(folder: Path, count: int) -> None:
    lines = [{"env_steps": 1000 * n, "updates": n, "image_loss": 5.0} for n in range(count)]
    lines += [{"env_steps": 1000 * n, "value_gap": n / count, "episode_image_loss": 9.0} for n in range(count)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def gaps(folder: Path) -> tuple[PlannedFigure | None, list[Finding]]:
    runs = read_sources([folder]).runs
    return value_gap_figure(runs, 500.0, Grouping(runs))


def test_lines_are_drawn_where_a_run_logged_them(tmp_path: Path) -> None:
    write_finetuning(tmp_path, "dmc/cheetah_run", "apv", 0)
    assert gaps(tmp_path) == (None, [])
    with_gaps(write_finetuning(tmp_path, "dmc/cheetah_run", "contextwm", 0), 200)
    drawn, _ = gaps(tmp_path)
    assert drawn is not None
    assert drawn.name == "value_gap"
    variant = write_finetuning(tmp_path, "dmc/cheetah_run", "contextwm", 0, variant="reward.dual=False")
    with_gaps(variant, 10)
    drawn, _ = gaps(tmp_path)
    assert drawn is not None
    assert isinstance(drawn.plot, PanelPlot)
    lines = {curve.label: curve.style_index for curve in drawn.plot.panels[0].curves}
    assert lines == {"contextwm": 1, "contextwm@reward.dual=False": 2}  # "apv", without a log, is the first


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


def test_a_damaged_training_log_costs_its_line_and_not_the_report(tmp_path: Path) -> None:
    with_gaps(write_finetuning(tmp_path / "runs", "dmc/cheetah_run", "contextwm", 0), 20)
    folder = write_finetuning(tmp_path / "runs", "dmc/cheetah_run", "contextwm", 1)
    with_gaps(folder, 20)
    (folder / "metrics.jsonl").write_text('{"env_steps": 0, "value_gap": 1.0}\n{"env_st\n{"env_steps": 2}\n')
    assert (
        run(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "report"), "--resamples", "50", "--quiet"]) == 0
    )
    found = json.loads((tmp_path / "report" / "report.json").read_text())
    said = [one["text"] for one in found["findings"] if one["code"] == "unreadable_log"]
    assert len(said) == 1
    assert said[0].startswith(f"../{folder.relative_to(tmp_path)}/metrics.jsonl line 2")
    assert len(found["runs"]) == 2
    assert (tmp_path / "report" / "figures" / "value_gap.svg").is_file()


@pytest.mark.skipif(not Path("/proc/self/mem").is_file(), reason="needs a file that even root cannot read")
def test_a_training_log_that_cannot_be_read_costs_no_report(tmp_path: Path) -> None:
    with_gaps(write_finetuning(tmp_path / "runs", "dmc/cheetah_run", "contextwm", 0), 20)
    folder = write_finetuning(tmp_path / "runs", "dmc/cheetah_run", "contextwm", 1)
    (folder / "metrics.jsonl").symlink_to("/proc/self/mem")  # its first byte cannot be read
    out = tmp_path / "report"
    assert run(["report", str(tmp_path / "runs"), "--out", str(out), "--resamples", "50", "--quiet"]) == 0
    found = json.loads((out / "report.json").read_text())
    assert [one["code"] for one in found["findings"]].count("unreadable_log") == 1
    told = f"../{folder.relative_to(tmp_path)}"
    assert set(found["made_from"][told]) == {"run.json", "evaluations.jsonl"}
    assert "metrics.jsonl" in found["made_from"][told.replace("seed1", "seed0")]


def test_odd_values_in_the_log_of_a_pretraining_run_are_passed_over(tmp_path: Path) -> None:
    folder = write_pretraining(tmp_path / "runs", "contextwm")
    lines = [
        {"updates": "many", "open_loop_mse": [1.0], "copy_last_mse": [1.0], "latent_action_verdict": "usable"},
        {"updates": 5, "open_loop_mse": [0.5, 0.25], "copy_last_mse": [1.0, 1.0], "latent_action_verdict": "usable"},
        {"updates": 6, "open_loop_mse": ["x"], "copy_last_mse": [1.0]},
        {"updates": None, "open_loop_mse": float("nan"), "copy_last_mse": {}},
    ]
    log = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(log)
    assert (
        run(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "report"), "--resamples", "50", "--quiet"]) == 0
    )
    drawn = (tmp_path / "report" / "figures" / "prediction_error.csv").read_text()
    assert "5 updates" in drawn
    assert "0.25" in drawn
