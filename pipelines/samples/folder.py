"""A tiny tree of videos and folders of pictures, with the odd names that such trees have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import simplejpeg

from pipelines.samples.encode_video import write_h264
from pipelines.samples.youtube_driving import FPS, driving

NAMES = ("holiday film.mp4", "clips/v.1.2.mp4", "clips/frames of a drive", "été/straße.mp4")


def write_sample(folder: Path, videos: int, seed: int) -> None:
    """Write the tree: every fourth item is a folder of JPEGs, the others are videos.

    Args:
        folder: of the tree; made when absent.
        videos: number of items, of 30 to 60 frames.
        seed: of the scenes.
    """
    for number in range(videos):
        generator = np.random.Generator(np.random.Philox(key=[seed, number]))
        name = NAMES[number % len(NAMES)]
        turn = number // len(NAMES)
        path = folder / (f"{turn}/{name}" if turn else name)
        pictures = driving(generator, int(generator.integers(30, 61)))
        if path.suffix == ".mp4":
            write_h264(path, pictures, FPS)
            continue
        path.mkdir(parents=True, exist_ok=True)
        for place, picture in enumerate(pictures):
            data = simplejpeg.encode_jpeg(picture, quality=90, colorsubsampling="420", fastdct=False)
            (path / f"frame_{place:05d}.jpg").write_bytes(data)
