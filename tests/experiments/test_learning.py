"""The learning experiment, Figure 9 of its runs, and its agents beside public curves."""

from __future__ import annotations

import json
import shlex
import shutil
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import learning
import miniature_summary
import public_curves
import pytest
import yaml
from kept_model import OtherModelError
from kept_record import keep_files
from miniature_protocol import GATE, kept, run_path
from one_command import Workspace

from ipv_bench.run_record import read_record, write_record
from ipv_bench.sweeps.config import read_sweep
from ipv_bench.sweeps.plan import plan_sweep
from reports.config import FigureConfig, ReportConfig
from reports.figures.selection import check_names, select_panels
from reports.frozen.check import check_runs
from reports.missing_commands import missing_commands
from reports.readers.registry import read_sources
from reports.scores.ends import final_scores
from tests.experiments.runs_of_scripts import ROOT, record


@pytest.mark.parametrize(("config", "name"), [("figure9_miniature", "fig9_miniature"), ("six_methods", "six_methods")])
def test_figures_of_the_learning_experiment_ask_for_its_runs(config: str, name: str) -> None:
    text = (ROOT / f"benchmarks/{config}.yaml").read_text()
    figure = FigureConfig.model_validate(yaml.safe_load(text)["figures"][name])
    check_names(figure, [])
    missing = [run for selection in select_panels(name, figure, []) for run in selection.missing]
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
    assert len(found.pretraining) == len(set(methods) & set(learning.PRETRAINED))


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


@pytest.mark.parametrize("script", [learning, miniature_summary])
def test_one_run_has_no_interval_and_the_summary_is_json(script: ModuleType) -> None:
    row = script.with_interval([3.0])
    assert (row["low"], row["high"], row["mean"]) == (None, None, 3.0)
    json.dumps(row, allow_nan=False)
    assert learning.ends(row) == ""
    assert script.with_interval([1.0, 3.0])["low"] == pytest.approx(1.0)


def test_published_curves_are_read_at_the_frames_of_our_evaluations_on_the_lines_between_their_points(
    tmp_path: Path,
) -> None:
    rows = [(1, 0, 900.0), (1, 20_000, 10.0), (1, 40_000, 30.0), (2, 40_000, 50.0), (2, 20_000, 50.0), (2, 0, 0.0)]
    path = tmp_path / "dmc_walker_walk.csv"

    def write() -> None:
        lines = [f"{i},DrQ-v2,walker_walk,{seed},{frame},{score},0.1" for i, (seed, frame, score) in enumerate(rows)]
        path.write_text("\n".join([",agent,task,seed,frame,episode_reward,hour", *lines]))

    write()
    assert public_curves.published(path) == pytest.approx([14.0, 50.0])  # at 24,000, the middle of ours; not 10
    rows.append((3, 20_000, 7.0))
    write()
    with pytest.raises(SystemExit, match="seed 3 has no points on both sides"):
        public_curves.published(path)


LEARNING = learning.KEPT_RUNS / learning.run_path("dmc/cheetah_run", "contextwm", 0)
MINIATURE = kept(GATE, run_path(GATE, "cheetah_run", GATE.lines[0], 101))


@pytest.mark.parametrize(
    ("figures", "folder", "last"),
    [("figure9_miniature", LEARNING, 28_000), ("six_methods", LEARNING, 28_000), ("miniature", MINIATURE, 56_000)],
)
def test_final_scores_of_the_figures_are_those_of_the_tables(figures: str, folder: Path, last: int) -> None:
    config = ReportConfig.model_validate(yaml.safe_load((ROOT / f"benchmarks/{figures}.yaml").read_text()))
    (final,) = final_scores(list(read_sources([folder]).runs), last, config.final_window)
    assert final.score == pytest.approx(learning.run_score(folder))
    assert final.number == len(public_curves.SCORED_AT) == 5


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


def test_the_kept_runs_are_of_todays_settings_and_others_are_refused_before_anything_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learning.check_kept()
    path = learning.run_path("dmc/walker_stand", "apv", 0)
    keep_files(learning.KEPT_RUNS / path, tmp_path / path, learning.KEPT_FILES)
    monkeypatch.setattr(learning, "KEPT_RUNS", tmp_path)
    learning.check_kept()
    monkeypatch.setitem(learning.TASKS, "dmc/walker_stand", ("reward.gain=0.2",))
    space = Workspace(tmp_path / "work", 0)
    with pytest.raises(SystemExit, match=r"walker_stand/apv/seed0 .*reward\.gain is 0\.1, not 0\.2; .*move it away"):
        learning.experiment(space, 1, learning.METHODS)
    monkeypatch.setattr(public_curves, "RESULTS", tmp_path)
    made = tmp_path / learning.run_path("dmc/walker_walk", "dreamerv2", 0)
    keep_files(learning.KEPT_RUNS / path, made, learning.KEPT_FILES)  # another method's run
    with pytest.raises(SystemExit, match=r"walker_walk/dreamerv2/seed0 was not made under today's settings"):
        public_curves.experiment(space, 1)


def test_a_model_is_kept_with_its_weights_and_no_other_is_taken_beside_runs_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "KEPT_RUNS", tmp_path / "kept")
    space, path = Workspace(tmp_path / "work"), learning.model_path("prelar")
    run = tmp_path / "kept" / learning.run_path("dmc/cheetah_run", "prelar", 3)

    def made(*words: str) -> float:
        if words[0] == "pretrain":
            (space.folder / path / "checkpoints" / "300").mkdir(parents=True, exist_ok=True)
            (space.folder / path / "checkpoints" / "300" / "checkpoint.json").write_text("weights")
            (space.folder / path / "metrics.jsonl").write_text("")
            record(space.folder / path)
        return 1.0

    monkeypatch.setattr(space, "command", made)
    learning.pretrain(space, "prelar")
    kept = {str(file.relative_to(tmp_path / "kept" / path)) for file in (tmp_path / "kept" / path).rglob("*.json*")}
    assert kept == {"run.json", "metrics.jsonl", "checkpoints/300/checkpoint.json"}
    record(run)
    (run / "evaluations.jsonl").write_text("")
    with pytest.raises(OtherModelError, match=r"prelar/seed3 started from other weights"):
        learning.pretrain(space, "prelar")
    shutil.rmtree(tmp_path / "kept" / path)
    learning.share_model(space, "prelar")
    assert not (tmp_path / "kept" / path).exists()  # the workspace's is not the one that the kept run started from
    parent = {"checkpoint_sha256": sha256(b"weights").hexdigest()}
    write_record(run, read_record(run).model_copy(update={"parent": parent}))
    learning.share_model(space, "prelar")
    assert (tmp_path / "kept" / path / "checkpoints" / "300" / "checkpoint.json").read_text() == "weights"


def test_runs_that_start_from_no_model_wait_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "KEPT_RUNS", tmp_path)
    steps = learning.steps_of(Workspace(tmp_path / "work"), learning.METHODS)
    assert len(steps) == 60 + 3 + 1
    for step in steps:
        method = step.name.split("/")[-2] if "/dmc/" in step.name else ""
        wanted = [str(learning.model_path(method))] if method in learning.PRETRAINED else []
        assert not method or [one.name for one in step.after] == wanted, step.name
    assert all(steps.index(one) < steps.index(step) for step in steps for one in step.after)
    assert learning.steps_of(Workspace(tmp_path / "work"), ["drqv2"])[0].after == ()


def test_entries_of_the_leaderboard_are_runs_of_the_experiment_and_a_sweep_of_drqv2_alone() -> None:
    checked = check_runs("v1/cpu-night", read_sources([learning.KEPT_RUNS / "runs"]))
    following = {one.run.method for one in checked.following}
    assert following >= {"dreamerv2", "apv", "contextwm", "isodream"}
    assert {one.run.method for one in checked.deviating} == {*learning.MODEL_FREE}
    assert len(checked.following) >= 40
    jobs = plan_sweep(read_sweep(ROOT / "benchmarks/cpu_night_drqv2.yaml"))
    assert {job.kind for job in jobs} == {"finetune"}
    assert len(jobs) == 10
    assert all("--set method=drqv2 --set training.train_every=3" in job.command for job in jobs)
