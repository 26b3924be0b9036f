"""Bootstrap intervals of means and ratios over videos, and over seeds where there are several runs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ipv_bench.seeding import numpy_generator

Numbers = NDArray[np.float64]

_CHUNK = 100
"""Resamples whose counts are in memory at once: 25,000 videos take 20 MB."""


class Interval(NamedTuple):
    """A statistic and its percentile interval.

    Attributes:
        point: (...) of the data as they are.
        low: (...) lower end; NaN where there is one video only.
        high: (...) upper end.
    """

    point: Numbers
    low: Numbers
    high: Numbers


class VideoBootstrap:
    """Resamples of videos (clusters of clips) and, crossed with them, of runs.

    One draw takes as many videos as there are, with replacement, all clips of each together, the same ones for every
    run and every quantity: ratios are paired. With several runs it takes as many runs, with replacement, too.
    The same seed gives the same draws.

    Args:
        videos: (N,) number of each clip's video, from 0 without gaps.
        resamples: number of draws.
        confidence: share of the draws between `low` and `high`.
        seed: of the draws.
    """

    def __init__(
        self, videos: NDArray[np.int64], resamples: int = 2000, confidence: float = 0.95, seed: int = 0
    ) -> None:
        self._videos, self._count = np.asarray(videos), int(videos.max()) + 1 if len(videos) else 0
        self._resamples, self._tail, self._seed = resamples, (1 - confidence) / 2, seed

    def mean(self, values: Numbers) -> Interval:
        """Mean over clips and runs of (runs, N, ...) values; NaN values are left out."""
        known = np.isfinite(values)
        return self._ratio(np.where(known, values, 0.0), known.astype(np.float64))

    def ratio(self, above: Numbers, below: Numbers) -> Interval:
        """Sum over clips and runs of `above` over that of `below`, both (runs, N, ...); pairs with NaN are left out."""
        known = np.isfinite(above) & np.isfinite(below)
        return self._ratio(np.where(known, above, 0.0), np.where(known, below, 0.0))

    def _ratio(self, above: Numbers, below: Numbers) -> Interval:
        if above.shape != below.shape or above.shape[1] != len(self._videos):
            raise ValueError(
                f"expected two arrays (runs, {len(self._videos)}, ...), found {above.shape}, {below.shape}"
            )
        runs, shape = above.shape[0], above.shape[2:]
        # (2, runs, videos, values): everything that a draw needs are sums over videos.
        sums = np.zeros((2, self._count, runs, int(np.prod(shape, dtype=int))))
        for total, values in zip(sums, (above, below), strict=True):
            np.add.at(total, self._videos, np.moveaxis(values.reshape(runs, len(self._videos), -1), 0, 1))
        point = _divided(*sums.sum((1, 2)))
        draws = np.concatenate([self._draws(number, runs, sums) for number in range(-(-self._resamples // _CHUNK))])
        if self._count < 2:
            low = high = np.full_like(point, np.nan)
        else:
            low, high = _quantiles(draws[: self._resamples], (self._tail, 1 - self._tail))
        return Interval(point.reshape(shape), low.reshape(shape), high.reshape(shape))

    def _draws(self, chunk: int, runs: int, sums: Numbers) -> Numbers:
        """(_CHUNK, values) ratios."""
        videos = _counts(numpy_generator(self._seed, chunk, "bootstrap of videos"), self._count)
        weights = np.full((_CHUNK, 1), 1.0) if runs == 1 else _counts(
            numpy_generator(self._seed, chunk, "bootstrap of runs"), runs
        )  # fmt: skip
        flat = sums.reshape(2, self._count, -1)
        drawn = [(videos @ one).reshape(_CHUNK, runs, -1) for one in flat]
        return _divided(*(np.einsum("cr,crv->cv", weights, one) for one in drawn))


def _counts(generator: np.random.Generator, count: int) -> Numbers:
    """(_CHUNK, count) how often each of `count` things is among `count` draws with replacement."""
    drawn = generator.integers(count, size=(_CHUNK, count)) + count * np.arange(_CHUNK)[:, None]
    return np.bincount(drawn.ravel(), minlength=_CHUNK * count).reshape(_CHUNK, count).astype(np.float64)


def _divided(above: Numbers, below: Numbers) -> Numbers:
    found: Numbers = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return found


def _quantiles(draws: Numbers, levels: tuple[float, float]) -> Numbers:
    """Quantiles over the draws that have a value; NaN where none has."""
    known = np.isfinite(draws).any(0)
    found = np.full((2, draws.shape[1]), np.nan)
    if known.any():
        found[:, known] = np.nanquantile(draws[:, known], levels, axis=0)
    return found
