"""Several environments at once, and environments that are lost, in whole runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import models.finetune
from ipv_bench.checkpoint_index import latest_checkpoint
from ipv_bench.cli import run
from ipv_bench.run_record import read_jsonl, read_record
from models.agents.agent import Agent
from models.finetuning.env_groups import LocalEnvs
from models.training.checkpoint import load_checkpoint
from tests.models.finetuning.finetune_runs import command_line, log_without_wall

TWO = ("--set", "envs.count=2", "--set", "training.env_steps=960", "--set", "evaluation.episodes=3",
       "--set", "evaluation.parallel=2", "--set", "method=apv")  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.mark.slow
def test_a_run_with_two_environments_goes_on_exactly(tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run(command_line(whole, *TWO)) == 0
    update, calls = Agent.update, [0]

    def interrupted(self, batch):
        calls[0] += 1
        if calls[0] == 16:
            raise KeyboardInterrupt
        return update(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Agent, "update", interrupted)
        assert run(command_line(broken, *TWO)) == 130
    assert run(command_line(broken, *TWO)) == 0
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        assert log_without_wall(broken / name) == log_without_wall(whole / name)
    assert (broken / "replay" / "index.jsonl").read_bytes() == (whole / "replay" / "index.jsonl").read_bytes()
    scores = list(read_jsonl(whole / "evaluations.jsonl"))
    assert all(len(line["returns"]) == 3 for line in scores)
    counters = load_checkpoint(latest_checkpoint(whole)).state["counters"]
    assert (counters["episodes"], counters["agent_steps"], counters["env_steps"]) == (6, 120, 960)


class LosingEnvs(LocalEnvs):
    """Loses environment 0 once, in the third step of its fourth episode."""

    episodes, steps = 0, 0

    def reset(self, seeds):
        LosingEnvs.episodes, LosingEnvs.steps = LosingEnvs.episodes + 1, 0
        return super().reset(seeds)

    def step_wait(self):
        LosingEnvs.steps += 1
        results = super().step_wait()
        if (LosingEnvs.episodes, LosingEnvs.steps) == (4, 3):
            results[0] = None
        return results


def test_a_lost_environment_drops_its_episode_and_marks_the_run(tmp_path, monkeypatch, capsys):
    opened = []

    def open_envs(task, config, hosting, count, first=0):
        # The first group is for training, the second for scores.
        opened.append((LocalEnvs if opened else LosingEnvs)(task, config, count))
        return opened[-1]

    monkeypatch.setattr(models.finetune, "open_envs", open_envs)
    folder = tmp_path / "run"
    assert run(command_line(folder, "--set", "evaluation.every=0")) == 0
    assert "its episode is dropped (1 so far)" in capsys.readouterr().out
    record = read_record(folder)
    assert (record.exact, record.status) == (False, "finished")
    numbers = [line["episode"] for line in read_jsonl(folder / "metrics.jsonl") if "episode" in line]
    assert 3 not in numbers
    assert numbers == sorted(numbers)
    assert load_checkpoint(latest_checkpoint(folder)).state["counters"]["lost"] == 1


def test_an_evaluation_with_a_lost_environment_is_played_again(tmp_path, monkeypatch):
    opened = []

    def open_envs(task, config, hosting, count, first=0):
        opened.append((LosingEnvs if opened else LocalEnvs)(task, config, count))
        return opened[-1]

    LosingEnvs.episodes = 0
    monkeypatch.setattr(models.finetune, "open_envs", open_envs)
    folder: Path = tmp_path / "run"
    assert run(command_line(folder)) == 0
    assert [len(line["returns"]) for line in read_jsonl(folder / "evaluations.jsonl")] == [1, 1, 1, 1]
    assert LosingEnvs.episodes == 5
    assert read_record(folder).exact is True
