"""Segments of shard sets as torch data sets, for other people's training loops.

Both read what `ipv_bench.segments.open_segments` reads, with its choices (`weights`, `num_videos`, `split`, `labels`,
`cache`, `crop`, `every_seconds`, `tracks`). Segment `i` of a seed is always the same, so the order depends on nothing
but the seed: not on workers, ranks or interruptions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from ipv_bench.errors import ConfigError
from ipv_bench.segments import TrackedSegment, open_segments
from models.pretraining.video_batches import VideoBatches, stack_segments

Places = str | Path | Sequence[str | Path]
Item = Tensor | dict[str, Tensor]


class SegmentDataset(Dataset[Item]):
    """Segments by number, for any sampler: `dataset[i]` is uint8 (T, H, W, 3).

    With `tracks=("action",)` it is `{"frames": (T, H, W, 3), "action": (T, A)}`.

    Args:
        data: shard sets: folders or addresses.
        length: T, frames of a segment.
        seed: of the draws.
        size: `len(dataset)`: how many segments an epoch has. They are drawn, so that there is no natural number.
        choice: see `open_segments`.

    Raises:
        ConfigError, ShardSetError, UnknownNameError: see `open_segments`.
    """

    def __init__(self, data: Places, length: int, seed: int = 0, *, size: int = 100_000, **choice: Any) -> None:
        if size < 1:
            raise ConfigError(f"size is {size}", expected="at least one segment", fix="leave size out for 100,000")
        self.segments, self._size = open_segments(data, length, seed, **choice), size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, i: int) -> Item:
        if not 0 <= i < self._size:
            raise IndexError(f"segments are numbered from 0 to {self._size - 1}, found {i}")
        return _tensors(self.segments[i])


class SegmentBatches(IterableDataset[Item]):
    """Whole batches in a fixed order: `DataLoader(batches, batch_size=None, num_workers=4)`.

    Batch `u` holds segments `u · B` to `u · B + B - 1`, uint8 (B, T, H, W, 3), with any number of workers; under DDP
    each rank takes its part of every batch. To go on after an interruption, give the number of batches done as `start`.

    Args:
        data: shard sets: folders or addresses.
        length: T, frames of a segment.
        batch_size: B, segments of a batch over all ranks.
        seed: of the draws.
        start: number of the first batch.
        end: number after the last one; None: endless.
        rank: which part of each batch this process takes; None: as `torch.distributed` says, where that is in use.
        world_size: number of parts; None: likewise.
        choice: see `open_segments`.

    Raises:
        ConfigError: the batch cannot be divided evenly among the ranks, or `start` is after `end`.
        ConfigError, ShardSetError, UnknownNameError: see `open_segments`.
    """

    def __init__(
        self, data: Places, length: int, batch_size: int, seed: int = 0, *, start: int = 0, end: int | None = None,
        rank: int | None = None, world_size: int | None = None, **choice: Any,
    ) -> None:  # fmt: skip
        if batch_size < 1 or start < 0 or (end is not None and end < start):
            raise ConfigError(
                f"batch_size {batch_size}, start {start}, end {end}",
                expected="1 ≤ batch_size, 0 ≤ start ≤ end",
                fix="leave start and end out for batches without an end, from the first one on",
            )
        shared = torch.distributed.is_available() and torch.distributed.is_initialized()
        if rank is None:
            rank = torch.distributed.get_rank() if shared else 0
        if world_size is None:
            world_size = torch.distributed.get_world_size() if shared else 1
        if not 0 <= rank < world_size:
            raise ConfigError(
                f"rank {rank} of {world_size}",
                expected="a rank from 0 to world_size - 1",
                fix="leave both out: torch.distributed says them, and without it there is one process",
            )
        self.start, self.end = start, end
        self.segments = open_segments(data, length, seed, **choice)
        self._batches = VideoBatches(
            self.segments, batch_size, rank=rank, world_size=world_size, stack=stack_items
        )  # fmt: skip

    def __iter__(self) -> Iterator[Item]:
        # The loader asks its workers in turn, so batches arrive in their order.
        worker = get_worker_info()
        number, step = (self.start, 1) if worker is None else (self.start + worker.id, worker.num_workers)
        while self.end is None or number < self.end:
            yield self._batches.batch(number)
            number += step


def stack_items(items: Sequence[np.ndarray | TrackedSegment]) -> Item:
    """Segments as one batch: (B, T, H, W, 3), with tracks a dictionary of batches.

    Raises:
        ShardSetError: they differ in shape.
    """
    tracked = [item for item in items if isinstance(item, TrackedSegment)]
    if not tracked:
        return torch.from_numpy(stack_segments([item for item in items if isinstance(item, np.ndarray)]))
    batch = {"frames": torch.from_numpy(stack_segments([item.frames for item in tracked]))}
    for name in tracked[0].tracks:
        batch[name] = torch.from_numpy(np.stack([item.tracks[name] for item in tracked]))
    return batch


def _tensors(item: np.ndarray | TrackedSegment) -> Item:
    if isinstance(item, TrackedSegment):
        tracks = {name: torch.from_numpy(values) for name, values in item.tracks.items()}
        return {"frames": torch.from_numpy(item.frames), **tracks}
    return torch.from_numpy(item)
