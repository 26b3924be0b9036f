"""Where the ego car and the other cars begin: stretches of Town04's motorway, uniformly by length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NUM_CARS = 20
EGO_ROAD, EGO_ALONG = 45, 100.0
LANES = 4


@dataclass(frozen=True)
class Stretch:
    """A part of a road.

    Attributes:
        road: OpenDRIVE id.
        begin: metres along the road.
        end: metres along the road.
        side: sign of its driving lanes.
    """

    road: int
    begin: float
    end: float
    side: int

    @property
    def length(self) -> float:
        """Metres."""
        return self.end - self.begin


STRETCHES = (
    Stretch(45, 200, 583, -1), Stretch(103, 0, 50, -1), Stretch(46, 0, 176, -1), Stretch(659, 0, 58, 1),
    Stretch(47, 0, 117, -1), Stretch(558, 0, 34, 1), Stretch(48, 0, 81, -1),
)  # fmt: skip
"""Where traffic is placed: 899 m of the route, beyond the ego car."""


@dataclass(frozen=True)
class Place:
    """A place on a lane: road, lane, metres along the road."""

    road: int
    lane: int
    along: float


def draw_ego(generator: np.random.Generator) -> Place:
    """Where the ego car starts."""
    return Place(EGO_ROAD, -int(generator.integers(1, LANES + 1)), EGO_ALONG)


def draw_car(generator: np.random.Generator) -> Place:
    """Where another car starts."""
    left = float(generator.uniform(0, sum(stretch.length for stretch in STRETCHES)))
    lane = int(generator.integers(1, LANES + 1))
    for stretch in STRETCHES:
        if left < stretch.length:
            return Place(stretch.road, stretch.side * lane, stretch.begin + left)
        left -= stretch.length
    last = STRETCHES[-1]
    return Place(last.road, last.side * lane, last.end)
