"""A command that is refused before it starts plays nothing, writes nothing, and stands in the way of no mended one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

import models.finetune
from ipv_bench.checkpoint_index import latest_checkpoint
from ipv_bench.cli import run
from ipv_bench.errors import ConfigError, RunError
from ipv_bench.run_record import EVALUATIONS_FILE, METRICS_FILE, RunRecord, read_record, write_record
from models.finetune import build_agent
from models.finetuning.plan import plan_finetuning
from models.training.begun_run import has_begun, take_back
from models.training.checkpoint import save_checkpoint
from models.world_models.video import VideoWorldModel
from tests.models.finetuning.finetune_runs import SMALL, TASK, command_line
from tests.models.pretraining.small_pretraining import arguments, small_shard_set
from tests.models.read_settings import read_agent


def parent(folder: Path, **changes: Any) -> Path:
    """A pre-training run whose checkpoint does not say what it was trained as."""
    config = build_agent("tiny", {**SMALL, "method": "contextwm", **changes}, None, 1).config
    save_checkpoint(folder, 5, VideoWorldModel(config).state_dict(), {}, {})
    record = RunRecord(
        kind="pretrain", method="contextwm", seed=0, preset="tiny", config={},
        pretraining={"kind": "video", "data": ["ssv2"], "num_videos": 3, "updates": 5},
    )  # fmt: skip
    write_record(folder, record)
    return folder


def truncated(folder: Path) -> Path:
    path = latest_checkpoint(parent(folder))
    assert path is not None
    os.truncate(path / "model.safetensors", 1000)
    return folder


def naive(folder: Path) -> Path:
    """A fine-tuning run whose one RSSM went on with actions: its model has no action-free one."""
    agent: Any = build_agent("tiny", read_agent({**SMALL, "method": "contextwm", "finetuning": "naive"}), None, 1)
    save_checkpoint(folder, 5, agent.model_tensors(), {}, {})
    record = RunRecord(kind="finetune", method="contextwm", seed=0, suite="dmc", task="cartpole_balance",
                       preset="tiny", config={})  # fmt: skip
    write_record(folder, record)
    return folder


def adapted(folder: Path) -> Path:
    """A model that learned under actions, from a run of its own."""
    record = read_record(parent(folder))
    write_record(folder, record.model_copy(update={"kind": "adapt", "parent": {"run": "runs/pretrain/ssv2/apv/seed0"}}))
    return folder


REFUSED: dict[str, tuple[Any, tuple[str, ...], str]] = {
    "a truncated parent": (truncated, (), "is truncated"),
    "a parent of another size that does not say so": (
        lambda folder: parent(folder, **{"rssm.hidden": 9}), (), "instead of",
    ),
    "a model that went on with its one RSSM": (naive, (), "action_free_rssm"),
    "a model that learned under actions": (
        adapted, (), "start from the run that it was adapted from: --init 'runs/pretrain/ssv2/apv/seed0'",
    ),
    "heads that divide nothing": (None, ("--set", "context.heads=3"), "context.heads=3"),
    "more actions than columns": (
        None, ("--task", "dmc/humanoid_CMU_stand"), "--set rssm.action_dim=56",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_start_plays_nothing_and_leaves_nothing(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make, words, message = REFUSED[case]
    played: list[Any] = []
    monkeypatch.setattr(models.finetune, "random_policy_scores", lambda *given: played.append(given) or {})
    init = "none" if make is None else str(make(tmp_path / "parent"))
    before = sorted(tmp_path.iterdir())
    assert run(command_line(tmp_path / "runs" / "one", *words, init=init)) == 2
    assert message in capsys.readouterr().err
    assert not played
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["manifest.json", "analysis.json", "record.json"])
def test_no_run_begins_in_a_folder_of_something_else(name: str, tmp_path: Path, capsys: Any) -> None:
    for command in ("finetune", "pretrain"):
        out = tmp_path / command
        out.mkdir()
        (out / name).write_text("{}")
        (out / "metrics.jsonl").write_text("")
        line = command_line(out) if command == "finetune" else arguments(small_shard_set(tmp_path / "set"), out)
        assert run(line) == RunError.exit_status
        assert f"it holds {name}" in capsys.readouterr().err
        assert sorted(path.name for path in out.iterdir()) == sorted([name, "metrics.jsonl"])


def test_a_start_that_is_not_finished_is_told_beside_the_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = parent(tmp_path / "parent")
    write_record(folder, read_record(folder).model_copy(update={"config": {"training": {"updates": 9}}}))
    command = command_line(tmp_path / "run", "--dry-run", init=str(folder))
    assert run(command) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["pretraining"] == "video"  # a program reads it: whatever is told stands elsewhere
    assert f"{folder}, which the run starts from, is running (its checkpoint: 5 of 9 updates)" in said.err
    write_record(folder, read_record(folder).model_copy(update={"status": "finished"}))
    assert run(command) == 0
    assert "starts from" not in capsys.readouterr().err


def left(folder: Path, *, status: str = "failed", updates: int | None = None, env_steps: int | None = None) -> Path:
    """A run that started from a model of two heads and ended before it did anything, a line of its log apart."""
    plan = plan_finetuning("tiny", TASK, overrides={**SMALL, "method": "contextwm"}, init="none", run=folder)
    origin = {"parent": {"checkpoint": "elsewhere/checkpoints/5", "checkpoint_sha256": "0" * 64}, "status": status}
    folder.mkdir()
    write_record(folder, plan.record.model_copy(update=origin))
    line = {"updates": updates} if env_steps is None else {"env_steps": env_steps}
    (folder / METRICS_FILE).write_text("" if line == {"updates": None} else json.dumps(line) + "\n")
    (folder / EVALUATIONS_FILE).touch()
    return folder


@pytest.mark.parametrize(
    ("found", "begun"),
    [
        ({}, False),
        ({"status": "running"}, False),  # killed
        ({"updates": 0}, False),  # a validation of the model as it came
        ({"updates": 3}, True),
        ({"env_steps": 160}, True),
        ({"status": "finished"}, True),
    ],
)
def test_a_run_that_made_nothing_binds_nobody(tmp_path: Path, found: dict[str, Any], begun: bool) -> None:
    folder = left(tmp_path / "run", **found)
    assert has_begun(folder) == begun

    def mended() -> None:
        changes = {**SMALL, "method": "contextwm", "context.heads": 1}
        plan = plan_finetuning("tiny", TASK, overrides=changes, init="none", run=folder)
        assert not models.finetune._is_finished(plan)

    if begun:
        with pytest.raises(RunError, match="started from elsewhere"):
            mended()
    else:
        mended()


def test_a_run_that_is_taken_back_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    folder = left(tmp_path / "run", updates=0)
    for name in ("videos/prediction-000000000-1.gif", "pairs_before/analysis.json", "pairs_before/arrays.npz"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (folder / "videos" / "notes.txt").touch()
    assert take_back(folder)
    assert [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()] == ["videos/notes.txt"]
    assert not (folder / "pairs_before").exists()


def test_a_checkpoint_binds_also_one_that_was_being_saved(tmp_path: Path) -> None:
    folder = left(tmp_path / "run")
    (folder / "checkpoints" / ".40.123.tmp").mkdir(parents=True)
    assert has_begun(folder)
    assert not has_begun(tmp_path)


def test_a_mended_command_starts_where_a_failed_one_left_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = left(tmp_path / "run")
    trained: list[Any] = []

    def train(plan: Any, record: Any, agent: Any) -> list[str]:
        trained.append((record, agent))
        return []

    monkeypatch.setattr(models.finetune, "_train", train)
    assert run(command_line(folder, "--set", "context.heads=1", "--set", "evaluation.random_episodes=1")) == 0
    ((record, agent),) = trained
    assert record.config["context"]["heads"] == agent.config.context.heads == 1
    assert record.parent == {}
    assert read_record(folder).config["context"]["heads"] == 1


WIDEST = {
    "dmc": 56, "dmcr": 6, "metaworld": 4, "metaworld-remastered": 4, "robosuite": 14, "carla": 2, "highway": 2,
}  # fmt: skip
"""Action components of each suite's widest task; `test_every_task` holds every task against it."""


@pytest.mark.parametrize("suite", WIDEST)
@pytest.mark.parametrize("method", ["contextwm", "prelar", "dreamerv2"])
def test_an_agent_is_made_for_the_widest_task_of_each_suite(suite: str, method: str) -> None:
    torch.set_num_threads(1)
    wide, changes = WIDEST[suite], read_agent({**SMALL, "method": method})
    if method == "contextwm" and wide > 50:
        with pytest.raises(ConfigError, match=r"56 components, rssm\.action_dim is 50") as caught:
            build_agent("tiny", changes, None, wide)
        assert "rssm.action_dim=56" in caught.value.fix
        changes["rssm.action_dim"] = wide
    agent = build_agent("tiny", changes, None, wide)
    assert agent.act({"image": torch.zeros(64, 64, 3, dtype=torch.uint8).numpy(), "is_first": True}).shape == (wide,)
