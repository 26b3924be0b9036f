"""Batches of a remote shard set beside those of the same set on the local disk, and batches in a torch loop.

The remote set lies on a web server in a process of its own on this machine, which waits 20 ms before each answer. Both
sides give batches of 16×25 frames with four workers and eight batches ahead (the preset `paper`), to a loop that takes
at most 300 segments a second; they take turns.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from range_server import serving
from torch.utils.data import DataLoader

from ipv_bench.segments import open_segments
from models.pretraining.video_batches import VideoBatches
from models.segment_data import SegmentBatches

BATCH, LENGTH, WORKERS, AHEAD = 16, 25, 4, 8
LATENCY = 0.020
"""Seconds before each answer."""
MOST_SEGMENTS_PER_SECOND = 300.0


def remote_vs_local(folder: Path, pairs: int, batches: int) -> dict[str, Any]:
    """Segments a second of a loop, remote over local, in turn; the first pair is a warm-up.

    Args:
        folder: a shard set.
        pairs: how many turns are counted.
        batches: of each turn.

    Returns:
        `remote_vs_local` (median over the pairs) with its range and pairs, and both rates.
    """
    os.environ["no_proxy"] = "127.0.0.1"
    local, remote = [], []
    with serving(folder, LATENCY) as address:
        near, far = (_batches(str(place)) for place in (folder, address))
        assert np.array_equal(near.batch(0), far.batch(0))
        for pair in range(pairs + 1):
            rates = (_rate(near, pair * batches, batches), _rate(far, pair * batches, batches))
            if pair:
                local.append(rates[0])
                remote.append(rates[1])
    ratios = [far / near for far, near in zip(remote, local, strict=True)]
    return {
        "remote_vs_local": round(statistics.median(ratios), 3),
        "remote_vs_local_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "remote_vs_local_pairs": pairs,
        "remote_segments_per_second": round(statistics.median(remote), 1),
        "local_segments_per_second": round(statistics.median(local), 1),
    }


def _batches(place: str) -> VideoBatches:
    return VideoBatches(open_segments(place, LENGTH, 0), BATCH, workers=WORKERS, prefetch=AHEAD)


def _rate(source: VideoBatches, first: int, count: int) -> float:
    """Segments a second (wall time) of a loop that takes batch k not before k · 16 / 300 seconds."""
    begun = time.perf_counter()
    for number, _ in enumerate(source.iterate(first, first + count), start=1):
        time.sleep(max(0.0, begun + number * BATCH / MOST_SEGMENTS_PER_SECOND - time.perf_counter()))
    return count * BATCH / (time.perf_counter() - begun)


def torch_loop(folder: Path, rounds: int, batches: int) -> dict[str, Any]:
    """Frames a second (wall time, medians) that arrive in a loop which does nothing else: four threads of ours, and
    four processes of torch's `DataLoader`; the start of the workers is not counted."""
    rates: dict[str, list[float]] = {"threads": [], "processes": []}
    for turn in range(rounds):
        first = turn * (batches + 2 * AHEAD)
        threads = _batches(str(folder)).iterate(first, first + batches + AHEAD)
        rates["threads"].append(_frames_per_second(threads, batches))
        data = SegmentBatches(folder, LENGTH, BATCH, start=first, end=first + batches + AHEAD)
        loader = DataLoader(data, batch_size=None, num_workers=WORKERS)
        rates["processes"].append(_frames_per_second(loader, batches))
    found = {f"loop_frames_per_second_{name}": round(statistics.median(each)) for name, each in rates.items()}
    return found | {"loop_frames_per_second_range": {k: [round(min(v)), round(max(v))] for k, v in rates.items()}}


def _frames_per_second(source: Iterable[Any], batches: int) -> float:
    stream = iter(source)
    for _ in islice(stream, AHEAD):
        pass
    begun, count = time.perf_counter(), 0
    for _ in islice(stream, batches):
        count += BATCH * LENGTH
    rate = count / (time.perf_counter() - begun)
    for _ in stream:  # to its end: workers stop
        pass
    return rate
