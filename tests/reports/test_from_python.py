"""Figures and reports from Python objects: the numbers of the statistics, the same bytes for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ipv_bench.errors import InputError, OutputError, UnknownNameError
from reports.figures import bars
from reports.from_python import interval_figure, report_table
from reports.statistics import interval

SCORES = {"A": np.arange(30.0).reshape(5, 6) / 30, "B": np.full((3, 6), 0.5)}


def test_bars_are_the_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[bars.IntervalBar] = []
    original = bars._draw_group
    monkeypatch.setattr(bars, "_draw_group", lambda c, b, found, n: (drawn.extend(found), original(c, b, found, n))[1])
    interval_figure(SCORES, tmp_path / "a.svg", statistics=("iqm", "mean"), resamples=500, seed=4)
    for bar in drawn:
        statistic = "iqm" if drawn.index(bar) < 2 else "mean"
        expected = interval(SCORES[bar.label], statistic, 500, np.random.default_rng(4))
        assert (bar.point, bar.low, bar.high) == (expected.point, expected.low, expected.high)
    assert [(bar.label, bar.runs) for bar in drawn] == [("A", 5), ("B", 3)] * 2
    interval_figure(SCORES, tmp_path / "b" / ".." / "a2.svg", statistics=("iqm", "mean"), resamples=500, seed=4)
    first, second = ((tmp_path / name).read_text() for name in ("a.svg", "a2.svg"))
    assert first.replace("a-", "") == second.replace("a2-", "")


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to draw: 0 methods, 1 statistics\n.*at least one method.*\n.*give"):
        interval_figure({})
    with pytest.raises(InputError, match=r"shape \(5,\)\n.*num_tasks.*\n.*scores\[:, None\]"):
        interval_figure({"A": np.zeros(5)})
    with pytest.raises(UnknownNameError, match="iqn"):
        interval_figure(SCORES, statistics=("iqn",))
    with pytest.raises(OutputError, match=r"\.pdf, \.svg or \.png\n.*call it a\.pdf"):
        interval_figure(SCORES, tmp_path / "a.jpg", resamples=10)


def test_a_report_of_a_data_frame(tmp_path: Path) -> None:
    rows = [("A", "dmc", "cheetah_run", seed, step, 1.5 * seed) for seed in range(5) for step in (0, 1000)]
    table = pd.DataFrame(rows, columns=["method", "suite", "task", "seed", "step", "score"])
    page = report_table(table, tmp_path / "out", resamples=100)
    assert page == tmp_path / "out" / "report.html"
    read = pd.read_parquet(tmp_path / "out" / "data.parquet")
    assert sorted(read["score"].unique()) == [0.0, 1.5, 3.0, 4.5, 6.0]
    again = report_table(table.assign(score=2.0), tmp_path / "out", resamples=100)
    assert pd.read_parquet(again.with_name("data.parquet"))["score"].unique().tolist() == [2.0]
    with pytest.raises(InputError, match="score"):
        report_table(table.drop(columns="score"), tmp_path / "other")
    with pytest.raises(
        InputError, match=r"a list is no data frame\n.*one row per score\n.*pandas\.DataFrame\(\.\.\.\)"
    ):
        report_table(rows, tmp_path / "other")  # type: ignore[arg-type]
