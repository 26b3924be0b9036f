"""A tiny Something-Something-v2: VP9 webm files in which the motion is the one that the label tells, and the truth."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from ipv_bench.ground_truth import GroundTruth, VideoTruth
from ipv_bench.seeding import numpy_generator
from pipelines.samples.encode_video import EXACT
from pipelines.samples.ssv2_scene import MOTIONS, NOUNS, NUM_BACKGROUNDS, Motion, Scene

FPS = 12


@dataclass(frozen=True)
class _Video:
    """A video, as drawn from the seed: its motion, background and objects are independent of one another."""

    source_id: str
    split: str
    motion: Motion
    background: int
    nouns: tuple[str, ...]
    number: int
    num_frames: int


def write_sample(folder: Path, videos: int, seed: int) -> None:
    """Write `videos` webm files of train and validation, two more of test, the lists, and the ground truth.

    About one in twelve is shorter than 25 frames; from four videos on, one is cut off in the middle.
    """
    plan = _plan(videos, seed)
    video_folder = folder / "20bn-something-something-v2"
    video_folder.mkdir()

    def write(video: _Video) -> VideoTruth:
        generator = numpy_generator(seed, video.number, "ssv2 sample scene")
        scene = Scene(video.motion, video.background, video.nouns, video.num_frames, seed, generator)
        encode_vp9(video_folder / f"{video.source_id}.webm", scene.frames(), FPS)
        return _truth(video, scene)

    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))  # the encoder lets other threads run
    try:
        found = list(pool.map(write, plan))
    finally:  # a stop while videos are still being handed out: those that have not begun are not made
        pool.shutdown(wait=True, cancel_futures=True)
    if videos >= 4:
        broken = video_folder / f"{plan[3].source_id}.webm"
        data = broken.read_bytes()
        broken.write_bytes(data[: len(data) * 3 // 5])
    _write_lists(folder / "labels", plan)
    truth = {video.source_id: entry for video, entry in zip(plan, found, strict=True)}
    GroundTruth(data_set="ssv2", backgrounds=NUM_BACKGROUNDS, objects=list(NOUNS), videos=truth).write(folder)


def _truth(video: _Video, scene: Scene) -> VideoTruth:
    positions = [[(round(x, 5), round(y, 5)) for x, y in path.tolist()] for path in scene.positions()]
    return VideoTruth(
        template=video.motion.template, background=video.background, objects=list(video.nouns), positions=positions
    )


def _plan(videos: int, seed: int) -> list[_Video]:
    generator = numpy_generator(seed, 0, "ssv2 sample plan")
    ids = generator.choice(220_847, videos + 2, replace=False) + 1
    motions, backgrounds = (_evenly(generator, videos + 2, count) for count in (len(MOTIONS), NUM_BACKGROUNDS))
    found = []
    for number in range(videos + 2):
        split = "test" if number >= videos else "validation" if number % 6 == 5 else "train"
        motion = MOTIONS[motions[number]]
        nouns = tuple(NOUNS[n] for n in generator.choice(len(NOUNS), motion.num_objects, replace=False))
        num_frames = int(np.clip(generator.normal(38, 8), 26, 60))
        if number % 12 == 7:
            num_frames = int(generator.integers(8, 25))
        elif number % 12 == 10:
            num_frames = int(generator.integers(60, 81))
        found.append(_Video(str(ids[number]), split, motion, backgrounds[number], nouns, number, num_frames))
    return found


def _evenly(generator: np.random.Generator, total: int, count: int) -> list[int]:
    """`total` draws from 0 … `count` - 1: in a new random order again and again, so that none is rare."""
    rounds = [generator.permutation(count) for _ in range(-(-total // count))]
    return [int(number) for number in np.concatenate(rounds)[:total]]


def _write_lists(folder: Path, plan: list[_Video]) -> None:
    folder.mkdir()
    for split in ("train", "validation"):
        entries = []
        for video in plan:
            if video.split == split:
                entries.append(
                    {
                        "id": video.source_id,
                        "label": video.motion.sentence(video.nouns),
                        "template": video.motion.template,
                        "placeholders": list(video.nouns),
                    }
                )
        _dump(folder / f"{split}.json", entries)
    _dump(folder / "test.json", [{"id": video.source_id} for video in plan if video.split == "test"])
    _dump(folder / "labels.json", {template: str(number) for number, template in enumerate(templates())})


def _dump(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=0, ensure_ascii=False))


def templates() -> list[str]:
    """The 174 label templates without brackets, in the order of their numbers."""
    text = (resources.files("pipelines.datasets") / "tables" / "ssv2_templates.txt").read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def encode_vp9(path: Path, frames: object, fps: int) -> None:
    """Encode pictures as VP9 in WebM, with one thread and without dates or random ids: the same bytes every time.

    Args:
        frames: iterable of uint8 (H, W, 3).
        fps: frames per second.
    """
    scaler = VideoReformatter()
    options = {"deadline": "realtime", "cpu-used": "8", "row-mt": "0", "b": "260k", "flags": "+bitexact"}
    with av.open(str(path), "w", format="webm", options={"fflags": "+bitexact"}) as container:
        stream = None
        for picture in frames:  # type: ignore[attr-defined]
            if stream is None:
                stream = container.add_stream("libvpx-vp9", rate=fps, options=options)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.thread_count = 1
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            # without these flags the result depends on where in memory the picture lies
            container.mux(stream.encode(scaler.reformat(frame, format="yuv420p", interpolation=EXACT, threads=1)))
        if stream is not None:
            container.mux(stream.encode(None))
