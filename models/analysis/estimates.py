"""Intervals of an analysis's numbers: bootstrap over videos, since clips of one video are not independent."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ipv_bench.seeding import numpy_generator

Numbers = NDArray[np.float64]
RESAMPLES = 2000


class Interval(NamedTuple):
    """A number with its 95 % interval."""

    point: float
    low: float
    high: float

    def __str__(self) -> str:
        digits = 2 if max(abs(value) for value in self) < 100 else 0
        return f"{self.point:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"

    def values(self, **more: Any) -> dict[str, Any]:
        """As JSON values, with whatever else is said of the number."""
        return {"point": self.point, "low": self.low, "high": self.high, **more}


def ratio_interval(numerator: Numbers, denominator: Numbers, videos: NDArray[np.int64], seed: int) -> Interval:
    """The sum of one over the sum of the other, with the percentiles of 2,000 draws of whole videos.

    Args:
        numerator, denominator: (N,) terms of each clip.
        videos: (N,) number of each clip's video.
        seed: of the draws.

    Returns:
        NaN where the denominators sum to 0; a single video has no interval: it is NaN.
    """
    _, place = np.unique(videos, return_inverse=True)
    above, below = (np.bincount(place, terms) for terms in (numerator, denominator))
    point = _divide(above.sum(), below.sum())
    if len(above) < 2:
        return Interval(float(point), np.nan, np.nan)
    generator = numpy_generator(seed, 0, "interval over videos")
    counts = generator.multinomial(len(above), np.full(len(above), 1 / len(above)), RESAMPLES)  # (R, V)
    draws = _divide(counts @ above, counts @ below)
    low, high = np.nanpercentile(draws, (2.5, 97.5)) if not np.isnan(draws).all() else (np.nan, np.nan)
    return Interval(float(point), float(low), float(high))


def mean_interval(values: Numbers, videos: NDArray[np.int64], seed: int, weights: Numbers | None = None) -> Interval:
    """Mean of (N,) values, weighted where `weights` (N,) says so; NaN values are left out. See `ratio_interval`."""
    known = ~np.isnan(values)
    weights = np.ones(len(values)) if weights is None else weights
    return ratio_interval((values * weights)[known], weights[known], videos[known], seed)


def _divide(above: Any, below: Any) -> Numbers:
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    ratio: Numbers = np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below != 0)
    return ratio
