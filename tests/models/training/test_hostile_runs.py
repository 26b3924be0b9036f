"""Run folders that somebody made: `evaluate` refuses what stands in their records and states, by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ipv_bench.cli import run
from models.training.checkpoint import save_checkpoint

RECORD = {
    "format": 1, "kind": "finetune", "method": "dreamerv2", "seed": 0, "suite": "dmc", "task": "cartpole_balance",
    "preset": "tiny", "config": {},
}  # fmt: skip
AGENT = {"action_dim": 1, "updates": 0, "skipped": 0, "skipped_in_row": 0}


@pytest.mark.parametrize(
    ("record", "state", "words"),
    [
        ({"config": None}, {}, "run.json: config"),
        ({"config": {"env": None}}, {}, "env: Input should be"),
        ({"config": {"env": [1]}}, {}, "env: Input should be"),
        ({"suite": "../x"}, {}, "unknown task suite"),
        ({"method": "../x"}, {}, "unknown method"),
        ({"seed": "x"}, {}, "run.json: seed"),
        ({"format": 10**19}, {}, "run format"),
        ({}, {}, "state.json is not the state"),
        ({}, {"agent": None}, "state.json is not the state"),
        ({}, {"agent": AGENT | {"action_dim": [1]}}, "state.json is not the state"),
        ({}, {"agent": AGENT | {"action_dim": 10**9}}, "actions of size 1000000000"),
        ({}, {"agent": AGENT | {"action_dim": -1}}, "state.json is not the state"),
    ],
    ids=range(12),
)
def test_a_foreign_run_is_refused(tmp_path: Path, record, state, words: str, capsys) -> None:
    (tmp_path / "run.json").write_text(json.dumps(RECORD | record))
    save_checkpoint(tmp_path, 0, {"a": torch.zeros(1)}, {"b": torch.zeros(1)}, state)
    assert run(["evaluate", str(tmp_path), "--episodes", "1"]) == 2
    assert words in capsys.readouterr().err


def test_a_model_that_fits_into_no_memory_is_no_internal_error(tmp_path: Path, capsys) -> None:
    (tmp_path / "run.json").write_text(json.dumps(RECORD | {"config": {"rssm": {"hidden": 10**9, "deter": 10**9}}}))
    save_checkpoint(tmp_path, 0, {"a": torch.zeros(1)}, {"b": torch.zeros(1)}, {"agent": AGENT, "counters": {}})
    assert run(["evaluate", str(tmp_path)]) == 1
    assert "error: the memory is not enough" in capsys.readouterr().err
