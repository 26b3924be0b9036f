"""Damaged video files, the same ones for the same seed: real small videos in five formats, damaged in eleven ways.

    python -m tests.faults.fuzz_corpus FOLDER [--rounds 13] [--seed 0]

Every frame shows its number, so that what is left of a damaged file can be told from what should be there. 13 rounds
make 715 files; the five intact ones lie beside them.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipelines.samples.frame_number import draw_number
from tests.pipelines.ssv2_maker import write_video

FRAMES, HEIGHT, WIDTH = 36, 96, 128
FORMATS = {
    "vp9.webm": "libvpx-vp9", "h264.mp4": "libx264", "h264.mkv": "libx264", "mpeg4.avi": "mpeg4", "h264.ts": "libx264",
}  # fmt: skip


def pictures() -> list[np.ndarray]:
    """Numbers over a texture that moves: files of some 50 kB, in which damage rarely meets nothing."""
    texture = np.random.default_rng(0).integers(60, 180, (HEIGHT // 8, WIDTH // 8 + FRAMES, 3), np.uint8)
    found = []
    for number in range(FRAMES):
        part = texture[:, number : number + WIDTH // 8]
        picture = np.repeat(np.repeat(part, 8, axis=0), 8, axis=1)
        draw_number(picture, number)
        found.append(picture)
    return found


def _place(data: bytearray, size: int, generator: random.Random) -> int:
    return generator.randrange(max(1, len(data) - size))


def _block(data: bytearray) -> int:
    return min(4096, max(8, len(data) // 16))


def _cut(data: bytearray, generator: random.Random) -> None:
    del data[generator.randrange(1, len(data)) :]


def _zeros(data: bytearray, generator: random.Random) -> None:
    start, size = _place(data, _block(data), generator), _block(data)
    data[start : start + size] = bytes(size)


def _noise(data: bytearray, generator: random.Random) -> None:
    start, size = _place(data, _block(data), generator), _block(data)
    data[start : start + size] = generator.randbytes(size)


def _flip(bits: int) -> Callable[[bytearray, random.Random], None]:
    def flip(data: bytearray, generator: random.Random) -> None:
        for _ in range(bits):
            data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)

    return flip


def _drop(data: bytearray, generator: random.Random) -> None:
    start = _place(data, _block(data), generator)
    del data[start : start + _block(data)]


def _repeat(data: bytearray, generator: random.Random) -> None:
    start, size = _place(data, _block(data), generator), _block(data)
    data[start:start] = data[start : start + size]


def _swap(data: bytearray, generator: random.Random) -> None:
    size = _block(data)
    first, second = (_place(data, size, generator) for _ in range(2))
    data[first : first + size], data[second : second + size] = data[second : second + size], data[first : first + size]


def _head(data: bytearray, generator: random.Random) -> None:
    start = generator.randrange(256)
    data[start : start + 8] = generator.randbytes(8)


def _tail(data: bytearray, generator: random.Random) -> None:
    data[-generator.randrange(9, 256) : -8] = b""


DAMAGE: dict[str, Callable[[bytearray, random.Random], None]] = {
    "cut": _cut, "zeros": _zeros, "noise": _noise, "flip1": _flip(1), "flip8": _flip(8), "flip64": _flip(64),
    "drop": _drop, "repeat": _repeat, "swap": _swap, "head": _head, "tail": _tail,
}  # fmt: skip


def make_corpus(folder: Path, rounds: int, seed: int) -> list[str]:
    """Write the intact files and the damaged ones; returns the names of the latter, `<damage>_<round>_<format>`."""
    moving, names = pictures(), []
    for file, codec in FORMATS.items():
        intact = write_video(folder / f"intact_{file}", moving, codec=codec).read_bytes()
        for number in range(rounds):
            for kind, damage in DAMAGE.items():
                data = bytearray(intact)
                damage(data, random.Random(f"{seed} {number} {kind} {file}"))
                names.append(f"{kind}_{number}_{file}")
                (folder / names[-1]).write_bytes(data)
    return names


def main() -> None:
    """Write the corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=13)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"{len(make_corpus(options.folder, options.rounds, options.seed))} damaged files in {options.folder}")


if __name__ == "__main__":
    main()
