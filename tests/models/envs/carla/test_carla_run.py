"""A whole fine-tuning through fake servers, killed and continued: one server for training, one for evaluation."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from ipv_bench.cli import run
from ipv_bench.run_record import read_jsonl, read_record
from models.envs.carla.server import listens
from tests.models.finetuning.finetune_runs import command_line, run_until

pytest.importorskip("carla", reason="the extra `carla` is not installed")
pytest.importorskip("msgpack", reason="msgpack is not installed")

from tests.fake_carla.running import command, free_port

PATIENCE = {"env.timeout_seconds": 90, "env.sensor_seconds": 90, "env.start_seconds": 300}
"""What a machine under load may take; nothing here waits that long."""


def _carla(folder: Path, port: int, **settings: object) -> list[str]:
    own = {
        "env.action_repeat": 1, "env.port": port, "env.server_command": command(), "training.checkpoint_episodes": 1,
        "evaluation.random_episodes": 1, **PATIENCE, **settings,
    }  # fmt: skip
    words = [word for key, value in own.items() for word in ("--set", f"{key}={value}")]
    return command_line(folder, *words, method="dreamerv2", task="carla/dynamic_weather")


def _continue_and_check(arguments: list[str], folder: Path, port: int, env_steps: int) -> None:
    _wait_for_silence(port)  # its servers went with the killed run
    assert run(arguments) == 0
    record = read_record(folder)
    assert (record.status, record.exact) == ("finished", False)
    assert "CARLA does not repeat itself" in record.inexact_because[0]
    assert record.env_fingerprint["carla"] == "0.9.16"
    assert np.isfinite(record.random_policy["returns"]).all()
    scores = list(read_jsonl(folder / "evaluations.jsonl"))
    assert scores[-1]["env_steps"] >= env_steps
    assert all(np.isfinite(line["returns"]).all() for line in scores)
    steps = [line["env_steps"] for line in read_jsonl(folder / "metrics.jsonl")]
    assert steps == sorted(steps)
    _wait_for_silence(port)


def _wait_for_silence(port: int) -> None:
    """Until neither of a run's two servers listens; the process that keeps them looks around every half second."""
    deadline = time.monotonic() + 120
    while any(listens("127.0.0.1", port + offset) for offset in (0, 10)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_run_is_killed_and_continued(tmp_path: Path) -> None:
    folder, port = tmp_path / "run", free_port()
    arguments = _carla(
        folder, port,
        **{"env.time_limit": 20, "training.env_steps": 120, "training.prefill": 20, "evaluation.every": 40},
    )  # fmt: skip
    target = "module.FinetuneLoop"
    run_until(arguments, "finetuning.loop", target, "_learn", 12)
    _continue_and_check(arguments, folder, port, 120)
    metadata = [line["metadata"] for line in read_jsonl(folder / "replay" / "index.jsonl")]
    assert all(line["lane"] in (-1, -2, -3, -4) for line in metadata)
    assert run([*arguments, "--set", f"env.port={port + 100}"]) == 0  # finished; another port is no other run


@pytest.mark.slow
def test_two_thousand_steps_of_the_tiny_preset(tmp_path: Path) -> None:
    folder, port = tmp_path / "run", free_port()
    own = {
        "method": "contextwm", "env.port": port, "env.server_command": command(), "env.time_limit": 250,
        "training.checkpoint_episodes": 1, "evaluation.random_episodes": 1, **PATIENCE,
    }  # fmt: skip
    words = [word for key, value in own.items() for word in ("--set", f"{key}={value}")]
    arguments = ["finetune", "--preset", "tiny", "--task", "carla/clear_noon", "--init", "none", "--run", str(folder)]
    arguments += words
    run_until(arguments, "finetuning.loop", "module.FinetuneLoop", "_learn", 200)
    _continue_and_check(arguments, folder, port, 2000)
