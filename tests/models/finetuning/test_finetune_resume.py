"""A run that was killed and continued equals one that was not, in all fields but `wall_*`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from ipv_bench.checkpoint_index import latest_checkpoint
from ipv_bench.cli import run
from ipv_bench.run_lock import run_lock
from ipv_bench.run_record import read_record
from models.finetuning.replay import read_index
from models.training.checkpoint import load_checkpoint
from tests.models.finetuning.finetune_runs import command_line, log_without_wall, run_until


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    """The same run without any interruption."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert run(command_line(folder)) == 0
    return folder


def assert_equal_runs(folder: Path, other: Path) -> None:
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        assert log_without_wall(folder / name) == log_without_wall(other / name), name
    paths = [latest_checkpoint(folder), latest_checkpoint(other)]
    assert paths[0].name == paths[1].name
    first, second = (load_checkpoint(path) for path in paths)
    for group in ("model", "optimizer"):
        ours, theirs = getattr(first, group), getattr(second, group)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours), group
    assert read_index(folder / "replay") == read_index(other / "replay")
    files = [sorted(path.name for path in (run_folder / "replay").glob("*.npy")) for run_folder in (folder, other)]
    assert files[0] == files[1]


def test_the_uninterrupted_run_is_as_planned(uninterrupted):
    record = read_record(uninterrupted)
    assert (record.status, record.exact, record.method) == ("finished", True, "contextwm")
    assert len(record.model_extra["random_policy"]["returns"]) == 2
    scores = log_without_wall(uninterrupted / "evaluations.jsonl")
    assert [line["env_steps"] for line in scores] == [320, 640, 960, 1120]
    assert all(len(line["returns"]) == len(line["seeds"]) == 1 and line["lengths"] == [20] for line in scores)
    assert len({line["seeds"][0] for line in scores}) == 4
    assert len(list((uninterrupted / "videos").iterdir())) == 4
    lines = log_without_wall(uninterrupted / "metrics.jsonl")
    assert [line["updates"] for line in lines if "updates" in line] == [3, 6, 9, 12, 15, 18, 21]
    assert len([line for line in lines if "train_return" in line]) == 7
    state = load_checkpoint(latest_checkpoint(uninterrupted)).state
    assert (state["counters"]["env_steps"], state["counters"]["updates"]) == (1120, 23)
    # Capacity 70 holds three episodes of 20 steps.
    assert len(list((uninterrupted / "replay").glob("*.npy"))) == 3


def test_kill_in_an_episode_a_checkpoint_and_a_replay_write(uninterrupted, tmp_path):
    folder = tmp_path / "run"
    arguments = command_line(folder)
    # In the middle of episode 3 (the second one of the agent): update 3 + 4 + 2 of this process.
    run_until(arguments, "agents.agent", "module.Agent", "update", 9)
    assert latest_checkpoint(folder).name == "40"
    # While the third file of this process' first checkpoint is written.
    output = run_until(arguments, "training.checkpoint", "module", "_write", 3)
    assert "1 newer episodes moved to" in output
    assert latest_checkpoint(folder).name == "40"
    # While the fourth episode of this process is written to the replay, half of it on disk.
    half = "args[0].with_name('.' + args[0].name + '.1.tmp').write_bytes(bytes(5000))"
    run_until(arguments, "finetuning.replay", "module", "write_bytes", 4, before=half)
    assert len(list((folder / "replay").glob(".*.tmp"))) == 1
    assert latest_checkpoint(folder).name == "80"
    assert run(arguments) == 0
    assert not list((folder / "replay").glob(".*.tmp"))
    assert_equal_runs(folder, uninterrupted)


def test_sigterm_saves_and_the_run_goes_on(uninterrupted, tmp_path):
    folder = tmp_path / "run"
    arguments = command_line(
        folder, "--set", "training.stop_grace_seconds=60", "--set", "training.checkpoint_episodes=0"
    )
    output = run_until(arguments, "agents.agent", "module.Agent", "update", 9, sent="SIGTERM", expected=130)
    assert "run the same command again to go on" in output
    assert read_record(folder).status == "interrupted"
    # The episode was finished within the grace, so nothing is lost.
    assert latest_checkpoint(folder).name == "80"
    assert run(arguments) == 0
    assert not (folder / "replay" / "dropped").exists()
    assert_equal_runs(folder, uninterrupted)


@pytest.mark.slow
def test_workers_host_the_environments_and_change_nothing(uninterrupted, tmp_path):
    folder = tmp_path / "run"
    assert run(command_line(folder, "--set", "envs.workers=1", "--set", "training.checkpoint_episodes=1")) == 0
    assert_equal_runs(folder, uninterrupted)


def test_a_finished_run_has_nothing_to_do(uninterrupted, capsys):
    before = (uninterrupted / "run.json").read_bytes()
    assert run(command_line(uninterrupted)) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert (uninterrupted / "run.json").read_bytes() == before


def test_two_processes_never_train_in_one_folder(uninterrupted, tmp_path, capsys):
    with run_lock(uninterrupted):  # a finished run is only read: jobs that share one do not get in each other's way
        assert run(command_line(uninterrupted)) == 0
    folder = tmp_path / "run"
    shutil.copytree(uninterrupted, folder)
    _reopen(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    capsys.readouterr()
    with run_lock(folder):
        assert run(command_line(folder)) == 2
    assert "another process is training in" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_another_config_is_refused_with_the_difference(uninterrupted, capsys):
    assert run(command_line(uninterrupted, "--set", "behavior.horizon=4")) == 2
    assert "behavior.horizon: 3 → 4" in capsys.readouterr().err


def test_evaluation_leaves_the_training_alone(uninterrupted, tmp_path):
    """Other evaluations, other checkpoints: the same training."""
    folder = tmp_path / "run"
    extra = ("evaluation.every=0", "evaluation.episodes=2", "training.checkpoint_episodes=3")
    assert run(command_line(folder, *[word for change in extra for word in ("--set", change)])) == 0
    assert log_without_wall(folder / "metrics.jsonl") == log_without_wall(uninterrupted / "metrics.jsonl")


def test_a_truncated_replay_file_is_skipped_counted_and_named(uninterrupted, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(uninterrupted, folder)
    _reopen(folder)
    newest = sorted((folder / "replay").glob("*.npy"))[-1]
    with open(newest, "r+b") as file:
        file.truncate(1000)
    assert run(command_line(folder)) == 0
    assert f"1 replay files are truncated or gone: {newest.name}" in capsys.readouterr().out
    assert read_record(folder).exact is False


@pytest.mark.parametrize("change", ["shortened", "deleted"])
def test_a_log_that_was_shortened_is_named_and_kept(uninterrupted, tmp_path, capsys, change):
    folder = tmp_path / "run"
    shutil.copytree(uninterrupted, folder)
    _reopen(folder)
    metrics, scores = folder / "metrics.jsonl", folder / "evaluations.jsonl"
    if change == "shortened":
        metrics.write_bytes(metrics.read_bytes()[:-30])
    else:
        metrics.unlink()
    scores.write_bytes(b"".join(scores.read_bytes().splitlines(keepends=True)[:2]))
    left = [path.read_bytes().rpartition(b"\n")[0] if path.exists() else b"" for path in (metrics, scores)]
    assert run(command_line(folder)) == 0
    printed = capsys.readouterr().out
    assert all(f"{path.name} lacks" in printed for path in (metrics, scores))
    record = read_record(folder)
    assert (record.status, record.exact, len(record.inexact_because)) == ("finished", False, 2)
    for path, before in zip((metrics, scores), left, strict=True):
        assert path.read_bytes().startswith(before)
        assert b"\0" not in path.read_bytes()
    assert [line["env_steps"] for line in log_without_wall(scores)] == [320, 640]
    assert run(["report", str(folder), "--out", str(tmp_path / "report"), "--resamples", "50"]) == 0
    assert "is not an exact run of its seed: metrics.jsonl lacks" in (tmp_path / "report" / "report.html").read_text()


def _reopen(folder: Path) -> None:
    """Mark a finished run as interrupted."""
    record = folder / "run.json"
    record.write_text(record.read_text().replace('"status": "finished"', '"status": "interrupted"'))
