"""A tiny Something-Something-v2: VP9 webm files in which the motion is the one that the label tells."""

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

from ipv_bench.seeding import numpy_generator
from pipelines.samples.encode_video import EXACT
from pipelines.samples.ssv2_scene import ACTIONS, Scene, Script

FPS = 12
HEIGHT = 240
WIDTHS = (320, 426, 320, 180, 426, 360)
NOUNS = ("cup", "box", "bottle", "book", "toy car", "ball", "plate", "spoon", "phone", "candle", "shoe", "banana")


@dataclass(frozen=True)
class _Video:
    source_id: str
    split: str
    script: Script
    number: int
    num_frames: int


def write_sample(folder: Path, videos: int, seed: int) -> None:
    """Write `videos` webm files of train and validation, two more of test, and the lists.

    About one in twelve is shorter than 25 frames; from four videos on, one is cut off in the middle.
    """
    plan = _plan(videos, seed)
    video_folder = folder / "20bn-something-something-v2"
    video_folder.mkdir()

    def write(video: _Video) -> None:
        generator = numpy_generator(seed, video.number, "ssv2 sample scene")
        scene = Scene(video.script, WIDTHS[video.number % len(WIDTHS)], HEIGHT, video.num_frames, generator)
        encode_vp9(video_folder / f"{video.source_id}.webm", scene.frames(), FPS)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # the encoder lets other threads run
        list(pool.map(write, plan))
    if videos >= 4:
        broken = video_folder / f"{plan[3].source_id}.webm"
        data = broken.read_bytes()
        broken.write_bytes(data[: len(data) * 3 // 5])
    _write_lists(folder / "labels", plan)


def _plan(videos: int, seed: int) -> list[_Video]:
    generator = numpy_generator(seed, 0, "ssv2 sample plan")
    ids = generator.choice(220_847, videos + 2, replace=False) + 1
    found = []
    for number in range(videos + 2):
        split = "test" if number >= videos else "validation" if number % 6 == 5 else "train"
        script = ACTIONS[number % len(ACTIONS)]
        nouns = generator.choice(len(NOUNS), 2, replace=False)
        script = Script(script.template, script.action, tuple(NOUNS[n] for n in nouns))
        num_frames = int(np.clip(generator.normal(46, 13), 26, 120))
        if number % 12 == 7:
            num_frames = int(generator.integers(8, 25))
        elif number % 12 == 10:
            num_frames = int(generator.integers(70, 121))
        found.append(_Video(str(ids[number]), split, script, number, num_frames))
    return found


def _write_lists(folder: Path, plan: list[_Video]) -> None:
    folder.mkdir()
    for split in ("train", "validation"):
        entries = []
        for video in plan:
            if video.split == split:
                entries.append(
                    {
                        "id": video.source_id,
                        "label": video.script.sentence(),
                        "template": video.script.template,
                        "placeholders": list(video.script.used_nouns()),
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
