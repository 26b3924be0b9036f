"""The visual factors of DMC Remastered: what is drawn for an episode, from which ranges.

Ranges as in DMC Remastered (Grigsby and Qi, "Measuring Visual Generalization in Continuous Control from Pixels",
arXiv:2010.06740, and its code). Every factor is drawn in every episode, each from a generator of its own, and only
those that vary are applied: switching one off leaves the others as they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ipv_bench.seeding import derive_seed, numpy_generator

Range = tuple[float, float]
Ranges3 = tuple[Range, Range, Range]

Factor = Literal["floor", "background", "body", "target", "reflectance", "light", "camera"]
ALL_FACTORS: tuple[Factor, ...] = get_args(Factor)
NUM_VISUAL_SEEDS, NUM_DYNAMICS_SEEDS = 1_000_000, 100_000

REFLECTANCE: Range = (0.0, 0.5)
ALPHA: Range = (0.75, 1.0)
HEADLIGHT: dict[str, tuple[Range, float]] = {
    "ambient": ((0.1, 0.8), 0.05),
    "diffuse": ((0.4, 0.9), 0.1),
    "specular": ((0.05, 0.3), 0.02),
}
"""Part of the headlight → range of its base, and how far each channel may lie from it."""
SHADOW_MAP = (1548, 2548)
"""Side of the shadow map, pixels: drawn and recorded, not applied (see docs/suites/dmcr.md)."""


@dataclass(frozen=True)
class DomainRanges:
    """What differs from domain to domain.

    Attributes:
        camera: x, y, z of camera 0 as in its XML, m.
        camera_euler: rotation of camera 0 about x, y, z, degrees; None: not turned.
        lamp: x, y, z of the lamp as in its XML, m; None: not moved.
        floor_half_width: the floor is always this wide to each side, m; None: the suite's.
        varies: the factors of the paper's runs.
    """

    camera: Ranges3
    camera_euler: Ranges3 | None = None
    lamp: Ranges3 | None = None
    floor_half_width: float | None = None
    varies: tuple[Factor, ...] = ALL_FACTORS


DOMAINS = {
    "cheetah": DomainRanges(
        camera=((-0.25, 0.25), (-3.2, -2.8), (-0.25, 0.25)),
        lamp=((-2.0, 2.0), (-2.0, 2.0), (1.0, 5.0)),
        floor_half_width=15.0,
    ),
    "hopper": DomainRanges(
        camera=((-0.15, 0.15), (-3.0, -2.6), (0.6, 1.0)),
        camera_euler=((85.0, 95.0), (-5.0, 5.0), (-5.0, 5.0)),
        varies=tuple(factor for factor in ALL_FACTORS if factor != "camera"),
    ),
    "walker": DomainRanges(camera=((-0.3, 0.3), (-2.05, -1.95), (0.6, 0.8))),
}
"""Domain → its ranges. Another domain is another row here and its tasks in `dmc_remastered.TASKS`."""


@dataclass(frozen=True)
class Factors:
    """What was drawn for one episode; positions as in the XML, colours in [0, 1].

    Attributes:
        visual_seed: what all of it was drawn from.
        floor: number of the floor's picture.
        background: number of the sky's picture.
        body: (4,) rgba of material `self`.
        effector: (4,) rgba of material `effector`; a part of the factor `body`.
        target: (4,) rgba of material `target`.
        reflectance: of the floor.
        headlight: ambient, diffuse and specular, (3,) each.
        shadow_map: side of the shadow map, pixels.
        lamp: (3,) position, or None where it is not moved.
        camera: (3,) position.
        camera_euler: (3,) degrees, or None where it is not turned.
    """

    visual_seed: int
    floor: int
    background: int
    body: NDArray[np.float64]
    effector: NDArray[np.float64]
    target: NDArray[np.float64]
    reflectance: float
    headlight: dict[str, NDArray[np.float64]]
    shadow_map: int
    lamp: NDArray[np.float64] | None
    camera: NDArray[np.float64]
    camera_euler: NDArray[np.float64] | None

    def as_metadata(self, vary: tuple[Factor, ...]) -> dict[str, Any]:
        """The factors that vary, JSON-ready, numbers rounded to 1e-4."""
        light = {"headlight": self.headlight, "lamp": self.lamp, "shadow_map": self.shadow_map}
        values: dict[Factor, Any] = {
            "floor": self.floor,
            "background": self.background,
            "body": {"self": self.body, "effector": self.effector},
            "target": self.target,
            "reflectance": self.reflectance,
            "light": light,
            "camera": {"position": self.camera, "euler": self.camera_euler},
        }
        shown: dict[str, Any] = {factor: _plain(values[factor]) for factor in ALL_FACTORS if factor in vary}
        return {"visual_seed": self.visual_seed} | shown


def visual_seed_of(episode_seed: int) -> int:
    """The one visual seed of an episode, 1 to 1,000,000 as in the original."""
    return derive_seed(episode_seed, 0, "DMCR visual seed") % NUM_VISUAL_SEEDS + 1


def dynamics_seed_of(episode_seed: int) -> int:
    """The seed of an episode's start state, 1 to 100,000 as in the original."""
    return derive_seed(episode_seed, 0, "DMCR dynamics seed") % NUM_DYNAMICS_SEEDS + 1


def draw_factors(visual_seed: int, domain: str, num_floors: int, num_skies: int) -> Factors:
    """Draw all factors of an episode.

    Args:
        visual_seed: the episode's.
        domain: a key of `DOMAINS`.
        num_floors: how many floors to choose from.
        num_skies: how many skies to choose from.
    """
    ranges = DOMAINS[domain]

    def generator(purpose: str) -> np.random.Generator:
        return numpy_generator(visual_seed, 0, f"DMCR {purpose}")

    light, camera = generator("light"), generator("camera")
    headlight = {}
    for part, (base, spread) in HEADLIGHT.items():
        headlight[part] = light.uniform(*base) + light.uniform(-spread, spread, 3)
    return Factors(
        visual_seed=visual_seed,
        floor=int(generator("floor").integers(num_floors)),
        background=int(generator("background").integers(num_skies)),
        body=_colour(generator("body")),
        effector=_colour(generator("effector")),
        target=_colour(generator("target")),
        reflectance=float(generator("reflectance").uniform(*REFLECTANCE)),
        headlight=headlight,
        shadow_map=int(light.integers(SHADOW_MAP[0], SHADOW_MAP[1] + 1)),
        lamp=_within(light, ranges.lamp),
        camera=np.array([camera.uniform(*one) for one in ranges.camera]),
        camera_euler=_within(camera, ranges.camera_euler),
    )


def _colour(generator: np.random.Generator) -> NDArray[np.float64]:
    return np.append(generator.uniform(0, 1, 3), generator.uniform(*ALPHA))


def _within(generator: np.random.Generator, ranges: Ranges3 | None) -> NDArray[np.float64] | None:
    return None if ranges is None else np.array([generator.uniform(*one) for one in ranges])


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, np.ndarray):
        return [round(float(number), 4) for number in value]
    return round(value, 4) if isinstance(value, float) else value
