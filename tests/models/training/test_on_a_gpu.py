"""Training on a GPU: resume, skipped updates, half precision, graphs and compiled updates, one process of DDP.

Skipped unless `IPV_BENCH_DEVICE` names a CUDA device: `IPV_BENCH_DEVICE=cuda pytest tests/models/training`.
The published references run there too (tests/models/published/test_published_parity.py).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.agents.agent import Agent
from models.pretrain import build_training
from models.training.checkpoint import load_checkpoint, save_checkpoint
from models.training.hardware import choose_device, prepare_torch
from tests.models.agents.test_agent import batch_of, equal, small_agent
from tests.models.pretraining.small_pretraining import SMALL, rank_environments

DEVICE = os.environ.get("IPV_BENCH_DEVICE", "")
pytestmark = pytest.mark.skipif(
    not (DEVICE.startswith("cuda") and torch.cuda.is_available()), reason="IPV_BENCH_DEVICE names no CUDA device"
)
GRAPH = {"training.cuda_graph": True}
COMPILE = {"training.compile": True}
BF16 = {"training.precision": "bf16"}


@pytest.fixture(autouse=True)
def _exact_kernels() -> Any:
    """What the configs below ask for is taken back; nothing else sets it."""
    prepare_torch(choose_device(DEVICE), 0)
    yield
    torch.use_deterministic_algorithms(False)


def training(**changes: Any) -> Any:
    return build_training("tiny", SMALL | {"training.device": DEVICE, "training.deterministic": True} | changes)


def agent(**changes: Any) -> Agent:
    own = {"training.device": DEVICE, "training.deterministic": True, "training.encoder_frozen_updates": 1}
    return small_agent(**(own | changes))


def frames(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (4, 6, 32, 32, 3), np.uint8)


def steps(made: Any, first: int, end: int) -> list[float]:
    """Losses of updates `first` … `end` - 1."""
    if isinstance(made, Agent):
        return [made.update(batch_of(number))["model_loss"] for number in range(first, end)]
    return [made.step(frames(number))["loss"] for number in range(first, end)]


def state(made: Any) -> dict[str, torch.Tensor]:
    values = made.model_tensors() if isinstance(made, Agent) else made.model.state_dict()
    return {name: value.clone() for name, value in (values | made.optimizer_tensors()).items()}


def saved(made: Any, folder: Path) -> Any:
    """The checkpoint of a trainer, read back."""
    if isinstance(made, Agent):
        model, kept = made.model_tensors(), {"agent": made.state()}
    else:
        model, kept = made.model.state_dict(), made.state()
    return load_checkpoint(save_checkpoint(folder, made.updates, model, made.optimizer_tensors(), kept))


@pytest.mark.parametrize("make", [training, agent])
def test_the_config_alone_brings_deterministic_kernels(make: Any) -> None:
    make(**{"training.deterministic": False})
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark
    make()
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark


@pytest.mark.parametrize("make", [training, agent])
@pytest.mark.parametrize("changes", [{}, GRAPH], ids=["eager", "graph"])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(make: Any, changes: dict[str, Any], tmp_path: Path) -> None:
    whole, first = make(**changes), make(**changes)
    steps(whole, 0, 6)
    steps(first, 0, 3)
    checkpoint, second = saved(first, tmp_path), make(**changes)
    steps(second, 5, 6)  # what it did before is forgotten, a recorded graph included
    second.restore(checkpoint) if hasattr(second, "restore") else second.load(checkpoint)
    steps(second, 3, 6)
    assert equal(state(whole), state(second))


@pytest.mark.parametrize("make", [training, agent])
@pytest.mark.parametrize("precision", [{}, BF16], ids=["fp32", "bf16"])
def test_a_recorded_update_is_the_eager_one(make: Any, precision: dict[str, Any]) -> None:
    eager, recorded = make(**precision), make(**precision, **GRAPH)
    assert steps(recorded, 0, 1) == pytest.approx(steps(eager, 0, 1), rel=1e-6)
    assert steps(recorded, 1, 6) == pytest.approx(steps(eager, 1, 6), rel=1e-3)


@pytest.mark.parametrize("make", [training, agent])
@pytest.mark.parametrize("changes", [{}, GRAPH], ids=["eager", "graph"])
def test_the_gpu_computes_what_the_cpu_computes(make: Any, changes: dict[str, Any]) -> None:
    """Draws differ between devices, so the GPU's are forced on the CPU."""
    there, here = make(**changes), make(**{"training.device": "cpu"})
    if isinstance(there, Agent):
        here.model.draw = lambda *a: _to_cpu(there.model.draw(*a[:2], there._generator("world model")))
        here.behavior.draw = lambda count, rssm, _: _to_cpu(
            there.behavior.draw(count, there.model.rssm, there._generator("behavior"))
        )
    else:
        here.draw = lambda *a: _to_cpu(there.draw(*a))
    for number in range(3):
        here_loss = steps(here, number, number + 1)  # before the GPU's counter moves on
        assert steps(there, number, number + 1) == pytest.approx(here_loss, rel=2e-4)


def _to_cpu(draws: Any) -> Any:
    return torch.utils._pytree.tree_map(lambda v: v.cpu() if isinstance(v, torch.Tensor) else v, draws)


@pytest.mark.parametrize("changes", [{}, GRAPH], ids=["eager", "graph"])
def test_a_bad_update_changes_nothing(changes: dict[str, Any]) -> None:
    made = agent(**changes)
    steps(made, 0, 2)
    before = state(made)
    bad = batch_of(4)
    bad["reward"][0, 0] = np.nan
    assert made.update(bad) == {"skipped_updates": 1.0}
    assert equal(before, state(made))
    video = training(**changes)
    steps(video, 0, 2)
    bias = video.model.vision.decoder.dense.bias
    with torch.no_grad():
        bias[0] = float("inf")
    before = state(video)
    assert video.step(frames(3)) == {"skipped": 1.0}
    assert equal(before, state(video))


@pytest.mark.parametrize("make", [training, agent])
def test_fp16_finds_its_loss_scale_and_trains(make: Any) -> None:
    made = make(**{"training.precision": "fp16"})
    # The scale starts at 65536 and is halved by every update that overflows.
    told = [made.update(batch_of(n % 3)) if isinstance(made, Agent) else made.step(frames(n % 3)) for n in range(40)]
    found = [values.get("model_loss", values.get("loss")) for values in told]
    assert None not in found[30:]
    assert np.isfinite(found[30:]).all()
    assert np.mean(found[-3:]) < next(value for value in found if value is not None)


@pytest.mark.parametrize("make", [training, agent])
def test_bf16_stays_close_to_fp32(make: Any) -> None:
    full, half = steps(make(), 0, 6), steps(make(**BF16), 0, 6)
    assert half[0] == pytest.approx(full[0], rel=1e-2)
    assert sum(half) == pytest.approx(sum(full), rel=3e-2)


@pytest.mark.parametrize("make", [training, agent])
@pytest.mark.parametrize("changes", [COMPILE, COMPILE | GRAPH], ids=["compiled", "compiled graph"])
def test_a_compiled_update_is_the_eager_one(make: Any, changes: dict[str, Any]) -> None:
    eager, compiled = make(), make(**changes)
    assert steps(compiled, 0, 1) == pytest.approx(steps(eager, 0, 1), rel=1e-4)
    assert steps(compiled, 1, 5) == pytest.approx(steps(eager, 1, 5), rel=1e-2)
    assert compiled.updates == 5


def test_one_process_of_ddp_is_the_single_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in rank_environments(1)[0].items():
        monkeypatch.setenv(name, value)
    alone = training()
    expected = steps(alone, 0, 3)
    torch.distributed.init_process_group("nccl")
    try:
        made = training()
        made._forward = torch.nn.parallel.DistributedDataParallel(made.model, device_ids=[made.device.index])
        assert steps(made, 0, 3) == pytest.approx(expected, rel=1e-6)
    finally:
        torch.distributed.destroy_process_group()
