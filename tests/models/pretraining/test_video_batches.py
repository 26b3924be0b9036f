"""Which videos are trained on, which are held out, and that nobody who decodes them changes the order."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from ipv_bench.shard_store import ShardStore
from models.pretraining.config import DataConfig
from models.pretraining.video_batches import VideoBatches, VideoData, open_video_data
from tests.shard_set_maker import Video, make_shard_set


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    videos = [Video(f"video{n}", 8 + n % 5, split="", size=(32, 32)) for n in range(30)]
    return make_shard_set(tmp_path_factory.mktemp("sets") / "plain", videos)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    videos = [Video(f"video{n}", 10, split="validation" if n % 4 == 0 else "train", size=(32, 32)) for n in range(20)]
    return make_shard_set(tmp_path_factory.mktemp("sets") / "split", videos, name="split")


def _open(*folders: Path, **changes: object) -> VideoData:
    values = {"sets": [str(folder) for folder in folders], "length": 6, "holdout": 0.3, "batch_size": 4, **changes}
    return open_video_data(DataConfig.model_validate(values), seed=0)


def _ids(data: VideoData, side: str = "train") -> list[set[str]]:
    segments = getattr(data, side)
    return [{source.index.video_id(int(video)) for video in source.videos} for source in segments.sources]


def test_held_out_videos_are_never_trained_on(plain: Path) -> None:
    data = _open(plain)
    train, held_out = _ids(data)[0], _ids(data, "validation")[0]
    assert train | held_out == {f"video{n}" for n in range(30)}
    assert not train & held_out
    assert 3 <= len(held_out) <= 15
    assert held_out < _ids(_open(plain, holdout=0.6), "validation")[0]  # a larger share keeps those of a smaller one
    drawn = {data.train.describe(i).source_id for i in range(200)}
    assert drawn == train
    assert {data.validation.describe(i).source_id for i in range(200)} == held_out if data.validation else False
    assert data.shard_sets[0]["num_videos"] == len(train)
    assert data.shard_sets[0]["num_validation_videos"] == len(held_out)


def test_a_small_share_may_have_a_floor_which_a_larger_share_keeps_as_well(plain: Path) -> None:
    assert _open(plain, holdout=0.002).validation is None
    few = _open(plain, holdout=0.002, fewest_held_out=3)
    assert few.shard_sets[0]["num_validation_videos"] == 3
    assert not _ids(few)[0] & _ids(few, "validation")[0]
    larger = _ids(_open(plain, holdout=0.6, fewest_held_out=3), "validation")[0]
    assert _ids(few, "validation")[0] < larger
    assert larger == _ids(_open(plain, holdout=0.6), "validation")[0]
    assert _open(plain, holdout=0.002, fewest_held_out=20).shard_sets[0]["num_validation_videos"] == 7  # of 30
    assert _open(plain, holdout=0, fewest_held_out=3).validation is None


def test_a_validation_split_is_what_is_held_out(split: Path, plain: Path) -> None:
    data = _open(split, plain, split="train")
    assert _ids(data)[0] == {f"video{n}" for n in range(20) if n % 4}
    assert _ids(data, "validation")[0] == {f"video{n}" for n in range(20) if n % 4 == 0}
    assert _ids(data)[1] == _ids(_open(plain))[0]  # the other set has no splits
    everything = _open(split, split=None, holdout=0)
    assert len(_ids(everything)[0]) == 20
    assert everything.validation is None


def test_subsets_are_nested(plain: Path) -> None:
    subsets = [_ids(_open(plain, num_videos=count))[0] for count in (3, 9, 15)]
    assert [len(subset) for subset in subsets] == [3, 9, 15]
    assert subsets[0] < subsets[1] < subsets[2] <= _ids(_open(plain))[0]


@pytest.mark.parametrize(("workers", "prefetch"), [(1, 1), (3, 2), (2, 8)])
def test_who_decodes_never_changes_the_batches(plain: Path, workers: int, prefetch: int) -> None:
    segments = _open(plain).train
    expected = [VideoBatches(segments, 4).batch(update) for update in range(2, 7)]
    found = list(VideoBatches(segments, 4, workers=workers, prefetch=prefetch).iterate(2, 7))
    assert len(found) == 5
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_ranks_take_disjoint_parts_of_the_same_batch(plain: Path) -> None:
    segments = _open(plain).train
    parts = [VideoBatches(segments, 4, rank=rank, world_size=2) for rank in range(2)]
    assert [list(part.segment_numbers(3)) for part in parts] == [[12, 13], [14, 15]]
    together = np.concatenate([part.batch(3) for part in parts])
    np.testing.assert_array_equal(together, VideoBatches(segments, 4).batch(3))


def test_no_thread_is_left_when_the_loop_stops_early(plain: Path) -> None:
    batches = VideoBatches(_open(plain).train, 4, workers=2, prefetch=3).iterate(0, 1000)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_who_waits_for_a_batch_can_be_stopped() -> None:
    away, asked = threading.Event(), []

    class Server:
        def __getitem__(self, i: int) -> np.ndarray:
            asked.append(i)
            if i >= 8:
                away.wait()
            return np.zeros((2, 4, 4, 3), np.uint8)

    def stopped() -> bool:
        return len(asked) >= 9  # it waits for the third batch by now, or will

    batches = VideoBatches(Server(), 4, workers=1, prefetch=1).iterate(0, 100, stopped)
    try:
        assert len(list(batches)) <= 2
    finally:
        away.set()


class _FarStore:
    """A store whose reads are answered only when eight of them wait at once."""

    waits = True

    def __init__(self, store: ShardStore) -> None:
        self._store, self.location = store, store.location
        self._together = threading.Barrier(8, timeout=60)

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        self._together.wait()
        return self._store.read_range(name, offset, size)


def test_reads_of_a_remote_set_wait_together_and_not_one_after_another(plain: Path) -> None:
    expected = [VideoBatches(_open(plain).train, 8).batch(update) for update in range(3)]
    far = _open(plain).train
    far.sources[0].store = _FarStore(far.sources[0].store)
    background = list(VideoBatches(far, 8, workers=2, prefetch=1).iterate(0, 3))
    for update in range(3):
        np.testing.assert_array_equal(expected[update], background[update])
        np.testing.assert_array_equal(expected[update], VideoBatches(far, 8).batch(update))
