"""Several processes that train one model: started by `torchrun`, or just this one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ipv_bench.errors import TrainingError

BUCKET_MB = 25
"""Pinned: with more than two ranks the bucket layout decides the order of the sums, and so the last bits."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of a run.

    Attributes:
        rank: number of this process; 0 writes the run folder.
        world_size: number of processes.
        local_rank: number of this process on its machine, and of its GPU.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait for all processes."""
        if self.world_size > 1:
            dist.barrier()

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether `flag` is set in some process; every process gets the same answer."""
        if self.world_size == 1:
            return flag
        value = torch.tensor([int(flag)], device=device)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return bool(value.item())

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the processes."""
        if self.world_size > 1:
            dist.all_reduce(values, dist.ReduceOp.SUM)
            values = values / self.world_size
        return values

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """`model` with its gradients averaged over the processes; the model itself when there is one."""
        if self.world_size == 1:
            return model
        ids = [device.index] if device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=ids, bucket_cap_mb=BUCKET_MB)


def launched_ranks() -> Ranks:
    """What torchrun says in the environment; a single process without it."""
    if "WORLD_SIZE" not in os.environ or "RANK" not in os.environ:
        return Ranks()
    local = int(os.environ.get("LOCAL_RANK", "0"))
    return Ranks(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), local)


@contextmanager
def process_group(ranks: Ranks, device: torch.device) -> Iterator[None]:
    """Connect the processes: nccl on CUDA, gloo on the CPU. Nothing happens for a single one."""
    if ranks.world_size == 1:
        yield
        return
    with rank_errors(ranks):
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        try:
            yield
        finally:
            dist.destroy_process_group()


@contextmanager
def rank_errors(ranks: Ranks) -> Iterator[None]:
    """Say in our words that another process is gone: killed, out of memory, or behind a broken connection.

    Raises:
        TrainingError: a collective operation failed.
    """
    try:
        yield
    except RuntimeError as error:
        words = next(iter(str(error).splitlines()), "")
        if ranks.world_size == 1 or not (isinstance(error, dist.DistError) or "gloo" in words.lower()):
            raise
        raise TrainingError(
            f"rank {ranks.rank} lost the connection to another process of this run: {words[:200]}",
            expected=f"all {ranks.world_size} processes, until the run ends",
            fix="look at what ended the other one (its own message, or the kernel's about memory); then start the same "
            "command again: it goes on from the newest checkpoint",
        ) from error
