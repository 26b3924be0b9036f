"""Episode files whose tracks say which frame they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.shard_set_maker import numbered_frames

SIZE = (16, 16)


def episode(number: int, length: int) -> dict[str, Any]:
    """Frames that show `number` and their own number; `action[t]` is (t, number + 1), zero at t = 0."""
    frames = np.arange(length, dtype=np.float32)
    action = np.stack([frames, np.full(length, number + 1, np.float32)], 1)
    action[0] = 0
    return {
        "image": numbered_frames(number, length, SIZE),
        "action": action,
        "reward": frames / 4,
        "is_first": np.arange(length) == 0,
    }


def write_episodes(folder: Path, lengths: tuple[int, ...], name: str = "e{}", **changes: Any) -> Path:
    """Write one file per length; `changes` replaces arrays of all of them (None leaves one out)."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, length in enumerate(lengths):
        arrays = {key: value for key, value in (episode(number, length) | changes).items() if value is not None}
        np.savez_compressed(folder / f"{name.format(number)}.npz", **arrays)
    return folder
