"""The learning experiment, Figure 9 of its runs, and its agents beside public curves."""

from __future__ import annotations

import json
import shlex
from itertools import pairwise
from pathlib import Path

import learning
import miniature_summary
import public_curves
import pytest
import yaml

from ipv_bench.run_record import read_record, write_record
from reports.config import FigureConfig
from reports.figures.selection import check_names, select_panels
from reports.missing_commands import missing_commands
from tests.experiments.runs_of_scripts import ROOT, record


def test_figure_9_in_miniature_asks_for_the_runs_of_the_learning_experiment() -> None:
    text = (ROOT / "benchmarks/figure9_miniature.yaml").read_text()
    figure = FigureConfig.model_validate(yaml.safe_load(text)["figures"]["fig9_miniature"])
    check_names(figure, [])
    missing = [run for selection in select_panels("fig9_miniature", figure, []) for run in selection.missing]
    found = missing_commands(missing, [])
    methods = [dict(line.where)["method"] for line in figure.methods]
    wanted = {
        (task, method, seed, bool(changed) and method not in learning.MODEL_FREE)
        for task, changed in learning.TASKS.items() for method in methods for seed in learning.SEEDS
    }  # fmt: skip
    made = set()
    for words in map(shlex.split, found.finetuning):
        sets = {word for name, word in pairwise(words) if name == "--set"}
        (method,) = (word.removeprefix("method=") for word in sets if word.startswith("method="))
        assert sets - {f"method={method}"} <= {"reward.gain=0.1"}
        assert ("--init" in words) == (method in learning.PRETRAINED)
        assert words[words.index("--preset") + 1] == learning.PRESET
        made.add((words[words.index("--task") + 1], method, int(words[words.index("--seed") + 1]), len(sets) == 2))
    assert made == wanted
    assert len(found.pretraining) == 1


def test_a_complete_learning_experiment_is_written_afresh_with_the_time_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "RESULT", tmp_path / "learning.json")
    for seed, minutes in enumerate((9, 18)):
        run = record(tmp_path / learning.run_path("dmc/cheetah_run", "apv", seed))
        played = {"random_policy": {"seeds": [seed], "returns": [2.0]}}
        write_record(run, read_record(run).model_copy(update=played))
        lines = [{"env_steps": 10, "returns": [0.0], "wall_seconds": 1}]
        lines += [{"env_steps": 30, "returns": [seed, 3.0], "wall_seconds": 60 * minutes}]
        (run / "evaluations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    learning.keep(learning.summary(tmp_path), tmp_path)
    written = json.loads((tmp_path / "learning.json").read_text())
    assert (written["run_minutes"], written["run_hours"]) == ([9.0, 18.0], 0.45)
    assert written["tasks"]["dmc/cheetah_run"]["apv"]["scores"] == [1.5, 2.0]


def test_one_run_has_no_interval_and_the_summary_is_json() -> None:
    row = miniature_summary.with_interval([3.0])
    assert (row["low"], row["high"], row["mean"]) == (None, None, 3.0)
    json.dumps(row, allow_nan=False)
    assert miniature_summary.ends(row) == ""
    assert miniature_summary.with_interval([1.0, 3.0])["low"] == pytest.approx(1.0)


def test_published_curves_are_averaged_run_by_run_over_the_frames_of_a_score(tmp_path: Path) -> None:
    rows = [(1, 18_000, 900.0), (1, 20_000, 10.0), (2, 20_000, 30.0), (2, 28_000, 50.0), (2, 30_000, 900.0)]
    lines = [f"{i},DrQ-v2,walker_walk,{seed},{frame},{score},0.1" for i, (seed, frame, score) in enumerate(rows)]
    path = tmp_path / "dmc_walker_walk.csv"
    path.write_text("\n".join([",agent,task,seed,frame,episode_reward,hour", *lines]))
    assert public_curves.published(path) == [10.0, 40.0]


def test_the_public_curves_need_five_seeds_of_the_tasks_that_no_other_experiment_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_curves, "RESULTS", tmp_path)
    assert len(public_curves.remaining()) == 10
    kept = tmp_path / "runs" / "dmc" / "walker_walk" / "dreamerv2" / "seed0"
    record(kept)
    (kept / "evaluations.jsonl").write_text("")
    assert ("dmc/walker_walk", 0) not in public_curves.remaining()
    assert len(public_curves.remaining()) == 9
