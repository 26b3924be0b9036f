"""Which device a run computes on, and in which arithmetic."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from ipv_bench.allocator import keep_freed_memory
from ipv_bench.compilers import FIX, compiler_problem
from ipv_bench.config import ConfigT
from ipv_bench.cpu_bf16 import INSTRUCTIONS, bf16_instructions
from ipv_bench.errors import ConfigError, UnknownNameError
from ipv_bench.progress import say_aside
from ipv_bench.run_record import host_hardware
from models.training.config import LoopConfig

DTYPE = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device called `name`: cpu, cuda, cuda:N, or auto (CUDA where there is one).

    Args:
        name: as in the config.
        local_rank: GPU of this process under torchrun, for `cuda` and `auto`.

    Raises:
        UnknownNameError: no such kind of device.
        ConfigError: there is no such GPU here.
    """
    kind, _, number = name.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and not number.isdigit()) or (number and kind != "cuda"):
        raise UnknownNameError("device", name, ["auto", "cpu", "cuda", "cuda:0"])
    if kind == "cpu" or (kind == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    index, count = int(number or local_rank), torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        raise ConfigError(
            f"training.device is {name!r}, but torch {torch.__version__} finds {count} CUDA devices here",
            expected="a device that is there",
            fix="use --set training.device=cpu, or install a CUDA build of torch (`ipv-bench doctor` shows the GPU)",
        )
    return torch.device("cuda", index)


def settled(config: ConfigT, device: torch.device, world_size: int = 1, *, graph_too: bool = True) -> ConfigT:
    """A config whose section `training` has no `auto` left for arithmetic and graphs: what they are on this device.

    Args:
        config: with a section `training`.
        device: where the run computes.
        world_size: processes of the run.
        graph_too: false leaves `cuda_graph: auto`, for a trainer: it goes on without a graph where nobody insisted on
            one and the recording fails.
    """
    training: LoopConfig = config.training  # type: ignore[attr-defined]
    cuda = device.type == "cuda"
    precision, graph = training.precision, training.cuda_graph
    if precision == "auto":
        precision = "bf16" if cuda and torch.cuda.is_bf16_supported() else "fp32"
    if graph == "auto" and graph_too:
        graph = cuda and training.recordable and world_size == 1 and precision != "fp16"
    found = training.model_copy(update={"precision": precision, "cuda_graph": graph})
    return config.model_copy(update={"training": found})


def check_precision(device: torch.device, precision: str) -> None:
    """Refuse an arithmetic that the device does not have.

    Raises:
        ConfigError: fp16 away from CUDA, or bf16 on a GPU without it.
    """
    if precision == "fp16" and device.type != "cuda":
        raise ConfigError(
            "training.precision is fp16, which needs a CUDA device",
            expected=f"fp32 or bf16 on {device.type}",
            fix="use --set training.precision=fp32",
        )
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ConfigError(
            f"training.precision is bf16, which {torch.cuda.get_device_name(device)} does not have",
            expected="fp16 or fp32 on this GPU",
            fix="use --set training.precision=fp16",
        )


def warn_of_imitated_bf16(device: torch.device, precision: str) -> None:
    """Say where bf16 is computed by way of fp32: on a processor without instructions for it, which makes it slower."""
    if precision == "bf16" and device.type == "cpu" and not bf16_instructions():
        say_aside(
            f"warning: training.precision is bf16, and this processor has no instructions for it "
            f"({' or '.join(INSTRUCTIONS.values())}): it is computed by way of fp32, which takes longer than fp32; "
            "use --set training.precision=fp32 for a new run"
        )


def check_compile() -> None:
    """Refuse `training.compile` where nothing can be compiled: before anything runs, not after its first minutes.

    Raises:
        ConfigError: no C++ compiler, or no headers of Python.
    """
    problem = compiler_problem()
    if problem:
        raise ConfigError(
            f"training.compile is true, and there is {problem}",
            expected="what torch.compile builds its kernels with",
            fix=f"{FIX}; or use --set training.compile=false",
        )


def check_sync_batch_norm(device: torch.device) -> None:
    """Refuse `training.sync_batch_norm` where torch has none.

    Raises:
        ConfigError: no CUDA device.
    """
    if device.type != "cuda":
        raise ConfigError(
            f"training.sync_batch_norm is true, and the run computes on {device.type}",
            expected="a CUDA device: torch takes batch statistics over several processes there alone",
            fix="leave training.sync_batch_norm out",
        )


def check_cuda_graph(device: torch.device, precision: str, world_size: int = 1) -> None:
    """Refuse `training.cuda_graph` where an update cannot be recorded.

    Raises:
        ConfigError: no CUDA device, fp16 (its loss scale is decided by the host), or several processes.
    """
    where = "training.cuda_graph is true"
    if device.type != "cuda":
        raise ConfigError(
            f"{where}, and the run computes on {device.type}",
            expected="a CUDA device: nothing else has such graphs",
            fix="use --set training.cuda_graph=false",
        )
    if precision == "fp16":
        raise ConfigError(
            f"{where}, with training.precision=fp16, whose loss scale the host decides between kernels",
            expected="bf16 or fp32",
            fix="use --set training.precision=bf16, or training.cuda_graph=false",
        )
    if world_size > 1:
        raise ConfigError(
            f"{where}, in a run of {world_size} processes",
            expected="one process",
            fix="use --set training.cuda_graph=false",
        )


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Context in which the networks compute in `precision`; parameters stay fp32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, DTYPE[precision])


def prepare_torch(device: torch.device, threads: int, deterministic: bool = False) -> None:
    """Set the process-wide switches of a run: torch's, and the C library's of memory (`allocator.keep_freed_memory`).

    Args:
        device: where the run computes.
        threads: CPU threads; 0 leaves torch's own choice.
        deterministic: deterministic kernels on CUDA; kernels without a deterministic form then raise.
    """
    keep_freed_memory()
    if threads:
        torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cuda.matmul.allow_tf32 = False  # fp32 means fp32
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = not deterministic
        if deterministic:  # cuBLAS reads it when it is first used, and torch refuses its products without it
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(deterministic)


def hardware_record(device: torch.device) -> dict[str, Any]:
    """What `RunRecord.hardware` keeps: host, device, threads."""
    record = host_hardware() | {"device": device.type, "torch_threads": torch.get_num_threads()}
    if device.type == "cuda":
        record["gpu"] = torch.cuda.get_device_name(device)
    return record
