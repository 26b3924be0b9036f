"""What is planned: never what the registry knows, gone when a plug-in comes, and skipped with its reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ipv_bench import planned, plugins
from ipv_bench.cli import run
from ipv_bench.planned import Planned, planned_methods, planned_tasks
from ipv_bench.plugins import plugin_names
from ipv_bench.sweeps.config import SweepConfig
from ipv_bench.sweeps.plan import plan_sweep


def test_nothing_is_planned_and_known_at_once():
    assert not planned_methods().keys() & set(plugin_names("methods"))
    assert not {task.partition("/")[0] for task in planned_tasks()} & set(plugin_names("suites"))
    assert all(planned_methods().values())
    assert all(planned_tasks().values())


def test_an_entry_goes_when_the_registry_knows_its_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(planned, "_METHODS", {"first": "no code", "second": "no time"})
    monkeypatch.setattr(planned, "_TASKS", {"moon/walk": "too far", "mars/walk": "farther"})
    assert planned_methods() == {"first": "no code", "second": "no time"}
    assert planned_tasks() == {"moon/walk": "too far", "mars/walk": "farther"}
    ours = {kind: dict(names) for kind, names in plugins.OURS.items()}
    ours["methods"]["first"] = "somewhere:METHOD"
    ours["suites"]["moon"] = "somewhere:SUITE"
    monkeypatch.setattr(plugins, "OURS", ours)
    assert planned_methods() == {"second": "no time"}
    assert planned_tasks() == {"mars/walk": "farther"}
    assert Planned().why("first", "moon/walk") == ""
    assert Planned().why("first", "mars/walk") == "farther"
    assert Planned().why("second", "dmc/walker_run") == "no time"


def test_a_sweep_skips_what_is_planned_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(planned, "_METHODS", {"later": "it takes longer"})
    sweep = SweepConfig.model_validate({"methods": ["later"], "tasks": ["dmc/walker_run"]})
    assert plan_sweep(sweep) == []
    said = capsys.readouterr()
    assert said.err == "skipped: later on dmc/walker_run: it takes longer\n"
    assert said.out == ""


def test_missing_commands_leave_out_what_is_planned_and_count_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(planned, "_METHODS", {"later": "it takes longer"})
    figure = {
        "title": "t", "suite": "dmc", "tasks": ["walker_run"], "seeds": 3,
        "methods": [
            {"label": "ours", "where": {"method": "dreamerv2"}},
            {"label": "theirs", "where": {"method": "later"}},
        ],
    }  # fmt: skip
    Path("mine.yaml").write_text(json.dumps({"figures": {"mine": figure}, "formats": ["svg"]}))
    arguments = ["--config", "mine.yaml", "--figures", "mine", "--missing-commands", "todo.txt", "--resamples", "20"]
    assert run(["report", "runs", *arguments]) == 0
    lines = Path("todo.txt").read_text().splitlines()
    assert len(lines) == 3
    assert all("method=dreamerv2" in line for line in lines)
    assert "3 runs without a command: it takes longer" in capsys.readouterr().out
    assert json.loads(Path("report/report.json").read_text())["planned_runs"] == {"it takes longer": 3}
