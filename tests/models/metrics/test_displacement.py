"""How far things move between pictures: phase correlation on shifted pictures, and tracks of a moving square."""

from __future__ import annotations

import numpy as np
import pytest

from models.metrics.displacement import displacement, phase_correlation, tracked_positions, velocity
from models.metrics.shares import appearance_terms, motion_terms, standing_picture


@pytest.mark.parametrize(("x", "y"), [(3, 0), (0, -5), (-7, 4), (11, 9), (0, 0)])
def test_whole_shifts_are_found(x: int, y: int) -> None:
    picture = np.random.default_rng(0).normal(size=(32, 48))
    shift = phase_correlation(picture, np.roll(picture, (y, x), (0, 1)))
    np.testing.assert_allclose(shift, (x, y), atol=1e-6)


def test_parts_of_a_pixel_are_found_within_a_tenth() -> None:
    """A smooth picture shifted by its own formula, without interpolation."""
    y, x = np.mgrid[:48, :48] * 2 * np.pi / 48

    def picture(right: float) -> np.ndarray:
        u = x - right * 2 * np.pi / 48
        return sum(np.sin(n * u + n * n) * np.cos(m * y + m) / n for n in range(1, 12) for m in range(1, 8))

    for right in (0.25, 1.5, -3.4):
        found = phase_correlation(picture(0), picture(right))
        assert found[0] == pytest.approx(right, abs=0.15)
        assert found[1] == pytest.approx(0, abs=0.1)


def test_empty_pictures_do_not_move() -> None:
    empty = np.zeros((2, 16, 16))
    assert np.array_equal(phase_correlation(empty, np.ones_like(empty) * empty), np.zeros((2, 2)))


def square_clip(step: tuple[float, float], length: int = 20) -> np.ndarray:
    """A textured square of 9 x 9 that moves over a textured background, uint8 (T, 64, 64, 3)."""
    random = np.random.default_rng(1)
    background = random.integers(60, 120, (64, 64, 3))
    square = random.integers(0, 256, (9, 9, 3))
    frames = np.repeat(background[None], length, 0)
    for t in range(length):
        left, top = (round(20 + part * t) for part in step)
        frames[t, top : top + 9, left : left + 9] = square
    return frames.astype(np.uint8)


@pytest.mark.parametrize("step", [(1, 0), (-1, 0), (0, 1), (1, 1)])
def test_a_moving_square_is_followed_over_a_background_that_stands_still(step: tuple[int, int]) -> None:
    clip = square_clip(step)
    np.testing.assert_allclose(displacement(clip), step, atol=0.1)
    tracks = tracked_positions(clip)
    np.testing.assert_allclose(velocity(tracks), step, atol=0.1)
    middle = np.array([20 + 4.5, 20 + 4.5]) + np.array(step)  # half-way between the frames 0 and 2
    np.testing.assert_allclose(tracks[0], middle, atol=1)


def test_a_clip_in_which_nothing_moves_has_no_motion() -> None:
    clip = square_clip((0, 0))
    assert np.array_equal(displacement(clip), (0, 0))
    assert np.isnan(tracked_positions(clip)).all()
    assert np.array_equal(velocity(tracked_positions(clip)), (0, 0))


def test_shares_are_one_for_the_thing_itself_and_zero_for_nothing_of_it() -> None:
    source = np.array([[1.0, 0], [0, 2]])
    for found, share in ((source, 1), (-source, -1), (source[:, ::-1], 0), (source / 2, 0.5)):
        above, below = motion_terms(found, source)
        assert above.sum() / below.sum() == pytest.approx(share)
    scenes = np.random.default_rng(2).random((40, 8, 8, 3))
    usual = scenes.mean(0)
    for pictures, share in ((scenes, 1), (np.broadcast_to(usual, scenes.shape), 0)):
        above, below = appearance_terms(pictures, scenes, usual)
        assert above.sum() / below.sum() == pytest.approx(share)
    above, below = appearance_terms(np.roll(scenes, 1, 0), scenes, usual)
    assert abs(above.sum() / below.sum()) < 0.1


def test_what_stands_still_is_the_background() -> None:
    clip = square_clip((2, 0), 17)
    rest = np.ones((64, 64), bool)
    rest[20:29, 20:61] = False
    np.testing.assert_allclose(standing_picture(clip)[rest], clip[0][rest] / 255, atol=1e-6)
    behind = clip[-1][20:29, 20:29] / 255  # uncovered after a few frames: the background is seen more often
    np.testing.assert_allclose(standing_picture(clip)[20:29, 20:29], behind, atol=1e-6)
