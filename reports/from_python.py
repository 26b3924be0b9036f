"""The reports' statistics and pages for who has scores in Python: a figure from arrays, a report from a data frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ipv_bench.atomic_file import disk_errors, write_bytes
from ipv_bench.errors import InputError, OutputError
from reports.report import make_report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TABLE_FILE = "scores.csv"


def interval_figure(
    scores: Mapping[str, np.ndarray],
    path: str | Path | None = None,
    *,
    statistics: Sequence[str] = ("iqm",),
    resamples: int = 50_000,
    seed: int = 0,
    note: str = "",
) -> Figure:
    """A figure of estimates with 95 % intervals, one row per method, one column per statistic.

    Args:
        scores: method → (num_runs, num_tasks); missing runs are NaN. Scores of several tasks should be normalised.
        path: file to write: .pdf, .svg or .png; the same scores and seed give the same bytes. None: none.
        statistics: of `reports.statistics.STATISTICS`.
        resamples: bootstrap draws.
        seed: of the draws; each interval is that of `interval(scores, statistic, resamples, default_rng(seed))`.
        note: small print below.

    Raises:
        InputError: no methods; scores that are no such array.
        UnknownNameError: unknown statistic.
        OutputError: an ending that no writer knows.
    """
    from reports.figures.bars import BarPlot, IntervalBar
    from reports.figures.style import render
    from reports.statistics.intervals import intervals

    if not scores or not statistics:
        raise InputError(
            f"there is nothing to draw: {len(scores)} methods, {len(statistics)} statistics",
            expected="at least one method and one statistic",
            fix='give scores as {"method": array}, and statistics as ("iqm",)',
        )
    found = {
        name: intervals(np.asarray(values, np.float64), list(statistics), resamples, np.random.default_rng(seed))
        for name, values in scores.items()
    }
    groups = []
    for statistic in statistics:
        columns = [(name, each[statistic]) for name, each in found.items()]
        title = " or ".join(dict.fromkeys(estimate.label for _, estimate in columns))  # "mean (n=3)" below four runs
        bars = [
            IntervalBar(name, float(one.point), float(one.low), float(one.high), number, one.num_runs[1])
            for number, (name, one) in enumerate(columns)
        ]
        groups.append((title, bars))
    figure = BarPlot(groups, note=note).draw()
    if path is not None:
        ending = Path(path).suffix.removeprefix(".")
        if ending not in ("pdf", "svg", "png"):
            raise OutputError(
                f"cannot write {path}",
                expected="an ending .pdf, .svg or .png",
                fix=f"call it {Path(path).with_suffix('.pdf').name}",
            )
        write_bytes(path, render(figure, Path(path).stem, [ending])[ending])
    return figure


def report_table(table: pd.DataFrame, out: str | Path = "report", **options: Any) -> Path:
    """`ipv-bench report` of a data frame.

    Args:
        table: one row per evaluation, columns `method`, `suite`, `task`, `seed`, `step`, `score`, and perhaps `variant`
            and `metric` (docs/reports/formats.md). It is kept as `scores.csv` in `out`, which the report names as its
            source.
        out: folder that is written.
        options: of `reports.report.make_report`: `figures`, `config_file`, `strict`, `resamples`, `seed`, …

    Returns:
        The page's path.

    Raises:
        InputError: no such columns, or a step or score that is no number; and others, see `make_report`.
    """
    if not hasattr(table, "to_csv"):
        raise InputError(
            f"a {type(table).__name__} is no data frame",
            expected="a pandas.DataFrame, one row per score",
            fix="make it one with pandas.DataFrame(...); folders and files go to `make_report`",
        )
    source = Path(out) / TABLE_FILE
    with disk_errors(source.parent):
        source.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(source, table.to_csv(index=False).encode())
    return make_report([source], out, **options)
