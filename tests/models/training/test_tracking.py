"""Mirrors of metrics: one W&B id per run, what is not installed is refused first, no event twice after a resume."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from ipv_bench.cli import run
from ipv_bench.errors import MissingDependencyError
from ipv_bench.run_record import RunRecord, read_jsonl, read_record, write_record
from models.finetune import _start_record, finetune
from models.finetuning.plan import plan_finetuning
from models.pretrain import pretrain
from models.pretraining.config import resolve_pretraining
from models.pretraining.run_keeping import start_record
from models.training.tracking import TENSORBOARD_FOLDER, MetricMirrors, wandb_id
from tests.models.finetuning.finetune_runs import SMALL, TASK, command_line, run_until
from tests.models.read_settings import read_finetuning

SHORT = ("--set", "training.env_steps=640", "--set", "training.pretrain_updates=1")


def test_a_project_without_the_package_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr("models.training.tracking.find_spec", lambda name: None)
    folder = tmp_path / "runs" / "one"
    options = read_finetuning({**SMALL, "method": "dreamerv2", "training.wandb": "mine"})
    with pytest.raises(MissingDependencyError, match="wandb"):
        finetune("tiny", TASK, overrides=options, run=folder)
    with pytest.raises(MissingDependencyError, match="wandb"):
        pretrain(preset="tiny", overrides={"training.wandb": "mine"}, run=folder, data=[tmp_path])
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_a_refused_command_made_is_removed_and_one_that_was_there_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    for folder in (tmp_path / "runs" / "deep" / "one", tmp_path / "mine"):
        assert run(command_line(folder, "--set", "env.time_limit=100000")) == 2
        assert "env.time_limit" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_each_run_has_an_id_of_its_own_and_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict] = []
    fake = types.SimpleNamespace(init=lambda **options: started.append(options) or fake, log=lambda *_, **__: None,
                                 finish=lambda: None)  # fmt: skip
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr("models.training.tracking.find_spec", lambda name: object())
    record = plan_finetuning("tiny", TASK, overrides={"method": "dreamerv2"}, run=tmp_path / "none").record
    ids = {wandb_id("project", record)["wandb_id"] for _ in range(100)}
    assert len(ids) == 100
    assert wandb_id("", record) == {}
    kept = record.model_copy(update={"wandb_id": "a1"})
    assert wandb_id("project", kept) == wandb_id("", kept) == {"wandb_id": "a1"}
    for run_id in ("a1", "a1", ""):
        MetricMirrors(tmp_path, tensorboard=False, wandb_project="project", config={}, wandb_id=run_id).close()
    assert [options["id"] for options in started] == ["a1", "a1", None]  # None: W&B draws one


def test_a_run_that_gets_a_project_when_it_goes_on_gets_an_id_of_its_own(tmp_path: Path) -> None:
    """In folders of one name: their names make no ids."""
    found = []
    for place in ("a", "b"):
        folder = tmp_path / place / "run"
        project = {"training.wandb": "project"}
        plan = plan_finetuning("tiny", TASK, overrides={"method": "dreamerv2"}, run=folder)
        (folder / "checkpoints" / "40").mkdir(parents=True)
        write_record(folder, plan.record)
        plan = plan_finetuning("tiny", TASK, overrides={"method": "dreamerv2", **project}, run=folder)
        record, agent = _start_record(plan)
        assert agent is None  # it goes on
        found.append(read_record(folder).model_extra["wandb_id"])
        assert _start_record(plan)[0].model_extra == record.model_extra
        pretrained = resolve_pretraining("tiny", overrides=project).config.model_dump(mode="json")
        before = RunRecord(kind="pretrain", method="contextwm", seed=0, preset="tiny", config={})
        again = start_record(folder, before, before.model_copy(update={"config": pretrained}))
        found.append(again.model_extra["wandb_id"])
    assert len(set(found)) == 4


def test_a_run_that_was_killed_before_its_first_checkpoint_shows_no_event_twice(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    for values in ((1.0, 2.0), (1.0, 2.0, 3.0)):  # from the beginning, both times
        mirrors = MetricMirrors(tmp_path, tensorboard=True, wandb_project="", config={}, resumed_from=0)
        for step, value in enumerate(values):
            mirrors.log(160 * step, {"train_return": value})
        mirrors.close()
    assert events(tmp_path, "train_return") == [(0, 1.0), (160, 2.0), (320, 3.0)]


def events(folder: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / TENSORBOARD_FOLDER))
    found.Reload()
    return [(event.step, event.value) for event in found.Scalars(tag)]


@pytest.mark.slow
def test_a_resumed_run_shows_each_evaluation_once(tmp_path: Path) -> None:
    """Killed after the evaluation that follows a checkpoint at the same step: it is played again."""
    pytest.importorskip("tensorboard")
    folder = tmp_path / "run"
    arguments = command_line(
        folder, *SHORT, "--set", "training.tensorboard=true", "--set", "training.checkpoint_episodes=1"
    )
    run_until(arguments, "finetuning.loop", "module.FinetuneLoop", "_train_round", 2)
    assert run(arguments) == 0
    lines = list(read_jsonl(folder / "evaluations.jsonl"))
    shown = events(folder, "evaluation_return")
    assert [step for step, _ in shown] == [line["env_steps"] for line in lines]
    assert [value for _, value in shown] == pytest.approx([line["returns"][0] for line in lines], rel=1e-5)
    returns = [line for line in read_jsonl(folder / "metrics.jsonl") if "train_return" in line]
    assert [step for step, _ in events(folder, "train_return")] == [line["env_steps"] for line in returns]


def test_a_half_precision_run_is_played_in_fp32_where_there_is_no_gpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    folder = tmp_path / "run"
    assert run(command_line(folder, *SHORT[2:], "--set", "training.env_steps=320", method="apv")) == 0
    record = read_record(folder)
    training = {**record.config["training"], "precision": "fp16"}
    write_record(folder, record.model_copy(update={"config": {**record.config, "training": training}}))
    capsys.readouterr()
    assert run(["evaluate", str(folder), "--episodes", "1"]) == 0
    told = capsys.readouterr()
    assert "trained in fp16" in told.out + told.err
    assert "played in fp32" in told.out + told.err
