"""What a CUDA graph holds, computed here without one: the update that decides on the device equals the one of the host.

The recording itself needs a GPU: see test_on_a_gpu.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from ipv_bench.errors import ConfigError, TrainingError
from models import finetune, pretrain
from models.finetune import build_agent
from models.finetuning.config import resolve_finetuning
from models.pretrain import build_training
from models.pretraining.plan import plan_pretraining
from models.training import recorded_update
from models.training.hardware import check_cuda_graph, settled
from models.training.kept_values import KeptValues
from models.world_models.intrinsic_bonus import distances
from tests.models.agents.test_agent import batch_of, check_that_the_models_step_stays, small_agent
from tests.models.pretraining.small_pretraining import SMALL

EXACT = {"optimizer.lr": 2**-10, "optimizer.clip": 2.0**30}
"""A learning rate that float32 holds exactly, and no clipping, whose division rounds unlike the product."""


def frames(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (4, 6, 32, 32, 3), np.uint8)


def unrecorded(trainer: Any) -> Any:
    """The trainer with its whole update called as a graph would be: warmed up, then replayed."""

    def call(*inputs: Any) -> torch.Tensor:
        trainer.whole_update(torch.tensor(False), *inputs)
        return trainer.whole_update(torch.tensor(True), *inputs)

    trainer._recorded = call
    return trainer


def equal_states(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_pretraining_update_that_decides_on_the_device_is_the_same() -> None:
    torch.set_num_threads(1)
    plain = build_training("tiny", SMALL | EXACT)
    whole = unrecorded(build_training("tiny", SMALL | EXACT))
    for number in range(3):
        told = [trainer.step(frames(number)) for trainer in (plain, whole)]
        assert told[0] == pytest.approx(told[1], rel=1e-6)
    assert equal_states(plain.model.state_dict(), whole.model.state_dict())
    assert equal_states(plain.optimizer_tensors(), whole.optimizer_tensors())


def test_a_bad_pretraining_update_on_the_device_changes_nothing() -> None:
    torch.set_num_threads(1)
    whole = unrecorded(build_training("tiny", SMALL))
    whole.step(frames(0))
    before = {name: value.clone() for name, value in (whole.model.state_dict() | whole.optimizer_tensors()).items()}
    with torch.no_grad():
        saved = whole.model.vision.decoder.dense.bias[0].item()
        whole.model.vision.decoder.dense.bias[0] = float("inf")
    assert whole.step(frames(1)) == {"skipped": 1.0}
    with torch.no_grad():
        whole.model.vision.decoder.dense.bias[0] = saved
    assert equal_states(before, whole.model.state_dict() | whole.optimizer_tensors())


def test_an_agents_update_that_decides_on_the_device_is_the_same_and_a_bad_one_changes_nothing() -> None:
    torch.set_num_threads(1)
    behavior = {"behavior.actor_optimizer.lr": 2**-13, "behavior.critic_optimizer.lr": 2**-13}
    changes = EXACT | behavior | {"training.encoder_frozen_updates": 1, "behavior.slow_every": 2}
    plain, whole = small_agent(**changes), unrecorded(small_agent(**changes))
    for number in range(3):
        told = [agent.update(batch_of(number)) for agent in (plain, whole)]
        assert told[0] == pytest.approx(told[1], rel=1e-5)
    # The host clips actor and critic where their norms say so; the device divides, by one where they do not.
    for name, value in plain.model_tensors().items():
        torch.testing.assert_close(whole.model_tensors()[name], value, rtol=1e-6, atol=1e-6, msg=name)
    before = {name: value.clone() for name, value in (whole.model_tensors() | whole.optimizer_tensors()).items()}
    bad = batch_of(4)
    bad["reward"][0, 0] = np.nan
    assert whole.update(bad) == {"skipped_updates": 1.0}
    assert equal_states(before, whole.model_tensors() | whole.optimizer_tensors())
    # The critic's weights are bad, not the batch: the model's own step was applied, and nothing of it is taken back.
    sound = unrecorded(small_agent(**changes))
    for number in range(3):
        sound.update(batch_of(number))
    for agent in (sound, whole):
        agent.updates = 4
    check_that_the_models_step_stays(whole, sound, batch_of(4))


class RecordingFails:
    """Stands for a driver: what a recording asks of `torch.cuda` does nothing, and the recording itself fails."""

    def __init__(self, error: RuntimeError) -> None:
        self._error = error

    @contextmanager
    def graph(self, *_: Any, **__: Any) -> Iterator[None]:
        raise self._error
        yield

    @contextmanager
    def stream(self, _: Any) -> Iterator[None]:
        yield

    def __getattr__(self, name: str) -> Any:
        return MagicMock()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("operation not permitted when stream is capturing"), "cannot be recorded.*not permitted"),
        (torch.OutOfMemoryError("CUDA out of memory"), "no memory left for its CUDA graph"),
    ],
    ids=["not permitted", "memory"],
)
def test_a_graph_that_nobody_insisted_on_may_fail(
    error: RuntimeError, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recorded_update, "torch", SimpleNamespace(**vars(torch) | {"cuda": RecordingFails(error)}))
    total = torch.zeros(())

    def add(allowed: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        total.add_(torch.where(allowed, value, 0))
        return total.clone()

    with pytest.raises((TrainingError, torch.OutOfMemoryError)):
        recorded_update.RecordedUpdate(add)(torch.tensor(1.0))
    assert total == 0
    update = recorded_update.RecordedUpdate(add, optional=True)
    assert [update(torch.tensor(value)).item() for value in (1.0, 2.0, 4.0)] == [1, 3, 7]
    told = capsys.readouterr().out
    assert re.search(words, told)
    assert told.count("goes on without one") == 1


def test_what_cannot_be_recorded_is_refused_before_anything_runs() -> None:
    cuda = torch.device("cuda", 0)
    check_cuda_graph(cuda, "bf16")
    for device, precision, ranks, word in (
        (torch.device("cpu"), "fp32", 1, "CUDA device"),
        (cuda, "fp16", 1, "bf16"),
        (cuda, "fp32", 2, "one process"),
    ):
        with pytest.raises(ConfigError, match=word):
            check_cuda_graph(device, precision, ranks)
    graph = {"training.cuda_graph": True, "training.device": "cpu"}
    with pytest.raises(ConfigError, match="cuda_graph"):
        build_training("tiny", SMALL | graph)
    with pytest.raises(ConfigError, match="cuda_graph"):
        build_agent("tiny", graph, (64, 64, 3), 2)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_distances_by_products_in_float64_are_those_by_subtraction(generator: torch.Generator) -> None:
    rows = torch.rand(40, 128, generator=generator) * 10
    true = torch.cdist(rows.double(), rows.double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert torch.equal(distances(rows.double(), rows.double()), true)
    torch.testing.assert_close(distances(rows, rows), true.float(), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(
    ("device", "bf16", "ranks", "asked", "expected"),
    [
        ("cpu", False, 1, ("auto", "auto"), ("fp32", False)),
        ("cuda", True, 1, ("auto", "auto"), ("bf16", True)),
        ("cuda", False, 1, ("auto", "auto"), ("fp32", True)),
        ("cuda", True, 2, ("auto", "auto"), ("bf16", False)),
        ("cuda", True, 1, ("fp16", "auto"), ("fp16", False)),
        ("cuda", True, 1, ("fp32", False), ("fp32", False)),
    ],
)
def test_auto_is_settled_by_the_device(
    device: str, bf16: bool, ranks: int, asked: Any, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
    values = {"training.precision": asked[0], "training.cuda_graph": asked[1]}
    config = plan_pretraining("paper", overrides=values).config
    training = settled(config, torch.device(device), ranks).training
    assert (training.precision, training.cuda_graph) == expected


def test_where_no_graph_can_hold_an_update_auto_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    config = resolve_finetuning("tiny", "dmc", overrides={"method": "drqv2", "training.cuda_graph": "auto"}).config
    assert settled(config, torch.device("cuda")).training.cuda_graph is False
    # A trainer is left the word itself: it goes on without a graph where the recording fails.
    paper = plan_pretraining("paper").config
    assert settled(paper, torch.device("cuda"), graph_too=False).training.cuda_graph == "auto"


def test_every_training_asks_for_the_kernels_that_its_config_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    for module in (pretrain, finetune):
        monkeypatch.setattr(
            module, "prepare_torch", lambda device, threads, deterministic=False: asked.append(deterministic)
        )
    for wanted in (True, False):
        build_training("tiny", SMALL | {"training.deterministic": wanted})
        build_agent("tiny", {"training.deterministic": wanted}, (64, 64, 3), 2)
    assert asked == [True, True, False, False]


def test_paper_and_small_leave_it_to_the_device() -> None:
    for config in (
        plan_pretraining("paper").config,
        plan_pretraining("small").config,
        resolve_finetuning("paper", "metaworld", parts=("metaworld",)).config,
        resolve_finetuning("small", "dmc", parts=("dmc",)).config,
    ):
        assert (config.training.precision, config.training.cuda_graph) == ("auto", "auto")
    made = build_training("small", SMALL | {"training.device": "cpu"})
    assert (made.config.training.precision, made.config.training.cuda_graph) == ("fp32", False)


def test_a_warm_up_that_runs_out_of_memory_moves_no_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = RecordingFails(RuntimeError())
    monkeypatch.setattr(recorded_update, "torch", SimpleNamespace(**vars(torch) | {"cuda": cuda}))
    mean, calls = torch.zeros(()), []

    def update(allowed: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        calls.append(bool(allowed))
        mean.add_(value)  # as a batch norm does in the forward pass
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if not allowed:
            mean.sub_(value)  # what `restore_unless` does at the end of a pass that is not applied
        return mean.clone()

    kept = KeptValues([mean])
    recorded = recorded_update.RecordedUpdate(update, kept, optional=True)
    assert recorded(torch.tensor(3.0)) == 3
    assert calls == [False, False, True]
    with pytest.raises(torch.OutOfMemoryError):
        calls.clear()
        recorded_update.RecordedUpdate(update, kept)(torch.tensor(3.0))
    assert mean == 3
