"""A tiny YouTube Driving release: a road that comes nearer, and a lorry ahead that carries the frame's number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import simplejpeg

from pipelines.datasets.base import Box
from pipelines.decoding.geometry import centre_square
from pipelines.samples.drawing import fill_box, texture
from pipelines.samples.encode_video import write_h264
from pipelines.samples.frame_number import draw_number

HEIGHT, WIDTH, FPS = 180, 320, 30
NUM_FRAMES = 260
FIRST_NUMBER = 1
GAP = (140, 150)
"""File numbers that are missing in every third folder, the second one first: extraction lost a few frames."""
_HORIZON = 70


def write_sample(folder: Path, videos: int, seed: int) -> None:
    """Write the release: folders of JPEGs, every third item a video file.

    Args:
        folder: of the release; made when absent.
        videos: number of items.
        seed: of the scenes.
    """
    for number in range(videos):
        generator = np.random.Generator(np.random.Philox(key=[seed, number]))
        is_video = number % 3 == 2
        region = centre_square(HEIGHT, WIDTH)
        pictures = driving(generator, NUM_FRAMES, region, first=0 if is_video else FIRST_NUMBER)
        if is_video:
            write_h264(folder / f"dir-{number}.mp4", pictures, FPS)
            continue
        inside = folder / f"dir-{number}"
        inside.mkdir(parents=True, exist_ok=True)
        for file_number, picture in enumerate(pictures, start=FIRST_NUMBER):
            if number % 3 == 1 and GAP[0] <= file_number < GAP[1]:
                continue
            data = simplejpeg.encode_jpeg(picture, quality=90, colorsubsampling="420", fastdct=False)
            (inside / f"{file_number}.jpg").write_bytes(data)


def driving(
    generator: np.random.Generator, num_frames: int, region: Box | None = None, first: int = 0
) -> Iterator[np.ndarray]:
    """Pictures of a drive, uint8 (180, 320, 3), each with its number.

    Args:
        generator: of the scene.
        num_frames: how many.
        region: in whose middle the number stands; None for the whole picture.
        first: number of the first picture.
    """
    sky = texture(generator, _HORIZON, 4 * WIDTH, 14, 40) // 2 + np.array([60, 90, 120], np.uint8)
    grass = generator.integers(40, 120, 3)
    y = np.arange(_HORIZON, HEIGHT)[:, None] - _HORIZON + 1.0  # (H', 1) below the horizon
    x = np.arange(WIDTH)[None, :] - WIDTH / 2
    depth = 260 / y
    speed, turn = generator.uniform(0.25, 0.6), generator.uniform(-1, 1)
    colour = tuple(generator.integers(30, 220, 3).tolist())
    for number in range(num_frames):
        picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        start = int((number * turn * 2) % (3 * WIDTH))
        picture[:_HORIZON] = sky[:, start : start + WIDTH]
        stripe = ((depth + speed * number) % 4 < 2)[..., None]
        ground = np.where(stripe, grass, grass * 0.8)  # (H', 1, 3)
        road = np.abs(x) < 2.2 * y
        line = (np.abs(x) < 0.08 * y) & ((depth + speed * number) % 2 < 1)
        scene = np.where(road[..., None], 90.0, ground)
        picture[_HORIZON:] = np.where(line[..., None], 230.0, scene)
        sway = 3 * np.sin(number * 0.05)
        fill_box(picture, 122 + sway, 52, 198 + sway, 126, (colour[0], colour[1], colour[2]))
        fill_box(picture, 128 + sway, 126, 144 + sway, 136, (20, 20, 20))
        fill_box(picture, 176 + sway, 126, 192 + sway, 136, (20, 20, 20))
        draw_number(picture, first + number, region)
        yield picture
