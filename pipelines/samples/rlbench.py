"""A tiny RLBench release: episode files in which an arm of three links reaches for a block."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.samples.drawing import fill_box, fill_limb, texture
from pipelines.samples.frame_number import draw_number

SIDE = 64
TASKS = ("reach_target", "push_button", "lift_block")


def write_sample(folder: Path, videos: int, seed: int) -> None:
    """Write the release: `<task>/<time>-<identifier>-<length>.npz`.

    Args:
        folder: of the release; made when absent.
        videos: number of episodes, of 30 to 60 frames.
        seed: of pictures and motion.
    """
    for number in range(videos):
        generator = np.random.Generator(np.random.Philox(key=[seed, number]))
        length = int(generator.integers(30, 61))
        images = _pictures(generator, length)  # (T, 64, 64, 3)
        inside = folder / TASKS[number % len(TASKS)]
        inside.mkdir(parents=True, exist_ok=True)
        name = f"20220601T{number // 3600 % 24:02d}{number // 60 % 60:02d}{number % 60:02d}"
        rewards = np.zeros(length, np.float32)
        rewards[-1] = 1.0
        np.savez_compressed(
            inside / f"{name}-{generator.bytes(16).hex()}-{length}.npz",
            image=images,
            action=generator.uniform(-1, 1, (length, 8)).astype(np.float32),
            reward=rewards,
            is_first=np.arange(length) == 0,
            is_last=np.arange(length) == length - 1,
            is_terminal=np.arange(length) == length - 1,
        )


def _pictures(generator: np.random.Generator, length: int) -> np.ndarray:
    scene = texture(generator, SIDE, SIDE, 3, 30)
    grip = np.array([3.0, 0.0])
    target = generator.uniform([6, 44], [58, 58])
    images = np.empty((length, SIDE, SIDE, 3), np.uint8)
    for number in range(length):
        picture = scene.copy()
        share = number / (length - 1)
        fill_box(picture, target[0] - 4, target[1] - 4, target[0] + 4, target[1] + 4, (220, 60, 40))
        hand = np.array([32.0, 8.0]) * (1 - share) + (target - [0, 6]) * share
        elbow = (hand + np.array([32.0, 0.0])) / 2 + np.array([10 * np.sin(share * 3), 0.0])
        fill_limb(picture, np.array([32.0, 0.0]), elbow, 3, (230, 230, 230))
        fill_limb(picture, elbow, hand, 2.5, (200, 200, 210))
        fill_limb(picture, hand - grip, hand + grip, 1.5, (40, 40, 40))
        draw_number(picture, number)
        images[number] = picture
    return images
