"""A small report that several tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipv_bench.cli import run
from tests.reports.synthetic_runs import write_finetuning, write_pretraining


@pytest.fixture(scope="session")
def small_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods on two tasks with five seeds, and their world model."""
    root = tmp_path_factory.mktemp("small") / "runs"
    for task in ("dmc/cartpole_balance", "dmc/reacher_easy"):
        for seed in range(5):
            write_finetuning(root, task, "contextwm", seed, data=("ssv2",), level=0.8, last_step=20_000, points=5)
            write_finetuning(root, task, "dreamerv2", seed, level=0.5, last_step=20_000, points=5)
    write_pretraining(root, "contextwm")
    return root


@pytest.fixture(scope="session")
def small_report(small_runs: Path) -> Path:
    """The report of `small_runs`."""
    out = small_runs.parent / "report"
    assert run(["report", str(small_runs), "--out", str(out), "--resamples", "200", "--quiet"]) == 0
    return out
