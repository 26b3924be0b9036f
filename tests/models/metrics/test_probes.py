"""Linear probes: they find what is there, are at chance where nothing is, and never see a video on both sides."""

from __future__ import annotations

import numpy as np
import pytest

from models.metrics.probes import balanced_weights, linear_probe, silhouettes, two_dimensions

pytest.importorskip("sklearn")


def states(distance: float, videos: int = 40, clips: int = 2, features: int = 100) -> tuple[np.ndarray, ...]:
    """Features, classes and videos: each video has features of its own, and its class a direction."""
    random = np.random.default_rng(0)
    of_video = np.repeat(np.arange(videos), clips)
    classes = of_video % 2
    own = random.normal(size=(videos, features))[of_video]
    direction = random.normal(size=features)
    return own + distance * np.where(classes, 1, -1)[:, None] * direction, classes, of_video


def test_a_class_that_is_there_is_read() -> None:
    features, classes, videos = states(1.0)
    assert (linear_probe(features, classes, videos, 0).answers == classes).mean() > 0.95
    assert silhouettes(features, classes).mean() > 0.1


def test_shuffled_labels_are_read_at_chance() -> None:
    features, classes, videos = states(1.0)
    found = []
    for seed in range(20):
        shuffled = np.random.default_rng(seed).permutation(classes[::2])[videos]
        found.append((linear_probe(features, shuffled, videos, seed).answers == shuffled).mean())
    assert abs(np.mean(found) - 0.5) < 0.1


def test_a_video_is_never_on_both_sides() -> None:
    """Only the video tells the class here: a probe that had seen another clip of it would be right."""
    features, classes, videos = states(0.0)
    answers = linear_probe(features, classes, videos, 0).answers
    assert (answers == classes).mean() < 0.75
    assert (answers[::2] == answers[1::2]).all()  # equal features, one fold


def test_every_class_has_the_same_say() -> None:
    classes = np.array([0] * 9 + [1])
    always_zero = np.zeros(10, int) == classes
    assert np.average(always_zero, weights=balanced_weights(classes)) == pytest.approx(0.5)


def test_what_cannot_be_probed_is_refused() -> None:
    features = np.random.default_rng(0).normal(size=(4, 3))
    with pytest.raises(ValueError, match="two classes"):
        linear_probe(features, np.zeros(4, int), np.arange(4), 0)
    with pytest.raises(ValueError, match="two videos"):
        linear_probe(features, np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2]), 0)


def test_the_map_keeps_groups_and_depends_on_the_seed_alone() -> None:
    features, classes, _ = states(2.0, videos=20)
    first, again = two_dimensions(features, 3), two_dimensions(features, 3)
    assert np.array_equal(first, again)
    assert first.shape == (40, 2)
    assert silhouettes(first, classes).mean() > 0.4
