"""Two processes that train one model, against one process that takes the two half batches in turn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ipv_bench.checkpoint_index import latest_checkpoint
from ipv_bench.cli import run
from ipv_bench.run_record import read_record
from models.pretraining.plan import plan_pretraining
from models.training.checkpoint import load_checkpoint
from tests.faults.record import record
from tests.models.pretraining.half_batches import train_on_halves
from tests.models.pretraining.small_pretraining import (
    SMALL,
    arguments,
    exit_code,
    learned,
    rank_environments,
    small_shard_set,
    start,
    weights,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return small_shard_set(tmp_path_factory.mktemp("shards") / "set")


def _two_ranks(command: list[str], kill_at: int = -1, victims: tuple[int, ...] = (0, 1)) -> list[int]:
    children = [
        start(command, kill_at=kill_at if rank in victims else -1, env=env)
        for rank, env in enumerate(rank_environments(2))
    ]
    return [exit_code(child) for child in children]


@pytest.fixture(scope="module")
def two_ranks(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "two"
    assert _two_ranks(arguments(data, folder, image__offset="half")) == [0, 0]
    return folder


def test_two_ranks_equal_two_half_batches_in_one_process(data: Path, two_ranks: Path) -> None:
    config = plan_pretraining("tiny", overrides=SMALL | {"image.offset": "half"}, data=[data]).config
    training = train_on_halves(config, seed=0)
    checkpoint = load_checkpoint(latest_checkpoint(two_ranks) or two_ranks)
    for name, parameter in training.model.named_parameters():
        assert torch.equal(checkpoint.model[name], parameter), name
    for name, moment in training.optimizer.state_tensors().items():
        assert torch.equal(checkpoint.optimizer[name], moment), name
    assert read_record(two_ranks).world_size == 2


def test_two_ranks_killed_and_continued_equal_uninterrupted(data: Path, two_ranks: Path, tmp_path: Path) -> None:
    command = arguments(data, tmp_path / "run", data__workers=2, image__offset="half")
    assert _two_ranks(command, kill_at=5) == [-signal.SIGKILL, -signal.SIGKILL]
    assert _two_ranks(command) == [0, 0]
    assert learned(tmp_path / "run") == learned(two_ranks)
    assert weights(tmp_path / "run") == weights(two_ranks)


@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_one_rank_killed_ends_the_other_in_our_words_and_the_run_goes_on(
    data: Path, two_ranks: Path, tmp_path: Path, victim: int
) -> None:
    command = arguments(data, tmp_path / "run", image__offset="half")
    status = _two_ranks(command, kill_at=5, victims=(victim,))
    assert status[victim] == -signal.SIGKILL
    assert status[1 - victim] == 1
    found = read_record(tmp_path / "run")
    if victim == 1:  # rank 0, which writes, lived on
        assert found.status == "failed"
        assert found.failure.startswith("rank 0 lost the connection")
    assert _two_ranks(command) == [0, 0]
    assert learned(tmp_path / "run") == learned(two_ranks)
    assert weights(tmp_path / "run") == weights(two_ranks)
    record(f"ddp {victim}", killed_rank=victim, other_rank_ended_with=status[1 - victim], equal_after_resume=True)


def test_another_number_of_ranks_goes_on_and_says_so(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = arguments(data, tmp_path / "run", validation__every=0)
    assert _two_ranks(command, kill_at=3) == [-signal.SIGKILL, -signal.SIGKILL]
    assert run(command) == 0
    assert "started with 2 processes and goes on with 1" in capsys.readouterr().out
    assert read_record(tmp_path / "run").world_size == 1


def test_under_torchrun(data: Path, tmp_path: Path) -> None:
    # As --standalone, without the name `localhost`, which a bare machine may not know.
    rendezvous = ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", *rendezvous, "--nproc-per-node", "2"]
    torchrun += ["-m", "ipv_bench", "--"]  # without "--", torchrun takes our --run for its own --run-path
    command = [*torchrun, *arguments(data, tmp_path / "run", training__updates=2)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=env)
    assert done.returncode == 0, done.stderr
    assert read_record(tmp_path / "run").world_size == 2


def test_a_batch_that_cannot_be_divided(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in rank_environments(2)[0].items():
        monkeypatch.setenv(name, value)
    assert run(arguments(data, tmp_path / "run", data__batch_size=3)) == 2
    assert "data.batch_size 3 cannot be divided among 2 ranks" in capsys.readouterr().err
