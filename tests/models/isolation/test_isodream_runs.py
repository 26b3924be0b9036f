"""Iso-Dream from the command line: exact resume after a kill, scores, prediction, sweeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipv_bench.checkpoint_index import latest_checkpoint
from ipv_bench.cli import run
from ipv_bench.plugins import plugin_names
from ipv_bench.run_record import read_record
from models.finetuning.config import resolve_finetuning
from models.methods.released_settings import departures
from tests.models.finetuning.finetune_runs import run_until
from tests.models.finetuning.test_finetune_resume import assert_equal_runs
from tests.models.isolation.small_isodream import SMALL

RUN = {
    **SMALL, "env.render_profile": "fast", "env.action_repeat": 8, "env.time_limit": 160, "envs.workers": 0,
    "evaluation.every": 320, "evaluation.episodes": 1, "evaluation.random_episodes": 2, "evaluation.video_episodes": 0,
    "training.env_steps": 640, "training.prefill": 40, "training.train_every": 5, "training.pretrain_updates": 2,
    "training.log_every": 3, "training.checkpoint_episodes": 1, "training.tensorboard": False,
    "training.stop_grace_seconds": 0,
}  # fmt: skip
"""20 agent steps an episode; 4 episodes, 2 of them prefill; 2 + 8 updates."""


def arguments(folder: Path, *extra: str) -> list[str]:
    sets = [word for key, value in RUN.items() for word in ("--set", f"{key}={value}")]
    return ["finetune", "--preset", "tiny", "--task", "dmc/cartpole_balance", "--run", str(folder), *sets, *extra]


def test_a_killed_run_goes_on_exactly_and_is_scored(tmp_path, capsys):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(arguments(whole)) == 0
    run_until(arguments(cut), "agents.agent", "module.Agent", "update", 8)
    assert latest_checkpoint(cut).name == "60"
    assert run(arguments(cut)) == 0
    assert_equal_runs(cut, whole)
    record = read_record(whole)
    assert (record.status, record.exact, record.method, record.display_name) == (
        "finished", True, "isodream", "Iso-Dream",
    )  # fmt: skip
    capsys.readouterr()
    assert run(["evaluate", str(whole), "--episodes", "1"]) == 0
    assert '"mean_return"' in capsys.readouterr().out
    kept = {path.suffix for path in (whole / "checkpoints").rglob("*") if path.is_file()}
    assert kept == {".json", ".safetensors"}  # no pickles


def test_there_is_nothing_to_start_from(tmp_path, capsys):
    assert run(arguments(tmp_path / "run", "--init", str(tmp_path))) == 2
    assert "without pre-training" in capsys.readouterr().err
    assert run(["pretrain", "--preset", "tiny", "--set", "method=isodream", "--dry-run"]) == 2
    assert "isodream" in capsys.readouterr().err


PAPERS_SUITES = ("dmc", "dmcr", "metaworld", "metaworld-remastered", "carla")


@pytest.mark.parametrize("preset", ["paper", "small", "tiny", "demo"])
def test_every_suite_has_a_preset_with_its_own_switches(preset):
    """`paper` is for the papers' suites; the others are for all."""
    looking = {}
    for suite in PAPERS_SUITES if preset == "paper" else plugin_names("suites"):
        parts = (f"{suite}-reach", suite)
        config = resolve_finetuning(preset, suite, parts=parts, overrides={"method": "isodream"}).config
        looking[suite] = (config.isolation.free_branch, config.isolation.use_free, config.isolation.window > 0)
        if preset == "paper":
            reasons = {key: setting.why for key, _, setting in departures(config, suite)}
            assert all(reasons.values()), (suite, reasons)
            assert suite not in ("dmc", "carla") or "behavior.critic_layers" not in reasons
    assert looking.pop("carla") == ("posterior", True, True)
    assert set(looking.values()) == {("predictive", False, False)}
