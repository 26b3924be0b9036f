"""A line draws runs of one pre-training: what it does not name may not differ in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ipv_bench.cli import run
from reports.config import FigureConfig
from reports.figures.one_pretraining import WITHOUT
from reports.figures.selection import Selection, select_panels
from reports.readers.registry import read_sources
from tests.reports.synthetic_runs import write_finetuning

TASKS = ["cheetah_run", "walker_run"]
STARTS: dict[str, dict[str, Any]] = {
    "all": {"data": ["ssv2"]},
    "few": {"data": ["ssv2"], "num_videos": 1500, "variant": "init=ssv2-1500"},
    "human": {"data": ["human36m"], "variant": "init=human36m"},
    "none": {"variant": "init=none"},
}


@pytest.fixture(scope="module")
def runs_of_several_starts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ContextWM on two tasks: three seeds pre-trained on all of SSv2, two of each other start."""
    root = tmp_path_factory.mktemp("runs")
    for task in TASKS:
        for kind, start in STARTS.items():
            for seed in range(3 if kind == "all" else 2):
                write_finetuning(root, f"dmc/{task}", "contextwm", seed, last_step=1000, **start)
    return root


def line(where: dict[str, Any], **more: Any) -> FigureConfig:
    lines = [{"label": "x", "where": {"method": "contextwm", **where}}]
    return FigureConfig.model_validate({"title": "t", "suite": "dmc", "tasks": TASKS, "methods": lines, **more})


def drawn(root: Path, where: dict[str, Any], **more: Any) -> tuple[list[Selection], list[int], set[str]]:
    """Panels, runs drawn in each, and what is said of those that are not."""
    panels = select_panels("mine", line(where, **more), read_sources([root]).runs)
    said = {words for panel in panels for words in list(panel.pretrained_on.get("x", {}))[1:]}
    return panels, [len(panel.groups["x"]) for panel in panels], said


@pytest.mark.parametrize("show", ["tasks", "aggregate"])
def test_a_line_that_names_no_pretraining_draws_the_start_of_most(runs_of_several_starts: Path, show: str) -> None:
    panels, counts, left = drawn(runs_of_several_starts, {}, panels=[{"show": show}], seeds=3)
    assert counts == ([3, 3] if show == "tasks" else [6])
    assert left == {"ssv2, 1500 videos", "human36m, all videos", WITHOUT}
    assert all(run.pretraining["num_videos"] is None for panel in panels for run in panel.groups["x"])
    assert not any(panel.missing for panel in panels)


@pytest.mark.parametrize(
    ("where", "count", "left"),
    [
        ({"pretraining.data": ["ssv2"]}, 3, {"1500 videos"}),
        ({"pretraining.data": ["ssv2"], "pretraining.num_videos": None}, 3, set()),
        ({"pretraining.data": ["ssv2"], "pretraining.num_videos": {"any": [None, 1500]}}, 5, set()),
        ({"pretraining.num_videos": 1500}, 2, set()),
        ({"pretraining.data": []}, 2, set()),
        ({"pretraining.kind": "none"}, 2, set()),
    ],
)
def test_what_a_line_names_it_may_pool(
    runs_of_several_starts: Path, where: dict[str, Any], count: int, left: set[str]
) -> None:
    assert drawn(runs_of_several_starts, where)[1:] == ([count, count], left)


def test_what_is_left_out_is_a_refusal_of_the_report(runs_of_several_starts: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    figure = line({}, seeds=3).model_dump(mode="json", exclude_unset=True)
    config.write_text(json.dumps({"figures": {"mine": figure}, "formats": ["svg"], "drawing_processes": 1}))
    words = ["--config", str(config), "--figures", "mine", "--resamples", "20", "--out", str(tmp_path / "report")]
    assert run(["report", str(runs_of_several_starts), *words, "--quiet", "--strict"]) == 4
    findings = json.loads((tmp_path / "report" / "report.json").read_text())["findings"]
    (found,) = [one for one in findings if one["code"] == "mixed_pretraining"]
    assert found["level"] == "refusal"
    assert "Drawn are those with ssv2, all videos (6 runs), left out human36m, all videos: 4 runs" in found["text"]
    assert "pretraining.data" in found["fix"]
