"""Numbers of an analysis with their intervals over videos, as `analysis.json` and verdicts have them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.metrics.intervals import VideoBootstrap

Numbers = NDArray[np.float64]


class Estimate(NamedTuple):
    """A number with its 95 % interval; NaN ends where there is one video only."""

    point: float
    low: float
    high: float

    def __str__(self) -> str:
        digits = 2 if abs(self.point) < 100 else 0
        return f"{self.point:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"

    def values(self, **more: Any) -> dict[str, Any]:
        """As JSON values, with whatever else is said of the number."""
        return {"point": self.point, "low": self.low, "high": self.high, **more}


def estimated_ratio(numerator: Numbers, denominator: Numbers, videos: NDArray[np.int64], seed: int) -> Estimate:
    """The sum of one over the sum of the other, (N,) terms of each clip; see `VideoBootstrap`.

    Args:
        numerator, denominator: clips with a NaN are left out.
        videos: (N,) number of each clip's video.
        seed: of the draws.
    """
    _, place = np.unique(videos, return_inverse=True)
    found = VideoBootstrap(place, seed=seed).ratio(numerator[None], denominator[None])
    return Estimate(float(found.point), float(found.low), float(found.high))


def estimated_mean(values: Numbers, videos: NDArray[np.int64], seed: int, weights: Numbers | None = None) -> Estimate:
    """Mean of (N,) values, weighted where `weights` (N,) says so; see `estimated_ratio`."""
    weights = np.ones(len(values)) if weights is None else weights
    return estimated_ratio(values * weights, weights, videos, seed)
