"""Throughput of `prepare` against decoding alone, on 240-pixel VP9 webm videos of 4 seconds.

    python benchmarks/prepare_throughput.py [--quick]

`vs_decode_only`: frames per CPU-second of the whole job (decode, scale, JPEG, tar, index, supervision; user and system
time of all its processes) over frames per CPU-second of `for frame in container.decode(stream)` alone with one codec
thread, same files. Start-up is taken off by subtracting a job with one video. Median over ten pairs (quick: two) in
turn, with the smallest and the largest in `*_range`. The job has 480 videos in 16 shards of 30 (quick: 64 in 16 of
four, where what a shard costs weighs more); a release of thousands has shards of 256.
`vs_ffmpeg_per_video`: the same numerator over one ffmpeg process per video that writes 64x64 JPEG files; null without
ffmpeg. `two_workers`: wall time with one worker over that with two, without start-up; it needs two idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import av
from paired_timing import machine

from ipv_bench.seeding import numpy_generator
from pipelines.samples.ssv2 import encode_vp9
from pipelines.samples.ssv2_scene import MOTIONS, NOUNS, Scene

NUM_FRAMES, FPS = 48, 12
BACKGROUND = 1
"""426 pixels wide."""


def make_release(
    folder: Path, distinct: int, copies: int, num_frames: int = NUM_FRAMES, *, link: bool = False
) -> list[Path]:
    """An SSv2 release of `distinct * copies` videos, the copies files or hard links; encoding many different ones would
    take longer than measuring."""
    videos = folder / "20bn-something-something-v2"
    videos.mkdir(parents=True)
    paths, entries = [], []
    for number in range(distinct):
        motion = MOTIONS[number % len(MOTIONS)]
        generator = numpy_generator(0, number, "benchmark scene")
        scene = Scene(motion, BACKGROUND, NOUNS[number % 6 : number % 6 + 2], num_frames, 0, generator)
        first = videos / f"{number}.webm"
        encode_vp9(first, scene.frames(), FPS)
        for copy in range(copies):
            path = videos / f"{number + copy * distinct}.webm"
            if copy:
                (path.hardlink_to if link else partial(shutil.copyfile, dst=path))(first)
            paths.append(path)
            entries.append({"id": path.stem, "template": motion.template})
    labels = folder / "labels"
    labels.mkdir()
    names = sorted({motion.template.replace("[", "").replace("]", "") for motion in MOTIONS})
    (labels / "labels.json").write_text(json.dumps({name: str(index) for index, name in enumerate(names)}))
    (labels / "train.json").write_text(json.dumps(sorted(entries, key=lambda entry: int(entry["id"]))))
    (labels / "validation.json").write_text("[]")
    return sorted(paths)


def decode_only(paths: list[Path]) -> float:
    """CPU seconds of decoding every frame, one codec thread."""
    begun = time.process_time()
    for path in paths:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            for _ in container.decode(stream):
                pass
    return time.process_time() - begun


def job(dataset: str, release: Path, out: Path, *options: str) -> tuple[float, float]:
    """(CPU seconds, wall seconds) of one `prepare` command with all its processes."""
    shutil.rmtree(out, ignore_errors=True)
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-P", "-m", "ipv_bench", "prepare", dataset, "--quiet", "--source", str(release)]
    subprocess.run([*command, "--out", str(out), *options], check=True)
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def ffmpeg_per_video(paths: list[Path], out: Path) -> float | None:
    """CPU seconds of one ffmpeg process per video, or None without ffmpeg."""
    program = shutil.which("ffmpeg")
    if program is None:
        return None
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for path in paths:
        folder = out / path.stem
        folder.mkdir(parents=True, exist_ok=True)
        command = [program, "-loglevel", "error", "-y", "-threads", "1", "-i", str(path), "-vf", "scale=64:64"]
        subprocess.run([*command, str(folder / "%05d.jpg")], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(folder: Path, distinct: int, copies: int, rounds: int) -> dict[str, Any]:
    """All figures."""
    paths = make_release(folder / "release", distinct, copies)
    num_frames = len(paths) * NUM_FRAMES
    release, out = folder / "release", folder / "out"
    decode, frame, one, two = [], [], [], []
    for _ in range(rounds):
        decode.append(decode_only(paths) / num_frames)
        start, start_wall = job("ssv2", release, out, "--workers", "1", "--limit", "1")
        cpu, wall = job("ssv2", release, out, "--workers", "1")
        frame.append((cpu - start) / (num_frames - NUM_FRAMES))
        one.append(wall - start_wall)
        two.append(job("ssv2", release, out, "--workers", "2")[1] - start_wall)
        print(f"CPU microseconds a frame: decoding {decode[-1] * 1e6:.0f}, job {frame[-1] * 1e6:.0f}", flush=True)
    few = paths[: max(4, len(paths) // 6)]
    ffmpeg = ffmpeg_per_video(few, folder / "ffmpeg")
    shares, walls = _ratios(decode, frame), _ratios(one, two)
    return {
        "frames": num_frames,
        "pairs": rounds,
        "decode_frames_per_cpu_second": round(1 / statistics.median(decode)),
        "prepare_frames_per_cpu_second": round(1 / statistics.median(frame)),
        "vs_decode_only": shares[0],
        "vs_decode_only_range": shares[1:],
        "vs_ffmpeg_per_video": None if ffmpeg is None else round(ffmpeg / len(few) / NUM_FRAMES / min(frame), 2),
        "two_workers": walls[0],
        "two_workers_range": walls[1:],
    }


def _ratios(above: list[float], below: list[float]) -> list[float]:
    """Median, smallest and largest ratio over the pairs."""
    found = [one / other for one, other in zip(above, below, strict=True)]
    return [round(value, 3) for value in (statistics.median(found), min(found), max(found))]


def main() -> None:
    """Run the benchmark; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two pairs, other videos")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        distinct, copies, rounds = (8, 8, 2) if arguments.quick else (12, 40, 10)
        result = measure(Path(folder), distinct, copies, rounds)
    print(json.dumps({"benchmark": "prepare_throughput", "quick": arguments.quick, "machine": machine(), **result}))


if __name__ == "__main__":
    main()
