"""Short pieces of episodes for the suites' tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.envs import Env


def first_frames(env: Env, seed: int, count: int = 20) -> NDArray[np.uint8]:
    """The first `count` frames of an episode under fixed random actions, (count, H, W, 3)."""
    actions = np.random.default_rng(0).uniform(-1, 1, (count - 1, env.action_dim)).astype(np.float32)
    frames = [env.reset(seed)["image"]] + [env.step(action)[0]["image"] for action in actions]
    return np.stack(frames)


def check_seeding(env: Env) -> None:
    """Equal seeds give equal frames, whatever was played in between; different seeds give different ones."""
    first, other, again = (first_frames(env, seed) for seed in (7, 8, 7))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(axis=(1, 2, 3)).all()
