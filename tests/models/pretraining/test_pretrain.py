"""Pre-training through the command line: what it leaves, exact resume after kill -9, interruption, NaN guard."""

from __future__ import annotations

import json
import os
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ipv_bench.checkpoint_index import checkpoint_steps
from ipv_bench.cli import run
from ipv_bench.errors import ShardSetError
from ipv_bench.run_lock import run_lock
from ipv_bench.run_record import read_record
from ipv_bench.segments import Segments
from models.pretrain import build_training
from models.pretraining.video_training import VideoTraining
from models.training.checkpoint import Checkpoint
from tests.models.pretraining.small_pretraining import (
    SMALL,
    arguments,
    exit_code,
    learned,
    small_shard_set,
    start,
    weights,
)
from tests.models.training.test_compiled_update import trace_only


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return small_shard_set(tmp_path_factory.mktemp("shards") / "set")


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "finished"
    assert run(arguments(data, folder)) == 0
    return folder


def test_where_the_data_end_what_was_learned_is_saved(
    data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = arguments(data, tmp_path / "run", training__checkpoint_every=100)
    step, read, done = VideoTraining.step, Segments.__getitem__, []

    def count(self: VideoTraining, batch: Any) -> dict[str, float]:
        done.append(self.updates)
        return step(self, batch)

    def read_some(self: Segments, i: int) -> Any:
        if len(done) == 5:
            raise ShardSetError("the server is away")
        return read(self, i)

    monkeypatch.setattr(VideoTraining, "step", count)
    monkeypatch.setattr(Segments, "__getitem__", read_some)
    assert run(command) != 0
    assert checkpoint_steps(tmp_path / "run") == [5]
    assert read_record(tmp_path / "run").status == "failed"
    assert "no batch after update 5: the state is saved" in capsys.readouterr().out
    assert run(command) != 0  # still away: nothing more is learned, nothing is lost
    monkeypatch.undo()
    assert run(command) == 0
    assert learned(tmp_path / "run") == learned(finished)
    assert weights(tmp_path / "run") == weights(finished)


def test_what_a_run_leaves(finished: Path) -> None:
    record = read_record(finished)
    assert (record.kind, record.method, record.status, record.world_size) == ("pretrain", "contextwm", "finished", 1)
    assert record.pretraining == {"kind": "video", "data": ["numbers"], "num_videos": None, "updates": 8}
    assert record.config["context"]["fusion"] == "cross_attention"
    assert record.shard_sets[0]["num_videos"] + record.shard_sets[0]["num_validation_videos"] == 16
    assert checkpoint_steps(finished) == [6, 8]
    lines = learned(finished)
    assert [line["updates"] for line in lines if "loss" in line] == [3, 6]
    validations = [line for line in lines if "open_loop_mse" in line]
    assert [line["updates"] for line in validations] == [0, 4, 8]
    for line in validations:
        assert len(line["open_loop_mse"]) == len(line["copy_last_mse"]) == 4
        assert line["copy_last_mse"] == validations[0]["copy_last_mse"]
    names = {path.name for path in (finished / "videos").iterdir()}
    assert {"prediction-000000008.png", "prediction-000000008-0.gif"} <= names


def test_a_finished_run_is_left_alone(data: Path, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert run(arguments(data, finished)) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*")}


def test_two_processes_never_train_in_one_folder(
    data: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with run_lock(finished):  # a finished run is only read: jobs that share one do not get in each other's way
        assert run(arguments(data, finished)) == 0
    with run_lock(tmp_path / "run"):
        assert run(arguments(data, tmp_path / "run")) == 2
        assert not list((tmp_path / "run").iterdir())  # it is the other process' folder, and stays
    assert "another process is training in" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_and_continued_equals_uninterrupted(data: Path, finished: Path, tmp_path: Path, workers: int) -> None:
    command = arguments(data, tmp_path / "run", data__workers=workers)
    assert exit_code(start(command, kill_at=5)) == -signal.SIGKILL
    assert checkpoint_steps(tmp_path / "run") == [2, 4]
    assert exit_code(start(command)) == 0
    assert learned(tmp_path / "run") == learned(finished)
    assert weights(tmp_path / "run") == weights(finished)


def test_sigterm_saves_and_exits_130(
    data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = VideoTraining.step

    def step(self: VideoTraining, batch: Any) -> dict[str, float]:
        if self.updates == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, batch)

    command = arguments(data, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(VideoTraining, "step", step)
        assert run(command) == 130
    assert checkpoint_steps(tmp_path / "run")[-1] == 5
    assert read_record(tmp_path / "run").status == "interrupted"
    assert run(command) == 0
    assert learned(tmp_path / "run") == learned(finished)
    assert weights(tmp_path / "run") == weights(finished)


def test_a_skipped_update_changes_nothing_but_the_counters() -> None:
    training = build_training("tiny", SMALL | {"data.batch_size": 2})
    batch = np.random.default_rng(0).integers(0, 256, (2, 6, 32, 32, 3), np.uint8)
    assert training.step(batch)["skipped"] == 0
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    moments = {name: value.clone() for name, value in training.optimizer.state_tensors().items()}
    weight = training.model.vision.scaling.offset
    weight.fill_(float("nan"))
    assert training.step(batch) == {"skipped": 1.0}
    weight.fill_(0.5)
    assert (training.updates, training.skipped, training.skipped_in_row) == (2, 1, 1)
    after = training.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(torch.equal(value, training.optimizer.state_tensors()[name]) for name, value in moments.items())
    assert training.step(batch)["skipped"] == 0
    assert training.skipped_in_row == 0


def test_ten_updates_in_a_row_that_are_not_finite_stop_the_run(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = arguments(data, tmp_path / "run", optimizer__lr=1e30, training__updates=30, validation__every=0)
    assert run(command) == 1
    captured = capsys.readouterr()
    assert "10 updates in a row" in captured.err
    assert "lower optimizer.lr" in captured.err
    assert "(segments " in captured.out
    assert read_record(tmp_path / "run").status == "failed"
    assert sum("skipped_segments" in line for line in learned(tmp_path / "run")) >= 9


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others() -> None:
    batch = np.random.default_rng(0).integers(0, 256, (2, 6, 32, 32, 3), np.uint8)
    losses = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(losses))  # torch's global generator must not matter
        training = build_training("tiny", SMALL, seed)
        losses.append([training.step(batch)["loss"] for _ in range(2)])
    assert losses[0] == losses[1] != losses[2]


def test_mixed_precision_on_the_cpu_is_near_fp32() -> None:
    batch = np.random.default_rng(0).integers(0, 256, (2, 6, 32, 32, 3), np.uint8)
    full = build_training("tiny", SMALL).step(batch)
    half = build_training("tiny", SMALL | {"training.precision": "bf16"}).step(batch)
    assert half["image_loss"] == pytest.approx(full["image_loss"], rel=0.05)


def test_the_compiled_step_is_one_graph_with_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = np.random.default_rng(0).integers(0, 256, (2, 6, 32, 32, 3), np.uint8)
    trace_only(monkeypatch)
    plain, compiled = build_training("tiny", SMALL), build_training("tiny", SMALL | {"training.compile": True})
    for _ in range(2):
        assert compiled.step(batch)["loss"] == pytest.approx(plain.step(batch)["loss"], rel=1e-5)


def test_a_loss_scale_changes_nothing_and_its_search_is_counted_apart() -> None:
    batch = np.random.default_rng(0).integers(0, 256, (2, 6, 32, 32, 3), np.uint8)
    plain, scaled = (build_training("tiny", SMALL) for _ in range(2))
    scaled.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4)
    assert plain.step(batch) == scaled.step(batch)
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, scaled.model.state_dict()[name]), name
    scaled.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126)  # overflows: halved until it fits
    found = scaled.step(batch)
    assert found == {"skipped": 0.0, "scale_skipped": 1.0}
    assert (scaled.scale_skips, scaled.skipped, scaled.scaler.get_scale()) == (1, 0, 2.0**125)
    restored = build_training("tiny", SMALL)
    restored.scaler = torch.amp.GradScaler("cpu")
    restored.restore(Checkpoint(Path(), 2, scaled.model.state_dict(), scaled.optimizer.state_tensors(), scaled.state()))
    assert (restored.scaler.get_scale(), restored.scale_skips) == (2.0**125, 1)


def test_mirrors_hold_what_the_log_holds(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    command = arguments(data, tmp_path / "run", training__tensorboard=True, training__updates=3)
    assert run(command) == 0
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    logged = next(line for line in learned(tmp_path / "run") if "loss" in line)
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(3, pytest.approx(logged["loss"]))]
    if find_spec("wandb") is None:
        assert run([*arguments(data, tmp_path / "other", training__wandb="project")]) == 2
        assert "[tracking]'" in capsys.readouterr().err


def test_assembled_sets_and_subsets(data: Path, tmp_path: Path) -> None:
    other = small_shard_set(tmp_path / "other", name="others", encoding="raw")
    command = arguments(
        data, tmp_path / "run", data__num_videos=3, data__weights=[1, 3], data__labels=["label0", "label1"],
        training__updates=1,
    )  # fmt: skip
    assert run([*command, "--data", str(other)]) == 0
    record = read_record(tmp_path / "run")
    assert record.pretraining["data"] == ["numbers", "others"]
    assert [entry["num_videos"] for entry in record.shard_sets] == [3, 3]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["data"]["weights"] == [1.0, 3.0]
