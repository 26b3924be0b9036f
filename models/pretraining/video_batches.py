"""Batches of video for training and validation: which videos, in which order, decoded in the background."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from ipv_bench.errors import ConfigError, ShardSetError
from ipv_bench.progress import say_aside
from ipv_bench.seeding import derive_seed
from ipv_bench.segment_source import SegmentSource
from ipv_bench.segments import Segments, TrackedSegments, open_segments
from models.latent_actions.measure import Labels
from models.pretraining.config import DataConfig

VALIDATION_SPLIT = "validation"
READS_PER_WORKER, MOST_READS = 4, 16
"""Threads of a remote set for each one of a local set, and at most: waiting for a network costs no processor. Web
clients keep as many connections."""
LOOK_SECONDS = 0.5
"""How often a loop that waits for a batch looks whether it shall stop."""


@dataclass(frozen=True)
class VideoData:
    """What a run trains on and what it is validated on.

    Attributes:
        train: endless sequence of training segments.
        validation: the same of held-out videos; None where nothing is held out.
        shard_sets: one record per shard set for the run record, with the numbers of videos on either side.
    """

    train: Segments
    validation: Segments | None
    shard_sets: list[dict[str, Any]]


def open_video_data(config: DataConfig, seed: int, *, validate: bool = True) -> VideoData:
    """Open the shard sets of a run and split their videos.

    A set with a `validation` split that is not trained on is validated on that split; from any other set the share
    `holdout` of the videos, by a hash of their ids, is kept out of the training, or `fewest_held_out` where those are
    more.

    Raises:
        ShardSetError: a set is absent, damaged or empty, or has no video of `length` frames; a chosen video is smaller
            than the crop.
        UnknownNameError: no such split or label.
    """
    train = _open(config, seed)
    held_out = _open(config, derive_seed(seed, 0, "validation segments")) if validate else None
    counts = []
    for number, source in enumerate(train.sources):
        seen, unseen = split_videos(source, config)
        source.videos = _subset(source, seen, config.num_videos)
        if held_out is not None:
            held_out.sources[number].videos = unseen
        counts.append({"num_videos": len(source.videos), "num_validation_videos": len(unseen)})
    records = [record | count for record, count in zip(train.shard_sets, counts, strict=True)]
    held_out = _without_empty(held_out, config) if held_out is not None else None
    cut = [None if segments is None else segments.cropped(config.crop) for segments in (train, held_out)]
    assert cut[0] is not None
    return VideoData(cut[0], cut[1], records)


def nothing_held_out(config: DataConfig) -> str:
    """That nothing can be validated, why, and what to do."""
    why = f"data.holdout={config.holdout:g}"
    advice = "set data.holdout=0.05, or data.fewest_held_out=3 beside a share above 0"
    if config.holdout:
        why += " is less than one of these videos"
        larger = "data.holdout=0.05" if config.holdout < 0.05 else "a larger data.holdout"
        fewest = "" if config.fewest_held_out else "data.fewest_held_out=3 with "
        if config.fewest_held_out:
            why += f", data.fewest_held_out={config.fewest_held_out} takes no more than a quarter of them"
        advice = f"set {larger}, or {fewest or 'take '}a set of four videos or more"
    return (
        f"no video is held out, so nothing is validated ({why}, and no set has a validation split that is not trained "
        f"on): {advice}"
    )


def check_sizes(data: VideoData, config: DataConfig, size: int) -> None:
    """Refuse videos that are not of a model's size, of all sets of a mixture and before one is read.

    Raises:
        ConfigError: they are of another size, or cut to one.
    """
    if config.crop is not None:
        if config.crop != size:
            raise ConfigError(
                f"data.crop={config.crop} cuts squares of {config.crop}x{config.crop} pixels, and the model takes "
                f"image.size {size}",
                expected=f"{size}x{size}",
                fix=f"data.crop={size}, or image.size={config.crop}",
            )
        return
    for segments in filter(None, (data.train, data.validation)):
        odd = segments.odd_size(lambda height, width: (height == size) & (width == size))
        if odd is not None:
            raise ConfigError(
                f"{odd.location}: {odd.videos} of {odd.total} videos have another size ({odd.video} has {odd.width}x"
                f"{odd.height} pixels), and the model takes image.size {size}",
                expected=f"{size}x{size}",
                fix=f"prepare it in that size, change image.size, or cut squares of larger videos: data.crop={size}",
            )


def _open(config: DataConfig, seed: int) -> Segments:
    return open_segments(
        config.sets, config.length, seed, weights=config.weights, cache=config.cache,
        every_seconds=config.every_seconds, every_frames=config.every_frames,
    )  # fmt: skip


def split_videos(source: SegmentSource, config: DataConfig) -> tuple[np.ndarray, np.ndarray]:
    """Videos to train on, and videos to validate on; both ascending.

    Raises:
        ShardSetError: the share that is held out leaves none.
        UnknownNameError: no such split or label.
    """
    split = config.split if source.index.splits() else None
    seen = source.index.select(config.length, None, split, config.labels, config.every_seconds, config.every_frames)
    if split not in (None, VALIDATION_SPLIT) and VALIDATION_SPLIT in source.index.splits():
        unseen = source.index.select(
            config.length, None, VALIDATION_SPLIT, config.labels, config.every_seconds, config.every_frames
        )
        return seen, unseen
    shares = np.fromiter((_share(source.index.video_id(int(video))) for video in seen), np.float64, len(seen))
    held = shares < config.holdout
    fewest = min(config.fewest_held_out, len(seen) // 4)
    if config.holdout and held.sum() < fewest:
        held[np.argsort(shares, kind="stable")[:fewest]] = True  # those that a larger share would keep as well
    if held.all():
        raise ShardSetError(
            f"{source.store.location}: data.holdout {config.holdout} leaves none of its {len(seen)} videos to train on",
            expected="at least one video",
            fix="prepare more videos, or set data.holdout=0",
        )
    return seen[~held], seen[held]


def tell_unread_of_sets(changed: Iterable[str], sources: Iterable[SegmentSource], config: DataConfig) -> None:
    """Say which settings of `data` mean nothing for these sets. Told, not refused: a sweep says them for all sets.

    Args:
        changed: config keys that were set.
        sources: the sets.
        config: of the data.
    """
    splits = [set(source.index.splits()) for source in sources]
    found = {} if any(splits) else {"data.split": "none of the sets has splits"}
    if config.split not in (None, VALIDATION_SPLIT) and all(VALIDATION_SPLIT in one for one in splits):
        why = f"all sets have a {VALIDATION_SPLIT} split, which is kept for validation"
        found |= dict.fromkeys(("data.holdout", "data.fewest_held_out"), why)
    for key in sorted(found.keys() & set(changed)):
        say_aside(f"warning: {key} is set, and {found[key]}: it changes nothing here")


def _share(video_id: str) -> float:
    """A number in [0, 1) that depends on nothing but the id, and not on the hash that orders `num_videos`."""
    digest = hashlib.sha256(b"holdout:" + video_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _subset(source: SegmentSource, videos: np.ndarray, count: int | None) -> np.ndarray:
    if count is None:
        return videos
    if count > len(videos):
        raise ShardSetError(
            f"{source.store.location} has {len(videos)} videos to train on",
            expected=f"{count}, as data.num_videos (num_sequences of `adapt`) says",
            fix="ask for fewer videos, shorter segments, another split or a smaller data.holdout",
        )
    return source.index.first_by_hash(videos, count)


def _without_empty(segments: Segments, config: DataConfig) -> Segments | None:
    """The mixture of those sets that have held-out videos."""
    weights = config.weights or [1.0] * len(segments.sources)
    kept = [(s, w) for s, w in zip(segments.sources, weights, strict=True) if len(s.videos) and w > 0]
    if not kept:
        return None
    sources, shares = zip(*kept, strict=True)
    return segments.of(sources, shares)


def read_labels(segments: Segments, count: int) -> Labels | None:
    """True actions, states where all sets have them, and videos of the first `count` segments; None where a set lacks
    actions, or sets have actions of different sizes.

    Raises:
        ShardSetError: a set is damaged.
    """
    entries = [source.manifest.tracks for source in segments.sources]
    names = [name for name in ("action", "state") if all(name in each for each in entries)]
    names = [name for name in names if len({tuple(each[name].shape) for each in entries}) == 1]
    if "action" not in names or segments.common_stride() is None:
        return None
    tracked = TrackedSegments(segments, names)
    found = [tracked[i].tracks for i in range(count)]
    return Labels(
        np.stack([each["action"].reshape(len(each["action"]), -1) for each in found]),
        np.stack([each["state"] for each in found]) if "state" in names else None,
        videos_of(segments, count),
    )


def videos_of(segments: Segments | TrackedSegments, count: int) -> np.ndarray:
    """(count,) video of each of the first `count` segments, numbered in the order in which they come."""
    origins = [segments.describe(i) for i in range(count)]
    videos = [(origin.location, origin.source_id) for origin in origins]
    numbers = {video: number for number, video in enumerate(dict.fromkeys(videos))}
    return np.array([numbers[video] for video in videos])


def check_batch_size(batch_size: int, world_size: int) -> None:
    """Refuse a batch that cannot be divided evenly.

    Raises:
        ConfigError: ranks would get parts of different sizes.
    """
    if batch_size % world_size:
        raise ConfigError(
            f"data.batch_size {batch_size} cannot be divided among {world_size} ranks",
            expected="a multiple of the number of ranks: the mean of their means must be the mean",
            fix="change data.batch_size or torchrun's --nproc-per-node",
        )


class VideoBatches:
    """Batches by number: batch `u` is a pure function of the segments and `u`, whatever decodes it.

    Args:
        segments: where they come from.
        batch_size: segments of a batch over all ranks (B).
        workers: decoding threads (decoding leaves Python's lock); of remote sets `READS_PER_WORKER` times as many: they
            mostly wait. 0 decodes on demand.
        prefetch: batches that are decoded ahead.
        rank: which part of each batch this process takes.
        world_size: number of equal parts.
        stack: makes a batch of segments.

    Raises:
        ConfigError: the batch cannot be divided evenly among the ranks.
    """

    def __init__(
        self, segments: Any, batch_size: int, *, workers: int = 0, prefetch: int = 1, rank: int = 0,
        world_size: int = 1, stack: Callable[[Sequence[Any]], Any] | None = None,
    ) -> None:  # fmt: skip
        check_batch_size(batch_size, world_size)
        self.segments, self.batch_size = segments, batch_size
        self._share, self._rank = batch_size // world_size, rank
        self._workers, self._prefetch = workers, prefetch
        self._waits = any(source.store.waits for source in getattr(segments, "sources", ()))
        if self._waits:
            self._workers = max(workers, min(workers * READS_PER_WORKER, MOST_READS))
        self._stack = stack or stack_segments

    def segment_numbers(self, update: int) -> range:
        """The segments of this rank's part of batch `update`."""
        first = update * self.batch_size + self._rank * self._share
        return range(first, first + self._share)

    def batch(self, update: int) -> Any:
        """This rank's part of batch `update`, uint8 (B / world_size, T, H, W, 3), decoded here and now."""
        numbers = self.segment_numbers(update)
        if not self._waits:
            return self._stack([self.segments[i] for i in numbers])
        pool = ThreadPoolExecutor(min(len(numbers), MOST_READS), thread_name_prefix="read")
        try:
            # It looks up now and then, as a signal that another thread was given does not wake this one.
            found = _results([pool.submit(self.segments.__getitem__, i) for i in numbers], lambda: False)
            assert found is not None  # nothing stops it
            return self._stack(found)
        finally:
            pool.shutdown(cancel_futures=True)  # where one fails, the rest is not asked for

    def iterate(
        self, first: int, end: int, stopped: Callable[[], object] = lambda: False
    ) -> Generator[Any, None, None]:
        """Batches `first` … `end - 1` in order; fewer where `stopped()` comes true while one is waited for.

        Raises:
            ShardSetError: a shard is damaged or unreadable.
        """
        if not self._workers:
            yield from (self.batch(update) for update in range(first, end))
            return
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="decode")
        ahead: deque[list[Future[Any]]] = deque()
        try:
            for update in range(first, end + self._prefetch):
                if update < end:
                    ahead.append([pool.submit(self.segments.__getitem__, i) for i in self.segment_numbers(update)])
                if len(ahead) > self._prefetch or update >= end:
                    if not ahead:
                        return
                    found = _results(ahead.popleft(), stopped)
                    if found is None:
                        return
                    yield self._stack(found)
        finally:
            # Who was told to stop has little time left, and a server that is away is waited for up to a minute.
            pool.shutdown(wait=not stopped(), cancel_futures=True)


def _results(futures: list[Future[Any]], stopped: Callable[[], object]) -> list[Any] | None:
    """What the futures bring; None where `stopped()` comes true before."""
    for future in futures:
        while not future.done():
            if stopped():
                return None
            wait([future], timeout=LOOK_SECONDS)
    return [future.result() for future in futures]


def stack_segments(segments: Sequence[np.ndarray]) -> np.ndarray:
    """Segments (T, H, W, 3) as one batch (B, T, H, W, 3).

    Raises:
        ShardSetError: they differ in shape.
    """
    shapes = {segment.shape for segment in segments}
    if len(shapes) > 1:
        raise ShardSetError(
            f"segments of one batch have different shapes: {sorted(shapes)}",
            expected="videos of one size",
            fix="prepare the sets with one size, such as 64x64",
        )
    return np.stack(segments)  # (B, T, H, W, 3)
