"""Small videos in many formats, and damage done to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.pipelines.ssv2_maker import write_video

NUM_FRAMES = 12

FORMATS: dict[str, dict] = {
    "vp9.webm": {},
    "live.webm": {"container_options": {"live": "1"}},
    "h264.mkv": {"codec": "libx264"},
    "h264.mp4": {"codec": "libx264"},
    "fragments.mp4": {
        "codec": "libx264",
        "options": {"g": "4"},
        "container_options": {"movflags": "frag_keyframe+empty_moov"},
    },
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "h264.ts": {"codec": "libx264"},
    "mpeg2.mpg": {"codec": "mpeg2video", "fps": 25},
    "flv1.flv": {"codec": "flv"},
    "wmv2.wmv": {"codec": "wmv2"},
    "anim.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "raw.mjpeg": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
}
"""File name → how it is encoded: one of each container whose structure is checked."""


def textured_pictures(count: int = NUM_FRAMES, height: int = 96, width: int = 128, seed: int = 0) -> list[np.ndarray]:
    """Moving texture, so that each coded picture has some hundred bytes."""
    generator = np.random.default_rng(seed)
    board = generator.integers(0, 256, (height // 4, width // 4 + count, 3), np.uint8)
    board = board.repeat(4, 0).repeat(4, 1)
    return [np.ascontiguousarray(board[:, 4 * number : 4 * number + width]) for number in range(count)]


def make(folder: Path, name: str) -> bytes:
    """Contents of an intact file of `FORMATS`."""
    return write_video(folder / name, textured_pictures(), **FORMATS[name]).read_bytes()


def zeros(data: bytes, part: float, length: int) -> bytes:
    """`length` zeros written over the data from a part of its length on."""
    place = int(len(data) * part)
    return data[:place] + bytes(min(length, len(data) - place)) + data[place + length :]


def dropped(data: bytes, part: float, length: int) -> bytes:
    """`length` bytes cut out."""
    place = int(len(data) * part)
    return data[:place] + data[place + length :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[: int(len(data) * 0.7)],
    "zeros": lambda data: zeros(data, 0.5, max(1500, len(data) // 8)),
    "hole": lambda data: dropped(data, 0.45, max(1500, len(data) // 8)),
}
