"""The papers' figures: each line holds exactly its runs, whatever else was read; groups, places, what is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ipv_bench.cli import run
from ipv_bench.config import preset_names
from ipv_bench.errors import UnknownNameError, UsageError
from reports.config import FigureConfig
from reports.figures import paper_figures
from reports.figures.paper_figures import figure_names, wanted_figures
from reports.figures.selection import check_names, known_tasks, select_panels
from reports.readers.registry import read_sources
from tests.reports.synthetic_runs import CARLA, DMCR, METAWORLD, SUITES, VARIANTS, write_finetuning, write_paper_runs

SEEDS = 2
MAIN = {"IPV w/ ContextWM": "full", "IPV w/ vanilla WM": "vanilla", "DreamerV2": "dreamer"}
BASELINES = {"IPV w/ ContextWM": "full", "DrQ-v2": "drq", "Iso-Dream": "isodream"}
PRETRAINING = {
    "ContextWM": "full", "ContextWM w/o pre-training": "scratch",
    "vanilla WM": "vanilla", "vanilla WM w/o pre-training": "vanilla_scratch",
}  # fmt: skip
TECHNIQUES = {
    "ContextWM": "full", "ContextWM w/ concatenation": "concat", "ContextWM w/o dual reward": "one_head",
    "vanilla WM": "vanilla",
}  # fmt: skip
AMOUNTS = {"1.5k videos": "few", "15k videos": "more", "all (185k)": "full"}
DOMAINS = {"from scratch": "scratch", "SSv2": "full", "assembled": "assembled"}
AFTER_ROBOTS = {
    "PreLAR": "prelar_robots", "ContextWM": "robots", "APV": "vanilla_robots", "DreamerV2": "dreamer",
}  # fmt: skip
AFTER_SSV2 = {"PreLAR": "prelar", "ContextWM": "full", "APV": "vanilla", "DreamerV2": "dreamer"}

Panels = list[tuple[str, tuple[str, ...], dict[str, str]]]


def each(suite: str, lines: dict[str, str]) -> Panels:
    """A panel per task of a suite."""
    return [(suite, (task,), lines) for task in SUITES[suite][0]]


FIGURES: dict[str, Panels] = {
    "fig5a": each("metaworld", MAIN),
    "fig5b": [("metaworld", METAWORLD, PRETRAINING), ("metaworld", METAWORLD, TECHNIQUES)],
    "fig6a": each("dmcr", MAIN) + each("carla", MAIN),
    "fig6b": [("dmcr", DMCR, PRETRAINING), ("carla", CARLA, PRETRAINING)],
    "fig7a": [("metaworld", METAWORLD, AMOUNTS)],
    "fig7b": [
        ("metaworld", METAWORLD, DOMAINS | {"RLBench": "robots"}),
        ("dmcr", DMCR, DOMAINS | {"Human3.6M": "human"}),
        ("carla", CARLA, DOMAINS | {"YouTube Driving": "driving"}),
    ],
    "fig9a": [(suite, tasks, BASELINES) for suite, (tasks, _) in SUITES.items()],
    "fig9b": each("metaworld", BASELINES),
    "fig9c": each("dmcr", BASELINES),
    "fig9d": each("carla", BASELINES),
    "fig10": each("metaworld", {"IPV w/ ContextWM": "full", "Enc / Dec Only": "parts"}),
    "prelar_rlbench": each("metaworld", AFTER_ROBOTS),
    "prelar_ssv2": each("metaworld", AFTER_SSV2),
    "prelar_al": each("metaworld", {"PreLAR": "prelar", "PreLAR w/o AL": "prelar_no_al"}),
}
"""Figure → its panels: suite, tasks, and line → kind of run. Written from `paper_figures.md`, not from the YAMLs."""


@pytest.fixture(scope="session")
def paper_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of all kinds at once, two seeds each."""
    root = tmp_path_factory.mktemp("paper") / "runs"
    assert write_paper_runs(root, SEEDS) == SEEDS * 12 * len(VARIANTS)
    return root


@pytest.fixture(scope="session")
def paper_report(paper_runs: Path) -> dict[str, Any]:
    """`report.json` of all the papers' figures from these runs."""
    out = paper_runs.parent / "report"
    config = paper_runs.parent / "config.yaml"
    config.write_text("formats: [svg]\n")
    arguments = ["report", str(paper_runs), "--out", str(out), "--figures", "paper", "--config", str(config)]
    assert run([*arguments, "--resamples", "50", "--quiet"]) == 0
    record: dict[str, Any] = json.loads((out / "report.json").read_text())
    return record


@pytest.mark.parametrize("name", FIGURES)
def test_every_line_holds_exactly_its_runs(name: str, paper_report: dict[str, Any], paper_runs: Path):
    expected = [
        {(label, f"../{paper_runs.name}/{suite}/{task}/{kind}/seed{seed}")
         for label, kind in lines.items() for task in tasks for seed in range(SEEDS)}
        for suite, tasks, lines in FIGURES[name]
    ]  # fmt: skip
    drawn: dict[str, set[tuple[str, str]]] = {}
    for line in paper_report["lines"][name]:
        drawn.setdefault(line["panel"], set()).update((line["line"], source) for source in line["runs"])
    assert list(drawn.values()) == expected


def test_a_method_with_its_own_pictures_is_compared_without_a_warning(paper_report: dict[str, Any]):
    levels: dict[str, set[str]] = {}
    for one in paper_report["findings"]:
        levels.setdefault(one["code"], set()).add(one["level"])
    assert levels["compared_observations"] == {"note"}
    assert "compared_environments" not in levels


def test_all_figures_from_runs_are_drawn_with_their_own_axes(paper_report: dict[str, Any], paper_runs: Path):
    assert set(preset_names("figures")) == set(FIGURES)
    assert set(paper_report["lines"]) == set(FIGURES)
    for name in FIGURES:
        assert (paper_runs.parent / "report" / "figures" / f"{name}.svg").read_bytes().startswith(b"<?xml")
    page = (paper_runs.parent / "report" / "report.html").read_text()
    assert "IQM of 12 runs" in page  # 6 tasks, 2 seeds
    returns = values_of(paper_runs.parent / "report" / "figures" / "fig6a.csv")
    assert 500 < max(returns["cheetah run"]) <= 1000
    assert max(returns["clear noon"]) > 600
    rescaled = values_of(paper_runs.parent / "report" / "figures" / "fig6b.csv")
    assert all(0 <= value <= 1 for values in rescaled.values() for value in values)


def values_of(file: Path) -> dict[str, list[float]]:
    """Panel → the points of all of its lines."""
    found: dict[str, list[float]] = {}
    for row in file.read_text().splitlines()[1:]:
        panel, point = row.rsplit(",", 6)[0].strip('"'), row.split(",")[-4]
        found.setdefault(panel, []).append(float(point))
    return found


def test_runs_that_no_line_names_are_left_out_and_named(paper_report: dict[str, Any]):
    notes = {one["text"]: one for one in paper_report["findings"] if one["code"] == "variants_left_out"}
    told = next(text for text in notes if text.startswith("fig5a: ") and "IPV w/ ContextWM" in text)
    assert "intrinsic.beta=0.0" in told
    assert "loss.kl_scale=0.1" in told
    assert len(notes[told]["subjects"]) == 2 * 6 * SEEDS


def test_missing_runs_are_counted_for_figures_that_lack_some(paper_report: dict[str, Any]):
    told = [one["text"] for one in paper_report["findings"] if one["code"] == "missing_runs"]
    assert f"fig5a lacks {3 * 6 * (8 - SEEDS)} runs" in told
    assert f"fig7b lacks {4 * 12 * (8 - SEEDS)} runs" in told


@pytest.mark.parametrize("name", FIGURES)
def test_descriptions_name_what_exists_and_need_eight_runs_a_task(name: str):
    figure = wanted_figures([name], {}).described[name]
    check_names(figure, [])
    selections = select_panels(name, figure, [])
    assert len(selections) == len(FIGURES[name])
    assert sum(len(selection.missing) for selection in selections) == 8 * sum(
        len(tasks) * len(lines) for _, tasks, lines in FIGURES[name]
    )
    assert figure.caption
    assert figure.source


def test_a_name_may_stand_for_several_and_unknown_ones_name_the_nearest():
    assert list(wanted_figures(["fig9"], {}).described) == ["fig9a", "fig9b", "fig9c", "fig9d"]
    assert list(wanted_figures(["prelar"], {}).described) == ["prelar_al", "prelar_rlbench", "prelar_ssv2"]
    everything = wanted_figures(["paper,fig5a"], {})
    assert [*everything.described, *everything.made, *everything.places] != []
    assert {*everything.described, *everything.made, *everything.places} == set(figure_names())
    assert "fig5a" not in everything.optional
    with pytest.raises(UnknownNameError, match="fig5c") as wrong:
        wanted_figures(["fig5c"], {})
    assert wrong.value.fix.startswith("did you mean 'fig5")
    with pytest.raises(UnknownNameError) as wrong:
        wanted_figures(["papr"], {})
    assert wrong.value.fix == "did you mean 'paper'?"


def test_places_of_figures_that_nobody_has_built(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(paper_figures, "PLACES", {"fig99": "its data are lost"})
    with pytest.raises(UsageError, match="report does not draw fig99: its data are lost") as caught:
        wanted_figures(["fig99"], {})
    assert "leave fig99 out" in caught.value.fix
    assert wanted_figures(["paper"], {}).places == {"fig99": "its data are lost"}


def test_figures_without_any_run_are_named_and_not_drawn(paper_runs: Path, tmp_path: Path):
    some = tmp_path / "runs"
    for task in METAWORLD:
        shutil.copytree(paper_runs / "metaworld" / task / "dreamer", some / "metaworld" / task / "dreamer")
    (tmp_path / "config.yaml").write_text("formats: [svg]\n")
    arguments = ["--config", str(tmp_path / "config.yaml"), "--figures", "paper", "--resamples", "20", "--quiet"]
    assert run(["report", str(some), "--out", str(tmp_path / "report"), *arguments]) == 0
    record = json.loads((tmp_path / "report" / "report.json").read_text())
    assert set(record["lines"]) == {"fig5a", "prelar_rlbench", "prelar_ssv2"}
    told = [one["text"] for one in record["findings"] if one["code"] == "missing_runs"]
    assert f"fig10 lacks {2 * 6 * 8} runs, that is all: it is not drawn" in told


def test_task_names_are_those_of_the_suites():
    from models.envs.registry import task_names

    ours = {f"{suite}/{task}" for suite, tasks in known_tasks().items() for task in tasks}
    assert ours == set(task_names())


def test_a_line_may_accept_changes_by_name(paper_runs: Path):
    runs = read_sources([paper_runs / "metaworld" / "reach"]).runs
    where = {"method": "contextwm", "pretraining.data": ["ssv2"], "context.fusion": "cross_attention"}
    where |= {"pretraining.num_videos": {"any": [None, 1500, 15000]}}
    figure = FigureConfig.model_validate(
        {"title": "t", "suite": "metaworld", "tasks": ["reach"], "methods": [{"label": "x", "where": where}]}
    )
    loose = figure.model_copy(update={"ignore_changes": ["intrinsic.beta"]})

    def kinds(one: FigureConfig) -> set[str]:
        (selection,) = select_panels("mine", one, runs)
        return {Path(run.source).parent.name for run in selection.groups["x"]}

    assert kinds(figure) == {"full", "few", "more"}
    assert kinds(loose) == {"full", "few", "more", "no_bonus"}
    every = figure.model_copy(update={"ignore_changes": "all"})
    assert kinds(every) == {"full", "few", "more", "no_bonus", "one_head", "parts", "other_model"}


def test_what_was_set_on_one_task_alone_is_asked_of_its_runs(tmp_path: Path):
    for task, seed, gain in (("walker_stand", 0, 0.1), ("walker_stand", 1, None), ("cheetah_run", 0, None),
                             ("cheetah_run", 1, 0.1)):  # fmt: skip
        changed = {"overrides": {"reward.gain": gain}, "variant": f"reward.gain={gain}"} if gain else {}
        folder = write_finetuning(tmp_path / "runs", f"dmc/{task}", "dreamerv2", seed, **changed)
        record = json.loads((folder / "run.json").read_text())
        record["config"]["reward"]["gain"] = gain or 0.5
        (folder / "run.json").write_text(json.dumps(record))
    runs = read_sources([tmp_path / "runs"]).runs
    line = {"label": "x", "where": {"method": "dreamerv2"}, "on_task": {"walker_stand": {"reward.gain": 0.1}}}
    figure = FigureConfig.model_validate(
        {"title": "t", "suite": "dmc", "tasks": ["cheetah_run", "walker_stand"], "methods": [line], "seeds": 2,
         "panels": [{"show": "aggregate"}]}
    )  # fmt: skip
    check_names(figure, [])  # without a run that has the field
    (selection,) = select_panels("mine", figure, runs)
    assert {(run.task, run.seed) for run in selection.groups["x"]} == {("walker_stand", "0"), ("cheetah_run", "0")}
    assert [(run.task, run.seed, dict(run.where).get("reward.gain")) for run in selection.missing] == [
        ("cheetah_run", 1, None), ("walker_stand", 1, 0.1),
    ]  # fmt: skip
    assert set(selection.left_out["x"]) == {"dmc/cheetah_run/dreamerv2@reward.gain=0.1/seed1"}
    elsewhere = figure.model_copy(update={"tasks": ["cheetah_run"]})
    with pytest.raises(UnknownNameError, match="walker_stand"):
        check_names(elsewhere, [])


def test_a_panel_may_have_its_own_methods_and_needs_some():
    with pytest.raises(ValueError, match="panel 1 has no methods"):
        FigureConfig(title="t", suite="dmc", tasks=["walker_run"])


def test_scores_as_logged_are_not_pooled_over_tasks():
    line = {"label": "x", "where": {"method": "apv"}}
    panel = {"show": "aggregate", "suite": "dmc", "tasks": ["walker_run", "walker_walk"], "methods": [line]}
    with pytest.raises(ValueError, match="pools tasks"):
        FigureConfig.model_validate({"title": "t", "panels": [panel], "scores": "logged"})
