"""Random segments from a local shard set against opening JPEG files with PIL, and the quality of what is stored.

    python benchmarks/segments_throughput.py [--quick]

`mjpeg_vs_pil`, `raw_vs_pil`: 25-frame segments per CPU-second of `open_segments(...)[i]` over those of 25 times
`np.asarray(PIL.Image.open(path).convert("RGB"))`, random videos and starts on both sides, 64x64 pixels, files in the
page cache, the readers in turn: median over ten rounds (quick: three), with the smallest and the largest in `ranges`.
The JPEG files are those of one ffmpeg run per video with default options; `mjpeg_vs_pil_equal_quality` takes files with
our own quality instead.
`mjpeg_vs_mp4_seek`, `raw_vs_mp4_seek`: the same against random windows of an mp4 as LeRobot data sets hold them
(640x480, 100 episodes in one file, a key frame every second frame, H.264 and AV1: the faster of the two counts), by
PyAV with one thread from an open file, scaled to 64x64; our shards hold the same episodes. `mp4_seek_64px` is an mp4
of 64x64 pixels.
`remote_vs_local`: segments a second of a loop that takes at most 300, from an `mjpeg` set on a web server with 20 ms of
latency, over the same from the local folder, four workers each; `loop_frames_per_second_*`: what arrives in an empty
torch loop (`remote_segments.py`). These two are wall time: on a busy machine both sides are slower.
`psnr_mjpeg`: PSNR of our `mjpeg` encoding against the same frames stored as `raw`; `psnr_ffmpeg_default`: that of
ffmpeg's JPEG encoder with its default rate control (the library that the ffmpeg program runs, through PyAV).
`*_bytes_per_frame`: what each costs on disk.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import simplejpeg
from mp4_seek import SeekReader, write_sources
from paired_timing import machine
from PIL import Image
from remote_segments import remote_vs_local, torch_loop

from ipv_bench.open_store import open_store
from ipv_bench.seeding import numpy_generator
from ipv_bench.segment_source import SegmentSource
from ipv_bench.segments import open_segments

LENGTH = 25


def command(*words: str) -> None:
    """Run one ipv-bench command."""
    subprocess.run([sys.executable, "-P", "-m", "ipv_bench", *words, "--quiet"], check=True)


def all_frames(folder: Path) -> list[np.ndarray]:
    """(T, 64, 64, 3) of every video of a set."""
    source = SegmentSource(open_store(folder))
    lengths = source.index.video_frames.tolist()
    return [source.frames(video, 0, length) for video, length in enumerate(lengths)]


def ffmpeg_default_jpegs(frames: np.ndarray, fps: int = 12) -> list[bytes]:
    """JPEGs as `ffmpeg -i video %d.jpg` makes them: 4:2:0, 200 kbit/s rate control."""
    context = av.CodecContext.create("mjpeg", "w")
    context.height, context.width = frames.shape[1:3]
    context.pix_fmt, context.time_base, context.framerate = "yuvj420p", Fraction(1, fps), Fraction(fps)
    context.thread_count = 1
    packets = []
    for number, picture in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame = frame.reformat(format="yuvj420p", interpolation="BICUBIC")
        frame.pts, frame.time_base = number, Fraction(1, fps)
        packets += [bytes(packet) for packet in context.encode(frame)]
    return packets + [bytes(packet) for packet in context.encode(None)]


def write_files(folder: Path, videos: list[list[bytes]]) -> list[list[str]]:
    """One file per frame; returns their paths per video."""
    paths: list[list[str]] = []
    for number, frames in enumerate(videos):
        inside = folder / str(number)
        inside.mkdir(parents=True)
        paths.append([])
        for place, data in enumerate(frames):
            path = inside / f"{place}.jpg"
            path.write_bytes(data)
            paths[-1].append(str(path))
    return paths


def pil_segment(paths: list[list[str]], seed: int) -> np.ndarray:
    """A random segment from JPEG files, (25, 64, 64, 3)."""
    generator = numpy_generator(seed, 0, "pil segment")
    video = paths[int(generator.integers(len(paths)))]
    start = int(generator.integers(len(video) - LENGTH + 1))
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in video[start : start + LENGTH]])


def rates_by_round(
    readers: dict[str, Callable[[int], np.ndarray]], rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Segments per CPU-second of each reader in each round; they take turns."""
    rates: dict[str, list[float]] = {name: [] for name in readers}
    for turn in range(rounds + 1):  # the first round warms up
        for name, read in readers.items():
            begun, count = time.process_time(), 0
            while time.process_time() - begun < seconds:
                read(turn * 10_000_000 + count)
                count += 1
            if turn:
                rates[name].append(count / (time.process_time() - begun))
    return rates


def ratios(ours: list[float], theirs: list[float]) -> tuple[float, list[float]]:
    """Median over the rounds of ours / theirs, and the smallest and the largest."""
    found = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return round(statistics.median(found), 2), [round(min(found), 2), round(max(found), 2)]


def psnr(frames: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB over all pixels."""
    error = np.mean((frames.astype(np.float64) - other.astype(np.float64)) ** 2)
    return float(10 * np.log10(255**2 / error))


def decode(frames: list[bytes]) -> np.ndarray:
    """(T, H, W, 3), by PIL: another decoder than the one we read with."""
    import io

    return np.stack([np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in frames])


def main() -> None:
    """Measure, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer videos and rounds, under 50 s on two quiet cores")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command("sample", str(folder / "raw release"), "--videos", "24" if quick else "96")
        for encoding in ("mjpeg", "raw"):
            out = ["--source", str(folder / "raw release"), "--out", str(folder / encoding)]
            command("prepare", "ssv2", *out, "--set", f"encoding={encoding}", "--set", "max_failure_rate=0.2")
        mp4s = write_sources(folder)
        for encoding in ("mjpeg", "raw"):
            out = ["--source", str(folder / "clips"), "--out", str(folder / f"clips-{encoding}")]
            command("prepare", "folder", *out, "--set", f"encoding={encoding}")
        result = measure(folder, mp4s, quick)
        result |= remote_vs_local(folder / "mjpeg", 3 if quick else 12, 12 if quick else 25)
        result |= torch_loop(folder / "mjpeg", 1 if quick else 5, 15 if quick else 60)
    print(json.dumps(result))


def measure(folder: Path, mp4s: dict[str, Path], quick: bool) -> dict[str, object]:
    """All keys of the JSON line."""
    videos = all_frames(folder / "raw")
    ours = [[simplejpeg.encode_jpeg(frame, 95, colorsubsampling="444") for frame in frames] for frames in videos]
    theirs = [ffmpeg_default_jpegs(frames) for frames in videos]
    stored = np.concatenate(all_frames(folder / "mjpeg"))
    lossless = np.concatenate(videos)
    files, equal = write_files(folder / "ffmpeg", theirs), write_files(folder / "equal", ours)
    mjpeg, raw = open_segments(folder / "mjpeg", LENGTH, 0), open_segments(folder / "raw", LENGTH, 0)
    readers: dict[str, Callable[[int], np.ndarray]] = {
        "mjpeg": mjpeg.__getitem__,
        "pil": lambda seed: pil_segment(files, seed),
        "raw": raw.__getitem__,
        "pil_equal_quality": lambda seed: pil_segment(equal, seed),
        "mjpeg_clips": open_segments(folder / "clips-mjpeg", LENGTH, 0).__getitem__,
        "raw_clips": open_segments(folder / "clips-raw", LENGTH, 0).__getitem__,
        **{name: SeekReader(path, LENGTH) for name, path in mp4s.items()},
    }
    rounds = 3 if quick else 10
    rates = rates_by_round(readers, rounds, 0.5)
    medians = {reader: round(statistics.median(each), 1) for reader, each in rates.items()}
    for reader, rate in medians.items():
        print(f"{reader:<20} {rate:9.1f} segments of {LENGTH} frames per CPU-second")
    rates["mp4_seek"] = max(rates["mp4_seek_h264"], rates["mp4_seek_av1"], key=statistics.median)
    found = {
        "mjpeg_vs_mp4_seek": ratios(rates["mjpeg_clips"], rates["mp4_seek"]),
        "raw_vs_mp4_seek": ratios(rates["raw_clips"], rates["mp4_seek"]),
        "mjpeg_vs_pil": ratios(rates["mjpeg"], rates["pil"]),
        "raw_vs_pil": ratios(rates["raw"], rates["pil"]),
        "mjpeg_vs_pil_equal_quality": ratios(rates["mjpeg"], rates["pil_equal_quality"]),
    }
    return {
        **{key: ratio for key, (ratio, _) in found.items()},
        "ranges": {key: spread for key, (_, spread) in found.items()},
        "rounds": rounds,
        "segments_per_cpu_second": medians,
        "psnr_mjpeg": round(psnr(lossless, stored), 2),
        "psnr_ffmpeg_default": round(psnr(lossless, np.concatenate([decode(frames) for frames in theirs])), 2),
        "mjpeg_bytes_per_frame": round(float(np.mean([len(data) for frames in ours for data in frames]))),
        "ffmpeg_bytes_per_frame": round(float(np.mean([len(data) for frames in theirs for data in frames]))),
        "num_frames": len(lossless),
        "quick": quick,
        "machine": machine(),
    }


if __name__ == "__main__":
    main()
