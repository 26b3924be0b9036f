"""Fréchet distance between two sets of features, from sums that can be added up batch by batch.

It is named after the features that it is computed on. It is not FID, whose features are Inception's, nor FVD, whose
features are those of a video network: numbers of different features cannot be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class FeatureSums:
    """What a Gaussian fit needs of a set of features.

    Attributes:
        count: number of features.
        total: (D,) their sum.
        outer: (D, D) sum of their outer products.
    """

    count: int
    total: Numbers
    outer: Numbers

    @classmethod
    def of(cls, features: NDArray[np.floating]) -> FeatureSums:
        """Sums of features (N, D)."""
        x = np.asarray(features, np.float64)
        return cls(len(x), x.sum(0), x.T @ x)

    def __add__(self, other: FeatureSums) -> FeatureSums:
        return FeatureSums(self.count + other.count, self.total + other.total, self.outer + other.outer)

    def mean(self) -> Numbers:
        """(D,) mean."""
        return self.total / self.count

    def covariance(self) -> Numbers:
        """(D, D) covariance, divided by N - 1."""
        mean = self.mean()
        found: Numbers = (self.outer - self.count * np.outer(mean, mean)) / max(self.count - 1, 1)
        return found


def frechet_distance(first: FeatureSums, second: FeatureSums) -> float:
    """Squared Fréchet distance of the Gaussians with the sets' means and covariances.

    |m₁ - m₂|² + tr(C₁ + C₂ - 2 (C₁ C₂)^½) (Dowson, Landau, 1982). The trace of the root is the sum of the roots of the
    eigenvalues of C₁^½ C₂ C₁^½, which is symmetric: no complex numbers arise.

    Raises:
        ValueError: fewer than two features in a set, or of different sizes.
    """
    if min(first.count, second.count) < 2 or first.total.shape != second.total.shape:
        raise ValueError(
            f"expected two features or more of one size in each set, found {first.count} of {first.total.shape} and "
            f"{second.count} of {second.total.shape}"
        )
    values, vectors = np.linalg.eigh(first.covariance())
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    mixed = np.linalg.eigvalsh(root @ second.covariance() @ root)
    trace = np.trace(first.covariance()) + np.trace(second.covariance()) - 2 * np.sqrt(np.clip(mixed, 0, None)).sum()
    difference = first.mean() - second.mean()
    return float(max(difference @ difference + trace, 0.0))
