"""A tiny Ego4D release: hands over a table, filmed from the head; the frame's number lies on the table."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipelines.samples.drawing import fill_limb, texture
from pipelines.samples.encode_video import write_h264
from pipelines.samples.frame_number import draw_number

HEIGHT, WIDTH, FPS = 240, 428, 30
SCENARIOS = ("Cooking", "Carpenter", "Playing cards", "Cleaning / laundry")


def write_sample(folder: Path, videos: int, seed: int) -> None:
    """Write the release: `ego4d.json` and `full_scale/<video_uid>.mp4`.

    Args:
        folder: of the release; made when absent.
        videos: number of videos, of 5 to 7 seconds.
        seed: of uids, pictures and motion.
    """
    entries = []
    for number in range(videos):
        generator = np.random.Generator(np.random.Philox(key=[seed, number]))
        uid = str(uuid.UUID(bytes=generator.bytes(16), version=4))
        num_frames = int(generator.integers(150, 210))
        write_h264(folder / "full_scale" / f"{uid}.mp4", _pictures(generator, num_frames), FPS)
        entries.append(
            {
                "video_uid": uid,
                "duration_sec": num_frames / FPS,
                "scenarios": [SCENARIOS[number % len(SCENARIOS)]],
                "video_metadata": {"fps": float(FPS), "num_frames": num_frames, "video_codec": "h264"},
            }
        )
    text = json.dumps({"date": "260101", "version": "v2", "videos": entries}, indent=1)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ego4d.json").write_text(text + "\n")


def _pictures(generator: np.random.Generator, num_frames: int) -> Iterator[np.ndarray]:
    table = texture(generator, HEIGHT + 40, WIDTH + 40, 7)
    phase = generator.uniform(0, 6)
    for number in range(num_frames):
        x, y = (20 + 15 * np.sin(number * 0.02 + shift) for shift in (phase, phase + 1))  # the head moves
        picture = table[int(y) : int(y) + HEIGHT, int(x) : int(x) + WIDTH].copy()
        for side, shift in ((-1, 0.0), (1, 2.0)):
            hand = np.array([WIDTH / 2 + side * 110, 150 + 40 * np.sin(number * 0.08 + shift + phase)])
            fill_limb(picture, hand, np.array([WIDTH / 2 + side * 160, float(HEIGHT)]), 22, (200, 150, 120))
            fill_limb(picture, hand, hand - np.array([side * 14, 24]), 9, (210, 160, 130))
        draw_number(picture, number)
        yield picture
