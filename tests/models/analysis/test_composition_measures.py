"""The measures of `compose` on compositions that are right: a sample motion drawn before another background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from models.metrics.displacement import displacement, tracked_positions, velocity
from models.metrics.shares import appearance_terms, motion_terms, standing_picture
from pipelines.samples.ssv2_scene import MOTIONS, NOUNS, Scene

LENGTH, SIDE = 20, 48
PAIRS = [(motion, scene) for motion in (0, 1, 2, 3) for scene in (4, 5)]


def scene_of(motion: int, background: int) -> Scene:
    return Scene(MOTIONS[motion], background, NOUNS[motion : motion + 2], LENGTH, 0, np.random.default_rng(motion))


def pictures(scene: Scene) -> np.ndarray:
    """uint8 (T, H, W, 3)."""
    return np.stack([np.asarray(Image.fromarray(frame).resize((SIDE, SIDE))) for frame in scene.frames()])


def composed(motion: int, other: Scene, background: int) -> np.ndarray:
    """A motion before the very background that another scene shows."""
    scene = scene_of(motion, background)
    scene._picture = other._picture
    return pictures(scene)


def share(terms: tuple[np.ndarray, np.ndarray]) -> float:
    return float(terms[0].sum() / terms[1].sum())


def velocities(clips: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack([velocity(tracked_positions(frames)) for frames in clips])


def test_the_right_composition_has_all_of_both_and_the_clips_themselves_have_their_own() -> None:
    a = [pictures(scene_of(motion, 0)) for motion, _ in PAIRS]
    scenes = [scene_of((motion + 1) % 4, background) for motion, background in PAIRS]
    b = [pictures(scene) for scene in scenes]
    right = [composed(motion, scene, back) for (motion, back), scene in zip(PAIRS, scenes, strict=True)]
    for measure in (velocities, lambda clips: np.stack([displacement(frames) for frames in clips])):
        assert share(motion_terms(measure(right), measure(a))) == pytest.approx(1, abs=0.15)
        assert abs(share(motion_terms(measure(b), measure(a)))) < 0.7
    stands = [np.stack([standing_picture(frames) for frames in clips]) for clips in (a, b, right)]
    usual = np.concatenate(stands[:2]).mean(0)
    assert share(appearance_terms(stands[2], stands[1], usual)) == pytest.approx(1, abs=0.2)
    assert share(appearance_terms(stands[2], stands[0], usual)) < 0.3
    assert share(appearance_terms(stands[0], stands[0], usual)) == pytest.approx(1)
    grey = np.broadcast_to(usual, stands[0].shape)
    assert share(appearance_terms(grey, stands[1], usual)) == pytest.approx(0)
