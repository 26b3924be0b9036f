"""Patterns for Meta-world's surfaces: small pictures that tile without a seam, each a function of its seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ipv_bench.seeding import numpy_generator
from models.envs.metaworld_factors import Colour, Pattern, Surface
from models.envs.noise import noise

PATTERN_SIZE = 64
"""Pixels a side: an image of 64 pixels shows the table on some 40 of them."""

SHADE = 0.25
"""How much darker than its colour the pattern of arm and object gets, at most."""


def picture(surface: Surface) -> NDArray[np.uint8]:
    """A surface's pattern in its two colours, (64, 64, 3)."""
    values = _values(surface.pattern, surface.seed)[..., None]
    first, second = surface.colours
    return _as_bytes(first + values * (second - first))


def shading(surface: Surface) -> tuple[NDArray[np.uint8], float]:
    """A surface's pattern as grey that darkens colours, (64, 64, 3), and its mean, 0 to 1."""
    grey = 1 - SHADE * _values(surface.pattern, surface.seed)
    return _as_bytes(np.repeat(grey[..., None], 3, axis=2)), float(grey.mean())


def shaded(colour: Colour, mean: float) -> NDArray[np.float64]:
    """The rgba (4,) with which a shaded surface has a colour on average, as far as there is brighter than it."""
    return np.append(np.minimum(colour / mean, 1.0), 1.0)


def _values(pattern: Pattern, seed: int) -> NDArray[np.float32]:
    """The pattern in [0, 1], (64, 64)."""
    generator = numpy_generator(seed, 0, "Meta-world pattern")
    rough = noise(generator, PATTERN_SIZE, 4, 32)
    place = np.arange(PATTERN_SIZE, dtype=np.float32) / PATTERN_SIZE
    count = int(generator.integers(2, 7))
    if pattern == "clouds":
        return rough
    if pattern == "grain":  # noise drawn out along one direction, as in wood
        return np.ascontiguousarray(np.repeat(noise(generator, PATTERN_SIZE, 8, 32)[:, :1], PATTERN_SIZE, axis=1) * 0.7
                                    + 0.3 * rough)  # fmt: skip
    if pattern == "stripes":
        return np.broadcast_to(((place * count) % 1 < 0.5).astype(np.float32)[:, None], rough.shape).copy()
    if pattern == "tiles":
        odd = (place * 2 * count).astype(int)
        return np.asarray(((odd[:, None] + odd[None, :]) % 2).astype(np.float32) * 0.8 + 0.2 * rough)
    if pattern == "bricks":
        row = (place * 2 * count).astype(int)
        across = (place[None, :] * count + 0.5 * (row[:, None] % 2)) % 1
        joint = ((place * 2 * count) % 1 < 0.15)[:, None] | (across < 0.08)
        return np.where(joint, np.float32(1), 0.4 * rough)
    return np.zeros_like(rough)


def _as_bytes(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
