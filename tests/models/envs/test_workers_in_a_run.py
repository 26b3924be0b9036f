"""A whole fine-tuning run whose environment process is killed while it plays."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from ipv_bench.cli import run
from ipv_bench.run_record import read_jsonl, read_record
from models.agents.agent import Agent
from models.envs.workers import WorkerEnvs
from tests.models.finetuning.finetune_runs import command_line, log_without_wall

SHORT = ("--set", "training.env_steps=480", "--set", "evaluation.every=0", "--set", "evaluation.random_episodes=0")


@pytest.mark.parametrize("count", [1, 2])
def test_updates_are_made_while_a_step_is_under_way_and_change_nothing_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """The same run with environments in this process, where each step is over before its updates."""
    begun, waited, update, under_way = WorkerEnvs.step_async, WorkerEnvs.step_wait, Agent.update, [False]
    seen: list[bool] = []

    def step_async(self, actions):
        under_way[0] = True
        begun(self, actions)

    def step_wait(self):
        under_way[0] = False
        return waited(self)

    def spied(self, batch):
        seen.append(under_way[0])
        return update(self, batch)

    monkeypatch.setattr(WorkerEnvs, "step_async", step_async)
    monkeypatch.setattr(WorkerEnvs, "step_wait", step_wait)
    monkeypatch.setattr(Agent, "update", spied)
    settings = (*SHORT, "--set", f"envs.count={count}", "--set", "training.train_every=3")
    logs = []
    for workers in (1, 0):
        folder = tmp_path / f"workers{workers}"
        assert run(command_line(folder, *settings, "--set", f"envs.workers={workers}", method="dreamerv2")) == 0
        logs.append(log_without_wall(folder / "metrics.jsonl"))
        if workers:  # three updates come before the first episode
            assert seen[:3] == [False] * 3
            assert len(seen) > 6
            assert all(seen[3:])
    assert logs[0] == logs[1]
    assert {"updates", "train_return"} <= {name for line in logs[0] for name in line}


def test_a_run_survives_the_death_of_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original, calls = WorkerEnvs.step_async, [0]

    def step(self, actions):
        calls[0] += 1
        if calls[0] == 50:  # in the third training episode of 20 steps
            process = self._workers[0]._process
            assert process is not None
            os.kill(process.pid, signal.SIGKILL)
        return original(self, actions)

    monkeypatch.setattr(WorkerEnvs, "step_async", step)
    folder = tmp_path / "run"
    assert run(command_line(folder, *SHORT, "--set", "envs.workers=1", method="dreamerv2")) == 0
    said = capsys.readouterr().err
    assert "environment 0 of dmc/cartpole_balance died: signal 9; its episode is dropped" in said
    record = read_record(folder)
    assert (record.status, record.exact) == ("finished", False)
    assert len(record.renderers) == 1  # of the old and of the new process: the same machine
    assert "OpenGL" in record.renderers[0] or "Mesa" in record.renderers[0] or "NVIDIA" in record.renderers[0]
    episodes = list(read_jsonl(folder / "replay" / "index.jsonl"))
    assert episodes
    assert all(line["train_length"] == 20 for line in episodes)  # nothing of the lost episode is learned from
