"""The paper's figures: descriptions that hold together, and drawn from run folders of the right shape."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ipv_bench.cli import run
from ipv_bench.config import preset_names
from reports.config import FigureConfig
from reports.figures.selection import check_names, described_figures, known_tasks, select_panels
from tests.reports.synthetic_runs import write_paper_runs

PAPER = ("fig5a", "fig5b", "fig6", "fig7", "fig9", "fig10")
PANELS = {"fig5a": 6, "fig5b": 1, "fig6": 4, "fig7": 2, "fig9": 6, "fig10": 1}
RUNS = {"fig5a": 144, "fig5b": 144, "fig6": 144, "fig7": 7 * 48, "fig9": 4 * 48, "fig10": 3 * 48}


@pytest.fixture(scope="session")
def paper_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of all paper figures from 600 made-up runs; returns its folder."""
    folder = tmp_path_factory.mktemp("paper")
    number = write_paper_runs(folder / "runs")
    assert number == 6 * 11 * 8 + 3 * 3 * 8
    names = ",".join(PAPER)
    out, missing = folder / "report", folder / "missing.txt"
    arguments = ["report", str(folder / "runs"), "--out", str(out), "--figures", names, "--resamples", "200"]
    assert run([*arguments, "--missing-commands", str(missing), "--quiet"]) == 0
    assert missing.read_text() == ""
    return out


def test_the_paper_figures_are_the_presets():
    assert set(preset_names("figures")) == set(PAPER)


@pytest.mark.parametrize("name", PAPER)
def test_descriptions_name_what_exists(name: str):
    figure = described_figures([name], {})[name]
    check_names(figure, [])
    selections = select_panels(name, figure, [])
    assert len(selections) == PANELS[name]
    assert sum(len(selection.missing) for selection in selections) == RUNS[name]
    assert figure.caption
    assert "arXiv:2305.18499" in figure.source


def test_task_names_are_those_of_the_suites():
    from models.envs.registry import task_names

    ours = {f"{suite}/{task}" for suite, tasks in known_tasks().items() for task in tasks}
    assert ours == set(task_names())


@pytest.mark.parametrize("name", PAPER)
def test_drawn_from_eight_seeds_with_nothing_missing(name: str, paper_report: Path):
    for kind, start in (("pdf", b"%PDF"), ("svg", b"<?xml"), ("png", b"\x89PNG")):
        assert (paper_report / "figures" / f"{name}.{kind}").read_bytes().startswith(start)
    record = json.loads((paper_report / "report.json").read_text())
    assert record["missing_runs"] == []
    page = (paper_report / "report.html").read_text()
    assert "IQM of 48 runs" in page
    assert "render_profile faithful" in page


def test_a_panel_may_have_its_own_methods_and_needs_some():
    with pytest.raises(ValueError, match="panel 1 has no methods"):
        FigureConfig(title="t", suite="dmc", tasks=["walker_run"])
