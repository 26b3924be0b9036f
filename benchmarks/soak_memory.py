"""Memory of one decoder process over thousands of short videos, and over one long one.

    python benchmarks/soak_memory.py [--quick]

10,000 videos of 8 frames (500 with --quick) go through one supervised decoder process; its resident memory is read once
per 2 % of them. `growth_megabytes` is the median of the last fifth minus the median of the second fifth (the first is
warm-up): flat memory gives about 0. Recycling is switched off here, so that a leak would show. Then one video of 20,000
frames (2,000), to show that memory does not depend on a video's length: `long_video_peak_megabytes`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from threading import Event

import numpy as np

from pipelines.datasets.base import SourceItem, VideoFile
from pipelines.datasets.prepare_config import PrepareConfig, SupervisionConfig
from pipelines.jobs.decode_worker import WorkItem, WorkOrder
from pipelines.jobs.supervise import DecodeWorker
from pipelines.samples.drawing import texture
from pipelines.samples.ssv2 import encode_vp9
from pipelines.shards.sample_block import Outcome

DISTINCT, SIZE = 10, (240, 320)


def moving(count: int, seed: int) -> list[np.ndarray]:
    """Pictures of a texture that slides by."""
    wide = texture(np.random.default_rng(seed), SIZE[0], SIZE[1] + 64, 6)
    return [np.ascontiguousarray(wide[:, n % 64 : n % 64 + SIZE[1]]) for n in range(count)]


def run(folder: Path, videos: list[Path], watch_every: int) -> tuple[list[float], list[float]]:
    """Resident megabytes after each `watch_every` videos, and sampled while they are decoded."""
    limits = SupervisionConfig(recycle_videos=10_000_000)
    worker = DecodeWorker(limits, Event())
    path = folder / "soak.tar"
    path.write_bytes(b"")
    items = []
    for number, video in enumerate(videos):
        item = SourceItem(str(number), video.name, video.stat().st_size, VideoFile(video.name))
        items.append(WorkItem(number, f"key{number}", item, 3600.0))
    after: list[float] = []
    during: list[float] = []

    def on_outcome(number: int, outcome: Outcome) -> None:
        assert outcome.row.status == "written", outcome.row
        if number % watch_every == watch_every - 1:
            after.append(worker.resident_megabytes())

    worker.on_poll = lambda: during.append(worker.resident_megabytes())
    worker.run(WorkOrder(path, 0, folder, PrepareConfig(), items), on_outcome)
    worker.close()
    path.unlink()
    return after, during


def main() -> None:
    """Run the benchmark; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the videos")
    quick = parser.parse_args().quick
    count, long_frames = (500, 2_000) if quick else (10_000, 20_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        short = []
        for number in range(DISTINCT):
            short.append(folder / f"short{number}.webm")
            encode_vp9(short[-1], moving(8, number), 12)
        memory, _ = run(folder, [short[n % DISTINCT] for n in range(count)], max(1, count // 50))
        encode_vp9(
            folder / "long.webm", (picture for _ in range(long_frames // 64 + 1) for picture in moving(64, 0)), 12
        )
        _, during = run(folder, [folder / "long.webm"], 1)
    fifth = len(memory) // 5
    growth = statistics.median(memory[-fifth:]) - statistics.median(memory[fifth : 2 * fifth])
    result = {
        "videos": count,
        "peak_megabytes": round(max(memory), 1),
        "growth_megabytes": round(growth, 2),
        "long_video_frames": long_frames,
        "long_video_peak_megabytes": round(max(during), 1),
        "megabytes": [round(value, 1) for value in memory],
    }
    print(json.dumps({"benchmark": "soak_memory", "quick": quick, **result}))


if __name__ == "__main__":
    main()
