"""Two processes that train one model, as one process does it: both half batches in turn, and one update of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from models.nets import quantizer
from models.pretraining.config import PretrainConfig
from models.pretraining.video_batches import VideoBatches, open_video_data
from models.pretraining.video_training import VideoTraining


class _InTurn:
    """What stands for `torch.distributed` while one process is first rank 0 and then rank 1.

    Rank 0 goes first, so what it is to be told of rank 1 it lacks: sums are those of rank 1's turn.
    """

    part = 0

    def __init__(self) -> None:
        self._sent, self._added = torch.empty(0), torch.empty(0)

    def __enter__(self) -> _InTurn:
        self._real = quantizer.dist
        quantizer.dist = self  # type: ignore[assignment]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        quantizer.dist = self._real

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def get_world_size(self) -> int:
        return 2

    def broadcast(self, value: Tensor, source: int) -> None:
        assert source == 0
        if self.part == 0:
            self._sent = value.clone()
        value.copy_(self._sent)

    def all_reduce(self, value: Tensor) -> None:
        if self.part == 0:
            self._added = value.clone()
        else:
            value += self._added


def train_on_halves(
    config: PretrainConfig, seed: int, prepared: Mapping[str, Tensor] | None = None, summed: tuple[str, ...] = ()
) -> VideoTraining:
    """Train as two ranks do.

    Each update begins, for both, with the buffers that rank 0 ended the one before with.

    Args:
        config: of the run.
        seed: of the run.
        prepared: what the model had before its first update, where that is not what the seed gives.
        summed: buffers that hold what both ranks counted.
    """
    segments = open_video_data(config.data, seed).train
    ranks = [VideoBatches(segments, config.data.batch_size, rank=rank, world_size=2) for rank in (0, 1)]
    training = VideoTraining(config, seed, torch.device("cpu"))
    values = training.model.state_dict()
    for name, value in (prepared or {}).items():
        values[name].copy_(value)
    buffers = dict(training.model.named_buffers())
    with _InTurn() as turn:
        for update in range(config.training.updates):
            training.schedule()
            first = {name: value.clone() for name, value in buffers.items()}
            ended: list[dict[str, Tensor]] = []
            kept: dict[str, Tensor] = {}
            for turn.part, batches in enumerate(ranks):
                for name, value in first.items():
                    buffers[name].copy_(value)
                images = torch.from_numpy(batches.batch(update))
                loss, kept = training.loss(images, training.draw(len(images), images.shape[1], turn.part))
                training.backward(loss / 2)
                ended.append({name: value.clone() for name, value in buffers.items()})
            for name, value in buffers.items():
                value.copy_(ended[name in summed][name])
            training.apply(kept)
    return training
