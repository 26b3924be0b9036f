"""Episodes whose actions are known exactly: a blob is moved by them over a plain background; episode files for
`prepare episodes`.

Colours of blob and background differ from episode to episode (the context), the motion does not. At each step an action
is drawn uniformly from [-1, 1]², the blob moves by it times `STEP` pixels and stops at the walls, and what it really
moved, divided by `STEP`, is the action that is stored: of the file, the frames and the actions say the same. `state` is
the blob's place. In `moving-blob-distractor` a second blob moves about by actions of its own, which nothing tells.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SIDE, RADIUS, STEP, LENGTH = 64, 6.0, 6.0, 50
"""Pixels, pixels, pixels per step, and frames of an episode."""
LOW, HIGH = RADIUS + 1, SIDE - RADIUS - 2
"""Where a blob's centre may be, in pixels."""


def write_sample(folder: Path, videos: int, seed: int) -> None:
    """Write `<number>-<steps>.npz` with `image`, `action` (x, y), `state` (x, y in [0, 1]) and `is_first`.

    Args:
        folder: of the release; made when absent.
        videos: number of episodes, of 50 frames.
        seed: of colours and motion.
    """
    _write(folder, videos, seed, distractor=False)


def write_sample_with_distractor(folder: Path, videos: int, seed: int) -> None:
    """The same with a second blob, which moves independently; blob, colours and actions are those of `write_sample`."""
    _write(folder, videos, seed, distractor=True)


def _write(folder: Path, videos: int, seed: int, distractor: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(videos):
        arrays: dict[str, Any] = dict(blob_episode(number, seed, distractor))
        np.savez_compressed(folder / f"{number:06d}-{LENGTH - 1}.npz", **arrays)


def blob_episode(number: int, seed: int, distractor: bool) -> dict[str, np.ndarray]:
    """The arrays of one episode: image (50, 64, 64, 3), action, state (50, 2), is_first (50,)."""
    generator = np.random.Generator(np.random.Philox(key=[seed, number]))
    background, colour, other = generator.integers([[0] * 3, [128] * 3, [128] * 3], [[100] * 3, [256] * 3, [256] * 3])
    places, action = _walk(generator)
    strangers = _walk(generator)[0] if distractor else None  # drawn last: the rest does not depend on it
    images = np.empty((LENGTH, SIDE, SIDE, 3), np.uint8)
    for t in range(LENGTH):
        picture = np.full((SIDE, SIDE, 3), background, np.float32)
        if strangers is not None:
            _draw(picture, strangers[t], other)
        _draw(picture, places[t], colour)
        images[t] = np.rint(picture)
    return {
        "image": images,
        "action": action,
        "state": ((places - LOW) / (HIGH - LOW)).astype(np.float32),
        "is_first": np.arange(LENGTH) == 0,
    }


def _walk(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Places (T, 2) in pixels, and the actions (T, 2) that led to them, zero at first."""
    places = np.empty((LENGTH, 2))
    places[0] = generator.uniform(LOW, HIGH, 2)
    for t in range(1, LENGTH):
        places[t] = np.clip(places[t - 1] + STEP * generator.uniform(-1, 1, 2), LOW, HIGH)
    action = np.diff(places, axis=0, prepend=places[:1]) / STEP
    return places, action.astype(np.float32)


def _draw(picture: np.ndarray, place: np.ndarray, colour: np.ndarray) -> None:
    """A disc with a soft edge of one pixel, so that its place can be told to a fraction of a pixel."""
    y, x = np.mgrid[:SIDE, :SIDE]
    distance = np.hypot(x - place[0], y - place[1])
    share = np.clip(RADIUS + 0.5 - distance, 0, 1)[..., None]
    picture += share * (colour - picture)
