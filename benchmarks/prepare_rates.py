"""What the full releases take to prepare: rates of the whole job on drawn sources of the real sizes, and the reckoning.

    python benchmarks/prepare_rates.py [--quick] [--only NAME ...] [--keep FILE]

For each release a small one is drawn in its layout, with pictures of the real release's size (further items are hard
links: encoding takes longer than measuring), and `prepare NAME` makes it into a set, with one worker, some times. CPU
seconds are of all processes; those of a job of one item (`--limit 1`) are taken off, for start-up. Per release:

- `rate`: frames a CPU-second: of videos the decoded ones, of other sources the stored ones, as `of` says; the median of
  the rounds, with the smallest and the largest in `rate_range`;
- `bytes_a_frame`: of the whole set, per stored frame;
- `hours`: of the full release on 1, 2, 16 and 256 cores, by that rate; `gigabytes`: its set.

Both are extrapolations: drawn pictures are smoother than filmed ones. The table is printed as docs/datasets/README.md
has it, and the last line is JSON.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from paired_timing import keep_line, machine
from prepare_throughput import job, make_release

from ipv_bench.seeding import numpy_generator
from ipv_bench.shard_set import read_manifest
from pipelines.samples import human36m, rlbench
from pipelines.samples.drawing import fill_box, texture
from pipelines.samples.encode_video import write_h264

CORES = (1, 2, 16, 256)
EGO4D_HOURS, EGO4D_RATE = 3670, 30
RLBENCH_VIDEOS, RLBENCH_FRAMES = 4950, 50
"""The videos by docs/datasets/rlbench.md; how long they are is not documented: 50 is what the table says it assumed."""


@dataclass(frozen=True)
class Release:
    """A release as it is reckoned.

    Attributes:
        dataset: name for `prepare`.
        what: of its row in the table.
        draw: writes a small one of some items into a folder.
        decoded, stored: frames of the full release.
        item_frames: frames that are decoded of each item of the small one; None: those that are stored.
    """

    dataset: str
    what: str
    draw: Callable[[Path, int], None]
    decoded: float
    stored: float
    item_frames: int | None = None


def moving(height: int, width: int, count: int, seed: int) -> Iterator[np.ndarray]:
    """Pictures of a camera that moves over a pattern with detail, and a box that moves the other way."""
    generator = numpy_generator(0, seed, "benchmark pictures")
    ground = texture(generator, height + 80, width + 80, 40)
    grain = generator.integers(-6, 7, ground.shape, np.int16)
    ground = np.clip(ground + grain, 0, 255).astype(np.uint8)
    for number in range(count):
        x, y = (int(40 + 38 * np.sin(number * 0.05 + shift)) for shift in (0.0, 1.0))
        picture = ground[y : y + height, x : x + width].copy()
        left = int((0.1 + 0.6 * (number / count)) * width)
        fill_box(picture, left, height // 3, left + width // 6, height // 3 + height // 5, (210, 60, 40))
        yield picture


def link_others(paths: list[Path]) -> None:
    """Make all but the first of some paths hard links to it."""
    for path in paths[1:]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(paths[0])


def draw_ssv2(folder: Path, items: int) -> None:
    """240-pixel VP9 of 4 seconds, four different ones."""
    make_release(folder, 4, items // 4, link=True)


def draw_human36m(folder: Path, items: int) -> None:
    """1000 x 1000 pictures; the sample's sequences have 25 to 30, all of which are kept."""
    human36m.write_sample(folder, items, 0)


def draw_driving_pictures(folder: Path, items: int) -> None:
    """1280 x 720 pictures, of which every fifth after the first hundred is opened."""
    for item in range(items):
        inside = folder / f"dir-{item}"
        inside.mkdir(parents=True)
        paths = [inside / f"{number}.jpg" for number in range(1, 401)]
        for first, picture in enumerate(moving(720, 1280, 10, item)):
            data = simplejpeg.encode_jpeg(picture, quality=90, colorsubsampling="420", fastdct=False)
            paths[first].write_bytes(data)
            link_others(paths[first::10])


def videos(height: int, width: int, seconds: int, place: str) -> Callable[[Path, int], None]:
    """A release of H.264 videos of 30 frames a second: one is encoded, the others are links to it."""

    def draw(folder: Path, items: int) -> None:
        paths = [folder / place.format(item) for item in range(items)]
        write_h264(paths[0], moving(height, width, 30 * seconds, 0), 30)
        link_others(paths)

    return draw


def draw_rlbench(folder: Path, items: int) -> None:
    """Compressed episodes of 64 x 64 pictures, 30 to 60 each."""
    rlbench.write_sample(folder, items, 0)


EGO4D = EGO4D_HOURS * 3600.0 * EGO4D_RATE
EGO4D_FILE = "full_scale/{:08d}-0000-4000-8000-000000000000.mp4"
RELEASES = {
    "ssv2": Release("ssv2", "SSv2, train and validation: 193,690 videos", draw_ssv2, 8.83e6, 8.67e6, 48),
    "human36m": Release(
        "human36m", "Human3.6M: 839 sequences of 1000 × 1000 pictures", draw_human36m, 422_055, 422_055
    ),
    "youtube-driving": Release(
        "youtube-driving", "YouTube Driving: 88 folders of 1280 × 720 pictures", draw_driving_pictures,
        1_720_325, 1_720_325,
    ),
    "youtube-driving-videos": Release(
        "youtube-driving", "the same as 1280 × 720 H.264 videos", videos(720, 1280, 10, "dir-{}.mp4"),
        5 * 1_720_325, 1_720_325, 300,
    ),
    "ego4d": Release(
        "ego4d", f"Ego4D: {EGO4D_HOURS:,} hours of 1920 × 1080 H.264, 5 of 30 frames a second at 256 pixels",
        videos(1080, 1920, 6, EGO4D_FILE), EGO4D, EGO4D / 6, 180,
    ),
    "ego4d-540": Release(
        "ego4d", "the same from its 960 × 540 copies", videos(540, 960, 10, EGO4D_FILE), EGO4D, EGO4D / 6, 300
    ),
    "rlbench": Release(
        "rlbench", f"RLBench: {RLBENCH_VIDEOS:,} episodes, taken as {RLBENCH_FRAMES} frames each", draw_rlbench,
        RLBENCH_VIDEOS * RLBENCH_FRAMES, RLBENCH_VIDEOS * RLBENCH_FRAMES,
    ),
}  # fmt: skip
ITEMS = {
    "ssv2": 24, "human36m": 8, "youtube-driving": 6, "youtube-driving-videos": 4, "ego4d": 4, "ego4d-540": 4,
    "rlbench": 200,
}  # fmt: skip
"""Items of the small releases."""


def measured(release: Release, folder: Path, items: int, rounds: int) -> dict[str, Any]:
    """Rate and bytes of a release of `items` items, and what they make of the full one."""
    raw, out, rates, stored = folder / "raw", folder / "out", [], 0
    release.draw(raw, items)
    words = (release.dataset, raw, out, "--workers", "1")
    for _ in range(rounds):
        start, _ = job(*words, "--limit", "1")
        begun = stored_frames(out)
        cpu, _ = job(*words)
        stored = stored_frames(out)
        counted = stored - begun if release.item_frames is None else release.item_frames * (items - 1)
        rates.append(counted / (cpu - start))
    rate = statistics.median(rates)
    bytes_a_frame = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / stored
    return {
        "rate": round(rate), "rate_range": [round(min(rates)), round(max(rates))],
        "of": "stored" if release.item_frames is None else "decoded", "rounds": rounds,
        "frames": {"decoded": round(release.decoded), "stored": round(release.stored)},
        "bytes_a_frame": round(bytes_a_frame), "gigabytes": _short(release.stored * bytes_a_frame / 1e9),
        "hours": {str(cores): _short(release.decoded / rate / cores / 3600) for cores in CORES},
    }  # fmt: skip


def stored_frames(folder: Path) -> int:
    """Frames of a shard set."""
    return int(read_manifest(folder).totals["num_frames"])


def _short(value: float) -> float:
    """Two digits are all that such a reckoning is worth."""
    return float(f"{value:.2g}")


def table(found: dict[str, dict[str, Any]]) -> str:
    """The rows of docs/datasets/README.md."""
    head = "| release | frames | rate per core (spread) | 2 cores | 16 cores | 256 cores | the set |"
    rows = [head, "|---|---|---|---|---|---|---|"]
    for name, row in found.items():
        frames, low_high = row["frames"], row["rate_range"]
        decoded = f"{_millions(frames['decoded'])} decoded, " if row["of"] == "decoded" else ""
        cells = [
            RELEASES[name].what, f"{decoded}{_millions(frames['stored'])} stored",
            f"{row['rate']:,} / s ({low_high[0]:,} to {low_high[1]:,})",
            *(_time(row["hours"][str(cores)]) for cores in CORES[1:]), f"{row['gigabytes']:,g} GB",
        ]  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _millions(frames: int) -> str:
    return f"{frames / 1e6:.3g} M" if frames >= 1_000_000 else f"{frames:,}"


def _time(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.0f} h" if hours >= 100 else f"{hours:.2g} h"
    return f"{60 * hours:.2g} min" if hours >= 0.1 / 60 else "< 0.1 min"


def main() -> None:
    """Run the benchmark; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--only", nargs="+", choices=RELEASES, default=list(RELEASES), metavar="NAME")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write the last line to this file too")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    found: dict[str, dict[str, Any]] = {}
    for name in arguments.only:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measured(RELEASES[name], Path(folder), ITEMS[name], 1 if arguments.quick else 10)
        print(
            f"{name:24} {found[name]['rate']:>8} frames / CPU-s, {found[name]['bytes_a_frame']} bytes a frame",
            flush=True,
        )
    print(table(found))
    keep_line(
        {"benchmark": "prepare_rates", "quick": arguments.quick, "machine": machine(), "releases": found},
        arguments.keep,
    )


if __name__ == "__main__":
    main()
