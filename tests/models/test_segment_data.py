"""Torch data sets of segments: one order for any workers and ranks, from any start; features of a trained model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ipv_bench.errors import ConfigError, TrainingError
from ipv_bench.segments import open_segments
from models.pretrain import pretrain
from models.pretrained_features import open_features
from models.segment_data import SegmentBatches, SegmentDataset
from tests.models.pretraining.small_pretraining import SMALL, small_shard_set

LENGTH, BATCH = 6, 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_shard_set(tmp_path_factory.mktemp("data") / "set")


def _batches(data: Path, first: int, end: int) -> np.ndarray:
    """What they must be: (end - first, B, T, H, W, 3)."""
    segments = open_segments(data, LENGTH, 3)
    return np.stack([np.stack([segments[u * BATCH + b] for b in range(BATCH)]) for u in range(first, end)])


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_one_order_from_any_start(workers: int, data: Path) -> None:
    batches = SegmentBatches(data, LENGTH, BATCH, 3, start=2, end=7)
    found = list(DataLoader(batches, batch_size=None, num_workers=workers))
    assert {(batch.dtype, tuple(batch.shape)) for batch in found} == {(torch.uint8, (BATCH, LENGTH, 32, 32, 3))}
    np.testing.assert_array_equal(np.stack(found), _batches(data, 2, 7))


def test_ranks_share_each_batch(data: Path) -> None:
    halves = [list(SegmentBatches(data, LENGTH, BATCH, 3, end=3, rank=rank, world_size=2)) for rank in (0, 1)]
    whole = [torch.cat([one, other]) for one, other in zip(*halves, strict=True)]
    np.testing.assert_array_equal(np.stack(whole), _batches(data, 0, 3))


def test_the_rank_is_that_of_the_process_group(data: Path, tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        assert len(next(iter(SegmentBatches(data, LENGTH, BATCH)))) == BATCH
        with pytest.raises(ConfigError, match="rank 0 of 0\n.*world_size - 1\n.*leave both out"):
            SegmentBatches(data, LENGTH, BATCH, world_size=0)
        with pytest.raises(ConfigError, match="start 2, end 1\n.*0 ≤ start ≤ end\n.*leave start and end out"):
            SegmentBatches(data, LENGTH, BATCH, start=2, end=1)
    finally:
        torch.distributed.destroy_process_group()


def test_the_map_style_form(data: Path) -> None:
    dataset = SegmentDataset(data, LENGTH, 3, size=8)
    found = torch.cat(list(DataLoader(dataset, batch_size=BATCH, num_workers=2)))
    np.testing.assert_array_equal(found, _batches(data, 0, 2).reshape(8, LENGTH, 32, 32, 3))
    assert len(dataset) == 8
    with pytest.raises(IndexError):
        dataset[8]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 3, "world_size": 2, "rank": 0}, "cannot be divided among 2 ranks"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"start": 5, "end": 4}, "start 5, end 4"),
        ({"rank": 1}, "rank 1 of 1"),
    ],
)
def test_what_cannot_be(changes: dict[str, int], message: str, data: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        SegmentBatches(data, LENGTH, **{"batch_size": BATCH, **changes})
    with pytest.raises(ConfigError, match="at least one segment"):
        SegmentDataset(data, LENGTH, size=0)


def test_features_of_a_run(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    pretrain(preset="tiny", data=[data], overrides={**SMALL, "training.updates": 2, "validation.every": 0}, run=run)
    features = open_features(run, device="cpu")
    frames = torch.from_numpy(_batches(data, 0, 1)[0])
    embedded = features.embed(frames)
    torch.testing.assert_close(features.embed(frames[:, 2:3]), embedded[:, 2:3])  # each frame on its own
    states = features.states(frames, seed=1)
    assert embedded.shape[:2] == states.shape[:2] == (BATCH, LENGTH)
    assert torch.equal(states, features.states(frames, seed=1))
    assert not torch.equal(states, features.states(frames, seed=2))
    changed = frames.clone()
    changed[:, -1] = 0
    torch.testing.assert_close(features.states(changed, seed=1)[:, :-1], states[:, :-1])  # later frames are not seen
    for wrong in (frames.float(), frames[..., :16, :, :], frames[0]):
        with pytest.raises(TrainingError, match=r"expected: uint8 \(B, T, 32, 32, 3\)"):
            features.embed(wrong)
