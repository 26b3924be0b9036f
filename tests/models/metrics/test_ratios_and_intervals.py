"""Copy and shuffle ratio, bootstrap intervals over videos and seeds, Fréchet distance: identities and known values."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ipv_bench.errors import ConfigError
from models.adapting.labelled_training import LabelledBatch
from models.adapting.validation import validate_actions
from models.latent_actions.gaussian import LatentActions
from models.latent_actions.measure import measure_latent_actions
from models.metrics.frechet import FeatureSums, frechet_distance
from models.metrics.intervals import VideoBootstrap
from models.metrics.ratios import copy_ratio, others, shuffle_ratio
from models.pretraining.config import ValidationConfig


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def test_ratios_are_of_sums_so_that_a_clip_without_motion_divides_by_nothing() -> None:
    error, copied = np.array([[1.0, 3.0], [2.0, 2.0]]), np.array([[2.0, 6.0], [0.0, 0.0]])
    assert copy_ratio(error, copied) == 1.0
    np.testing.assert_array_equal(copy_ratio(error, copied, axis=0), [1.5, 5 / 6])
    assert np.isnan(copy_ratio(error[1], copied[1]))
    assert shuffle_ratio(error, 3 * error) == 3.0
    with pytest.raises(ValueError, match="one shape"):
        copy_ratio(error, copied[:1])


def test_one_segment_has_no_others_actions() -> None:
    """Its own in their place would give a ratio of 1: "ignored", whatever the model does."""
    frames, nobody = np.zeros((1, 4, 8, 8, 3), np.uint8), cast(Any, None)
    with pytest.raises(ConfigError, match="segments=1 leaves no other segment.*\n.*2 or more\n.*larger validation"):
        measure_latent_actions(nobody, frames, 2, torch.device("cpu"), 0)
    with pytest.raises(ConfigError, match="segments=1 leaves no other segment"):
        validate_actions(nobody, LabelledBatch(frames, np.zeros((1, 4, 2), np.float32)), nobody, 0)


def test_another_segment_is_one_of_another_video() -> None:
    np.testing.assert_array_equal(others(4), [1, 2, 3, 0])
    np.testing.assert_array_equal(others(3, np.array([0, 0, 0])), [1, 2, 0])
    generator = np.random.default_rng(0)
    for videos in (np.array([0, 0, 1, 1]), np.array([1, 0, 2, 1, 0]), generator.integers(0, 5, 64)):
        found = others(len(videos), videos)
        assert sorted(found) == list(range(len(videos)))
        assert (videos[found] != videos).all()
    most = np.array([0, 0, 0, 1])  # two of three have no partner elsewhere
    assert (most[others(4, most)] != most).sum() == 2


class Listener(nn.Module):
    """A model that predicts nothing, and keeps the actions that it is given to predict under."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.heard = nn.Parameter(torch.zeros(())), list[Tensor]()

    def draw(self, *shape: Any) -> None:
        pass

    def forward(self, image: Tensor, action: Tensor, draws: None) -> tuple[Tensor, dict[str, Tensor]]:
        return self.weight, {}

    def targets(self, image: Tensor) -> Tensor:
        return image.movedim(-1, -3).float() / 255

    def infer(self, image: Tensor) -> LatentActions:
        return LatentActions(image[:, 1:, 0, 0, :1].float(), None, None, 0)

    def prior_actions(self, batch: int, length: int, generator: torch.Generator) -> Tensor:
        return torch.full((batch, length - 1, 1), -1.0)

    def action_kl(self, inferred: LatentActions) -> None:
        return None

    def rollout(self, image: Tensor, actions: Tensor, observed: int, generator: Any = None) -> Tensor:
        self.heard.append(actions)
        return self.targets(image)

    def open_loop(self, image: Tensor, action: Tensor, observed: int, generator: torch.Generator) -> Tensor:
        return self.rollout(image, action, observed)


def test_what_led_to_the_seen_frames_stays_the_segments_own() -> None:
    """A model that carries a state would start from a worse one: its ratio were not that of a model without."""
    numbers = np.arange(12).reshape(3, 4)  # segments, frames
    frames = np.broadcast_to(numbers[..., None, None, None], (3, 4, 8, 8, 3)).astype(np.uint8)
    listener = Listener()
    measure_latent_actions(cast(Any, listener), frames, 2, torch.device("cpu"), 0)
    own, other, prior = (heard[..., 0].tolist() for heard in listener.heard)
    assert own == [[1, 2, 3], [5, 6, 7], [9, 10, 11]]
    assert other == [[1, 6, 7], [5, 10, 11], [9, 2, 3]]
    assert prior == [[1, -1, -1], [5, -1, -1], [9, -1, -1]]
    listener.heard.clear()
    batch = LabelledBatch(frames, numbers[..., None].astype(np.float32))
    validate_actions(cast(Any, listener), batch, ValidationConfig(warmup=2), 0)
    assert listener.heard[0][..., 0].tolist() == numbers.tolist()
    assert listener.heard[1][..., 0].tolist() == [[0, 1, 6, 7], [4, 5, 10, 11], [8, 9, 2, 3]]
    assert batch.action[..., 0].tolist() == numbers.tolist()


def test_an_interval_is_as_wide_as_theory_says() -> None:
    values = numbers(1, 400)
    found = VideoBootstrap(np.arange(400)).mean(values)
    assert found.point == pytest.approx(values.mean())
    width = 2 * 1.96 * values.std() / np.sqrt(400)
    assert 0.85 * width < found.high - found.low < 1.15 * width
    again = VideoBootstrap(np.arange(400)).mean(values)
    assert (again.low, again.high) == (found.low, found.high)
    narrower = VideoBootstrap(np.arange(400), confidence=0.5).mean(values)
    assert found.low < narrower.low < narrower.high < found.high


def test_clips_of_one_video_are_no_new_evidence() -> None:
    values = numbers(1, 30, 4)
    once = VideoBootstrap(np.arange(30)).mean(values)
    repeated = VideoBootstrap(np.repeat(np.arange(30), 5)).mean(values.repeat(5, 1))
    for name in ("point", "low", "high"):
        np.testing.assert_allclose(getattr(repeated, name), getattr(once, name))


def test_ratios_are_paired_and_one_video_has_no_interval() -> None:
    below = numbers(1, 20, 3) ** 2 + 0.1
    found = VideoBootstrap(np.arange(20)).ratio(0.5 * below, below)
    for part in found:
        np.testing.assert_allclose(part, 0.5)
    alone = VideoBootstrap(np.zeros(4, np.int64)).ratio(below[:, :4], below[:, :4])
    np.testing.assert_allclose(alone.point, 1)
    assert np.isnan(alone.low).all()
    assert np.isnan(VideoBootstrap(np.arange(20)).ratio(below, 0 * below).point).all()


def test_seeds_that_differ_widen_the_interval() -> None:
    values = 0.01 * numbers(1, 50)
    same = np.concatenate([values, values, values])
    apart = np.concatenate([values - 1, values, values + 1])
    narrow, wide = (VideoBootstrap(np.arange(50)).mean(each) for each in (same, apart))
    assert narrow.point == pytest.approx(wide.point)
    assert wide.high - wide.low > 10 * (narrow.high - narrow.low)


def test_what_is_not_known_is_left_out() -> None:
    values = np.array([[1.0, np.nan, 3.0]])
    assert VideoBootstrap(np.arange(3)).mean(values).point == 2.0


def test_frechet_distance_of_known_gaussians() -> None:
    x = numbers(4000, 3)
    assert frechet_distance(FeatureSums.of(x), FeatureSums.of(x)) == pytest.approx(0, abs=1e-9)
    shift = np.array([1.0, -2.0, 0.5])
    moved = frechet_distance(FeatureSums.of(x), FeatureSums.of(x + shift))
    assert moved == pytest.approx((shift**2).sum())
    scaled = frechet_distance(FeatureSums.of(x), FeatureSums.of(2 * x))  # |m|² + tr(C + 4 C - 2 · 2 C) = |m|² + tr C
    assert scaled == pytest.approx((x.mean(0) ** 2).sum() + np.trace(np.cov(x.T)))
    parts = FeatureSums.of(x[:100]) + FeatureSums.of(x[100:])
    np.testing.assert_allclose(parts.covariance(), np.cov(x.T))
    with pytest.raises(ValueError, match="two features"):
        frechet_distance(FeatureSums.of(x[:1]), FeatureSums.of(x))
