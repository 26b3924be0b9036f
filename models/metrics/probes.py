"""What states know: linear probes with cross-validation over videos, silhouettes, and a map to two dimensions.

scikit-learn, the extra `analysis`, is loaded on use.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
PERPLEXITY = 30.0


class Probe(NamedTuple):
    """What a probe answered.

    Attributes:
        answers: (N,) class that it gave to each item when its video was held out.
        folds: parts of the cross-validation.
    """

    answers: NDArray[np.int64]
    folds: int


def linear_probe(
    features: NDArray[np.floating],
    classes: NDArray[np.int64],
    videos: NDArray[np.int64],
    seed: int,
    *,
    folds: int = 5,
    strength: float = 10.0,
) -> Probe:
    """Answers of a linear classifier (logistic regression) to items of videos that it was not fitted on.

    Features are centred and scaled by the videos fitted on, and turned into as many numbers as there are items at most:
    that changes no answer, since a ridge penalty does not see rotations, and makes thousands of features cheap.

    Args:
        features: (N, F).
        classes: (N,) numbers of classes; each must have items of two videos or more.
        videos: (N,) number of each item's video; a video is never on both sides.
        seed: of the split into folds.
        folds: parts; fewer where a class has fewer videos.
        strength: inverse of the penalty (`C` of scikit-learn).

    Raises:
        ValueError: fewer than two classes, or one with fewer than two videos.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold

    least = min(len(np.unique(videos[classes == kind])) for kind in np.unique(classes))
    if len(np.unique(classes)) < 2 or least < 2:
        raise ValueError("a probe needs two classes or more, each with items of two videos or more")
    folds = min(folds, least)
    splits = StratifiedGroupKFold(folds, shuffle=True, random_state=seed % 2**32)
    answers = np.empty(len(classes), np.int64)
    with warnings.catch_warnings():
        # a class whose videos are uneven may leave a fold out; what is not converged is good enough for an answer
        warnings.simplefilter("ignore")
        for fitted, held in splits.split(features, classes, videos):
            train, test = _prepared(features[fitted], features[held])
            model = LogisticRegression(C=strength, max_iter=500).fit(train, classes[fitted])
            answers[held] = model.predict(test)
    return Probe(answers, folds)


def _prepared(train: NDArray[np.floating], test: NDArray[np.floating]) -> tuple[Numbers, Numbers]:
    mean, scale = train.mean(0), train.std(0)
    scale = np.where(scale > 1e-8, scale, 1.0) * np.sqrt(train.shape[1])
    train, test = (train - mean) / scale, (test - mean) / scale
    if train.shape[1] > train.shape[0]:
        _, _, directions = np.linalg.svd(train, full_matrices=False)  # (N, F)
        train, test = train @ directions.T, test @ directions.T
    return train.astype(np.float64), test.astype(np.float64)


def balanced_weights(classes: NDArray[np.int64]) -> Numbers:
    """(N,) weights that give every class the same say: 1 / (number of its items)."""
    _, place, counts = np.unique(classes, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / counts[place], np.float64)


def silhouettes(features: NDArray[np.floating], classes: NDArray[np.int64]) -> Numbers:
    """(N,) silhouette of each item, from -1 to 1: nearer to its own class than to the nearest other one is above 0."""
    from sklearn.metrics import silhouette_samples

    return np.asarray(silhouette_samples(features, classes), np.float64)


def two_dimensions(features: NDArray[np.floating], seed: int) -> Numbers:
    """t-SNE of items (N, F), to (N, 2); the same seed gives the same picture on one machine.

    Source: van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 9, 2008. Perplexity 30, or a third of the
    number of items where there are few.
    """
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    start = "pca" if min(features.shape) >= 2 else "random"
    map_ = TSNE(2, perplexity=perplexity, init=start, random_state=seed % 2**32)
    return np.asarray(map_.fit_transform(features.astype(np.float32)), np.float64)
