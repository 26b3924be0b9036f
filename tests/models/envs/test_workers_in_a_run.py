"""A whole fine-tuning run whose environment process is killed while it plays."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from ipv_bench.cli import run
from ipv_bench.run_record import read_jsonl, read_record
from models.envs.workers import WorkerEnvs
from tests.models.finetuning.finetune_runs import command_line


def test_a_run_survives_the_death_of_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original, calls = WorkerEnvs.step, [0]

    def step(self, actions):
        calls[0] += 1
        if calls[0] == 50:  # in the third training episode of 20 steps
            process = self._workers[0]._process
            assert process is not None
            os.kill(process.pid, signal.SIGKILL)
        return original(self, actions)

    monkeypatch.setattr(WorkerEnvs, "step", step)
    folder = tmp_path / "run"
    small = ("training.env_steps=480", "evaluation.every=0", "evaluation.random_episodes=0", "envs.workers=1")
    assert run(command_line(folder, *(word for key in small for word in ("--set", key)), method="dreamerv2")) == 0
    said = capsys.readouterr().err
    assert "environment 0 of dmc/cartpole_balance died: signal 9; its episode is dropped" in said
    record = read_record(folder)
    assert (record.status, record.exact) == ("finished", False)
    assert len(record.renderers) == 1  # of the old and of the new process: the same machine
    assert "OpenGL" in record.renderers[0] or "Mesa" in record.renderers[0] or "NVIDIA" in record.renderers[0]
    episodes = list(read_jsonl(folder / "replay" / "index.jsonl"))
    assert episodes
    assert all(line["train_length"] == 20 for line in episodes)  # nothing of the lost episode is learned from
