"""Throughput of `prepare` against decoding alone, on 240-pixel VP9 webm videos of 4 seconds.

    python benchmarks/prepare_throughput.py [--quick]

`vs_decode_only`: frames per CPU-second of the whole job (decode, scale, JPEG, tar, index, supervision; user and system
time of all its processes) over frames per CPU-second of `for frame in container.decode(stream)` alone with one codec
thread, same files. Start-up is taken off by subtracting a job with one video. Best of 3, the two interleaved.
`vs_ffmpeg_per_video`: the same numerator over one ffmpeg process per video that writes 64x64 JPEG files; null without
ffmpeg. `two_workers`: wall time with one worker over that with two, without start-up; it needs two idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av

from ipv_bench.seeding import numpy_generator
from pipelines.samples.ssv2 import encode_vp9
from pipelines.samples.ssv2_scene import MOTIONS, NOUNS, Scene

NUM_FRAMES, FPS = 48, 12
BACKGROUND = 1
"""426 pixels wide."""


def make_release(folder: Path, distinct: int, copies: int) -> list[Path]:
    """An SSv2 release of `distinct * copies` videos; encoding many different ones would take longer than measuring."""
    videos = folder / "20bn-something-something-v2"
    videos.mkdir(parents=True)
    paths, entries = [], []
    for number in range(distinct):
        motion = MOTIONS[number % len(MOTIONS)]
        generator = numpy_generator(0, number, "benchmark scene")
        scene = Scene(motion, BACKGROUND, NOUNS[number % 6 : number % 6 + 2], NUM_FRAMES, 0, generator)
        first = videos / f"{number}.webm"
        encode_vp9(first, scene.frames(), FPS)
        for copy in range(copies):
            path = videos / f"{number + copy * distinct}.webm"
            if copy:
                shutil.copyfile(first, path)
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


def job(release: Path, out: Path, *options: str) -> tuple[float, float]:
    """(CPU seconds, wall seconds) of one `prepare` command with all its processes."""
    shutil.rmtree(out, ignore_errors=True)
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-P", "-m", "ipv_bench", "prepare", "ssv2", "--quiet", "--source", str(release)]
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


def measure(folder: Path, distinct: int, copies: int, rounds: int) -> dict[str, float | int | None]:
    """All figures."""
    paths = make_release(folder / "release", distinct, copies)
    num_frames = len(paths) * NUM_FRAMES
    release, out = folder / "release", folder / "out"
    decode, whole, start, start_wall, walls = [], [], [], [], {1: [], 2: []}
    for _ in range(rounds):
        decode.append(decode_only(paths))
        cpu, wall = job(release, out, "--workers", "1", "--limit", "1")
        start.append(cpu)
        start_wall.append(wall)
        cpu, wall = job(release, out, "--workers", "1")
        whole.append(cpu)
        walls[1].append(wall)
        walls[2].append(job(release, out, "--workers", "2")[1])
        print(f"decode {decode[-1]:.2f} s, job {whole[-1]:.2f} s, its start {start[-1]:.2f} s of CPU", flush=True)
    per_frame = (min(whole) - min(start)) / (num_frames - NUM_FRAMES)
    few = paths[: max(4, len(paths) // 6)]
    ffmpeg = ffmpeg_per_video(few, folder / "ffmpeg")
    return {
        "frames": num_frames,
        "decode_frames_per_cpu_second": round(num_frames / min(decode)),
        "prepare_frames_per_cpu_second": round(1 / per_frame),
        "vs_decode_only": round(min(decode) / num_frames / per_frame, 3),
        "vs_ffmpeg_per_video": None if ffmpeg is None else round(ffmpeg / len(few) / NUM_FRAMES / per_frame, 2),
        "two_workers": round((min(walls[1]) - min(start_wall)) / (min(walls[2]) - min(start_wall)), 2),
    }


def main() -> None:
    """Run the benchmark; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer videos, one round less")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        distinct, copies, rounds = (8, 8, 2) if arguments.quick else (24, 8, 3)
        result = measure(Path(folder), distinct, copies, rounds)
    print(json.dumps({"benchmark": "prepare_throughput", "quick": arguments.quick, **result}))


if __name__ == "__main__":
    main()
