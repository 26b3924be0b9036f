"""Randomness as a function of (seed, index, purpose): nothing to save, nothing to drift."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, index: int, purpose: str) -> int:
    """A 63-bit seed for draw number `index` (an update, an episode) of `purpose`, independent of all others.

    Args:
        seed: the run's seed, ≥ 0.
        index: which update, episode or segment, ≥ 0.
        purpose: what is drawn; two purposes never share numbers.
    """
    digest = hashlib.sha256(f"{seed}:{index}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def numpy_generator(seed: int, index: int, purpose: str) -> np.random.Generator:
    """A numpy generator seeded by (seed, index, purpose)."""
    return np.random.Generator(np.random.Philox(derive_seed(seed, index, purpose)))
