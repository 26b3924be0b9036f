"""DrQ-v2 through the commands: a killed run, scores, messages, presets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ipv_bench.checkpoint_index import latest_checkpoint
from ipv_bench.cli import run
from ipv_bench.errors import ConfigError
from ipv_bench.plugins import plugin_names
from ipv_bench.run_record import read_record
from models.finetuning.config import FinetuneConfig, resolve_finetuning
from models.training.checkpoint import load_checkpoint
from tests.models.finetuning.finetune_runs import log_without_wall, run_until
from tests.models.finetuning.test_finetune_resume import assert_equal_runs
from tests.models.methods.drqv2.small_drqv2 import command_line


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert run(command_line(folder)) == 0
    return folder


def test_a_run_trains_scores_and_follows_its_schedule(uninterrupted):
    record = read_record(uninterrupted)
    assert (record.status, record.method, record.display_name) == ("finished", "drqv2", "DrQ-v2")
    assert record.pretraining == {"kind": "none"}
    assert [line["env_steps"] for line in log_without_wall(uninterrupted / "evaluations.jsonl")] == [
        320,
        640,
        960,
        1120,
    ]
    lines = [line for line in log_without_wall(uninterrupted / "metrics.jsonl") if "updates" in line]
    assert [line["updates"] for line in lines] == [3, 6, 9, 12, 15, 18]
    # Updates come at agent steps 45, 50, …: the first three at a mean of 50 of the schedule's 60 steps.
    assert lines[0]["noise_std"] == pytest.approx(1 - 0.9 * 50 / 60)
    assert lines[-1]["noise_std"] == pytest.approx(0.1)
    state = load_checkpoint(latest_checkpoint(uninterrupted)).state
    assert (state["agent"]["agent_steps"], state["agent"]["updates"]) == (140, 20)
    kept = {path.suffix for path in (uninterrupted / "checkpoints").rglob("*") if path.is_file()}
    assert kept == {".json", ".safetensors"}  # no pickles


def test_killed_in_an_episode_it_goes_on_to_the_same_run(uninterrupted, tmp_path):
    folder = tmp_path / "run"
    run_until(command_line(folder), "methods.drqv2.agent", "module.DrQv2Agent", "update", 6)
    assert latest_checkpoint(folder).name == "40"
    assert run(command_line(folder)) == 0
    assert_equal_runs(folder, uninterrupted)


def test_with_two_environments_at_once_it_goes_on_to_the_same_run_and_counts_the_steps_of_both(tmp_path):
    changes = {"envs.count": 2, "envs.workers": 0, "training.env_steps": 640}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(command_line(whole, **changes)) == 0
    run_until(command_line(cut, **changes), "methods.drqv2.agent", "module.DrQv2Agent", "update", 6)
    assert latest_checkpoint(cut).name == "40"
    assert run(command_line(cut, **changes)) == 0
    assert_equal_runs(cut, whole)
    (first, *_) = [line for line in log_without_wall(whole / "metrics.jsonl") if "updates" in line]
    # Two steps at once: updates are due at 45, 50 and 55 agent steps, and made at 46, 50 and 56.
    assert first["noise_std"] == pytest.approx(1 - 0.9 * (46 + 50 + 56) / 3 / 60)


def test_evaluate_knows_it(uninterrupted, capsys):
    assert run(["evaluate", str(uninterrupted), "--episodes", "2"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert len(first["returns"]) == 2
    assert run(["evaluate", str(uninterrupted), "--episodes", "2"]) == 0
    assert json.loads(capsys.readouterr().out) == first


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["finetune", "--task", "dmc/cheetah_run", "--init", "somewhere"], "drqv2 learns without pre-training"),
        (["pretrain", "--data", "nowhere"], "drqv2"),
    ],
)
def test_pre_training_is_refused_by_name(command, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run([*command, "--preset", "tiny", "--set", "method=drqv2"]) == 2
    assert words in capsys.readouterr().err


def test_pre_training_is_refused_for_a_run_that_is_there_too(uninterrupted, tmp_path, capsys):
    """Not as another start than the run's own, for which another folder would help."""
    assert run(command_line(uninterrupted, "--init", str(tmp_path))) == 2
    assert "drqv2 learns without pre-training" in capsys.readouterr().err


def test_a_prediction_of_videos_is_refused_by_name(uninterrupted, capsys):
    assert run(["analyze", "predict", str(uninterrupted)]) == 2
    assert "an agent of drqv2 has no model that predicts videos" in capsys.readouterr().err


def test_n_steps_longer_than_an_episode_are_refused_by_their_key(tmp_path, capsys):
    assert run(command_line(tmp_path / "run", **{"drqv2.n_step": 30})) == 2
    assert "set drqv2.n_step=20 or less" in capsys.readouterr().err


def resolved(preset: str, task: str) -> FinetuneConfig:
    suite, _, short = task.partition("/")
    return resolve_finetuning(preset, suite, parts=(f"{suite}-{short}", suite), overrides={"method": "drqv2"}).config


RELEASED = {  # task: n_step, batch, noise steps, env steps, learning rate, feature size, capacity
    "dmc/cheetah_run": (3, 256, 500_000, 3_100_000, 1e-4, 50, 1_000_000),
    "dmc/cartpole_swingup": (3, 256, 100_000, 1_100_000, 1e-4, 50, 1_000_000),
    "dmc/walker_stand": (1, 512, 100_000, 1_100_000, 1e-4, 50, 1_000_000),
    "dmc/walker_run": (1, 512, 500_000, 3_100_000, 1e-4, 50, 1_000_000),
    "dmc/quadruped_run": (3, 256, 500_000, 3_100_000, 1e-4, 50, 100_000),
    "dmc/humanoid_walk": (3, 256, 2_000_000, 30_100_000, 8e-5, 100, 1_000_000),
}


@pytest.mark.parametrize("task", RELEASED)
def test_the_paper_preset_has_the_released_values(task):
    config = resolved("paper", task)
    own = config.drqv2
    found = (
        own.n_step, config.replay.batch_size, own.noise.steps, config.training.env_steps,
        own.critic_optimizer.lr, own.feature_dim, config.replay.capacity,
    )  # fmt: skip
    assert found == RELEASED[task]
    assert (config.env.action_repeat, config.image.size, own.frame_stack) == (2, 84, 3)
    assert (config.training.prefill, config.training.train_every, config.training.pretrain_updates) == (2000, 2, 0)
    assert own.encoder_optimizer == own.actor_optimizer == own.critic_optimizer
    adam = own.critic_optimizer
    assert (adam.eps, adam.weight_decay, adam.clip) == (1e-8, 0.0, None)


def test_the_other_suites_have_the_budgets_of_the_papers_other_methods():
    for task in ("dmcr/walker_run", "metaworld/drawer_open", "carla/clear_noon"):
        other = resolve_finetuning(
            "paper", task.partition("/")[0], parts=(task.partition("/")[0],), overrides={"method": "dreamerv2"}
        ).config
        ours = resolved("paper", task)
        for key in ("action_repeat", "time_limit"):
            assert getattr(ours.env, key) == getattr(other.env, key), (task, key)
        assert ours.training.env_steps == other.training.env_steps
        assert (ours.evaluation.every, ours.evaluation.episodes) == (other.evaluation.every, other.evaluation.episodes)
    assert (resolved("paper", "dmcr/walker_run").drqv2.n_step, resolved("paper", "dmcr/hopper_stand").drqv2.n_step) == (
        1,
        3,
    )


def test_windows_that_follow_from_the_steps_are_no_override_of_their_own():
    found = resolve_finetuning("tiny", "dmc", overrides={"method": "drqv2", "drqv2.n_step": 5})
    assert found.config.replay.length == 6
    assert found.overrides == {"method": "drqv2", "drqv2.n_step": 5}


@pytest.mark.parametrize("written", [5.0, "5"])
def test_steps_that_are_written_otherwise_make_the_same_windows(written):
    """A config file of another tool may hold floats or text; the fields take them, so the windows must follow."""
    config = resolve_finetuning("tiny", "dmc", overrides={"method": "drqv2", "drqv2.n_step": written}).config
    assert (config.drqv2.n_step, config.replay.length, config.replay.prioritize_ends) == (5, 6, False)


PAPERS_SUITES = ("dmc", "dmcr", "metaworld", "metaworld-remastered", "carla")
PRESETS = [(preset, suite) for preset in ("tiny", "small", "demo") for suite in plugin_names("suites")]


@pytest.mark.parametrize(("preset", "suite"), [*PRESETS, *(("paper", suite) for suite in PAPERS_SUITES)])
def test_every_preset_resolves_on_every_suite(preset, suite):
    """`paper` is for the papers' suites; the others are for all."""
    try:
        config = resolved(preset, f"{suite}/any")
    except ConfigError as error:
        pytest.fail(str(error))
    assert config.replay.length == config.drqv2.n_step + 1
    assert config.env.image_size == config.image.size
    assert config.evaluation.explore is False  # mean actions are scored everywhere, as published


@pytest.mark.parametrize("task", ["metaworld/lever_pull", "dmcr/cheetah_run", "carla/clear_noon"])
def test_figure_9s_methods_are_asked_to_do_the_same(task):
    """What they see may differ; a wider difference would be warned about in each report of Figure 9."""
    shown = {}
    for method in ("contextwm", "drqv2", "isodream"):
        suite, _, short = task.partition("/")
        config = resolve_finetuning(
            "paper", suite, parts=(f"{suite}-{short}", suite), overrides={"method": method}
        ).config
        shown[method] = config.env.model_dump(exclude={"image_size"}) | {"explore": config.evaluation.explore}
    assert shown["drqv2"] == shown["contextwm"] == shown["isodream"]
