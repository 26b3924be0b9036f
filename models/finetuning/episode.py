"""The records of an episode: what they hold, and how they are collected while it is played."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIELDS = ("image", "action", "reward", "is_first", "is_terminal")
CHECKED_RECORDS = 512
"""Time steps that are looked at together when records are checked."""

Batch = dict[str, NDArray[Any]]


@functools.cache
def record_type(image_shape: tuple[int, ...], action_dim: int) -> np.dtype[Any]:
    """Type of a record: a frame, the action and reward that led to it, whether it is a first or a terminal one."""
    return np.dtype(
        [
            ("image", np.uint8, image_shape),
            ("action", np.float32, (action_dim,)),
            ("reward", np.float32),
            ("is_first", np.bool_),
            ("is_terminal", np.bool_),
        ]
    )


def is_finite(records: NDArray[Any]) -> bool:
    """Whether all actions and rewards (T,) are finite; some time steps at once, so that a mapped file is not held."""
    return all(
        bool(np.isfinite(records[name][start : start + CHECKED_RECORDS]).all())
        for start in range(0, len(records), CHECKED_RECORDS)
        for name in ("action", "reward")
    )


class EpisodeBuilder:
    """Collects the steps of a running episode.

    Record t holds the frame, and the action and reward that led to it; the first record has a zero action and reward.
    """

    def __init__(self, image: NDArray[np.uint8], action_dim: int) -> None:
        self._images = [image]
        self._actions = [np.zeros(action_dim, np.float32)]
        self._rewards, self._terminal = [0.0], [False]

    def add(self, image: NDArray[np.uint8], action: NDArray[np.float32], reward: float, terminated: bool) -> None:
        """Append one agent step."""
        self._images.append(image)
        self._actions.append(np.array(action, np.float32))  # a policy may write its next action over this one
        self._rewards.append(float(reward))
        self._terminal.append(bool(terminated))

    @property
    def num_steps(self) -> int:
        """Agent steps so far."""
        return len(self._rewards) - 1

    @property
    def episode_return(self) -> float:
        """Sum of the rewards so far."""
        return float(np.sum(np.asarray(self._rewards, np.float64)))

    def arrays(self) -> Batch:
        """The episode: image (T, H, W, 3) uint8, action (T, A) float32, reward (T,) float32, is_first and
        is_terminal (T,) bool, with T = agent steps + 1."""
        first = np.zeros(len(self._rewards), bool)
        first[0] = True
        return {
            "image": np.stack(self._images),
            "action": np.stack(self._actions),
            "reward": np.asarray(self._rewards, np.float32),
            "is_first": first,
            "is_terminal": np.asarray(self._terminal),
        }
