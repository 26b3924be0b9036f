"""Validation: the copy baseline against numpy, repeatability, nothing of the future; and the pictures it draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from models.pretraining.config import PretrainConfig, ValidationConfig
from models.pretraining.plan import plan_pretraining
from models.pretraining.prediction_strips import GAP, MARGIN, error_frames, write_gif, write_strips
from models.pretraining.validation import validate
from models.pretraining.video_training import initial_model
from tests.models.pretraining.small_pretraining import SMALL

WARMUP = 2


def _config() -> PretrainConfig:
    return plan_pretraining("tiny", overrides=SMALL | {"context.mask_at_eval": True}).config


def _segments(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (5, 6, 32, 32, 3), np.uint8)


def test_the_copy_is_the_last_frame_that_was_seen() -> None:
    segments = _segments()
    result = validate(initial_model(_config(), 0), segments, ValidationConfig(warmup=WARMUP), seed=0, batch_size=2)
    frames = segments.astype(np.float64) / 255
    expected = ((frames[:, WARMUP:] - frames[:, WARMUP - 1 : WARMUP]) ** 2).mean((0, 2, 3, 4))
    np.testing.assert_allclose(result.copy_last_mse, expected, rtol=1e-5)
    still = np.repeat(segments[:, :1], 6, axis=1)
    result = validate(initial_model(_config(), 0), still, ValidationConfig(warmup=WARMUP), seed=0, batch_size=2)
    assert not result.copy_last_mse.any()
    assert (result.copy_last_psnr, round(result.copy_last_ssim, 5)) == (100, 1)


def test_the_same_model_gives_the_same_numbers_and_keeps_its_mode() -> None:
    model, config = initial_model(_config(), 0), ValidationConfig(warmup=WARMUP, strips=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = (validate(model, _segments(), config, seed=3, batch_size=2) for _ in range(2))
    assert first.metrics() == second.metrics()
    assert model.training
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert first.truth.shape == first.prediction.shape == (1, 6, 32, 32, 3)


def test_a_prediction_does_not_see_the_future() -> None:
    segments, other = _segments(), _segments()
    other[:, WARMUP:] = _segments(1)[:, WARMUP:]
    config = ValidationConfig(warmup=WARMUP, strips=5)
    model = initial_model(_config(), 0)
    results = [validate(model, each, config, seed=0, batch_size=5) for each in (segments, other)]
    np.testing.assert_array_equal(results[0].prediction, results[1].prediction)


def test_strips_show_truth_prediction_and_error(tmp_path: Path) -> None:
    truth, prediction = _segments()[:2], _segments(1)[:2]
    write_strips(tmp_path / "strips.png", truth, prediction, WARMUP)
    sheet = np.asarray(Image.open(tmp_path / "strips.png").convert("RGB"))
    block = 3 * (32 + GAP) + 8
    for n in range(2):
        for t in range(6):
            left = MARGIN + t * (32 + GAP)
            rows = (truth[n, t], prediction[n, t], error_frames(truth[n, t], prediction[n, t]))
            for row, frame in enumerate(rows):
                top = n * block + 6 + row * (32 + GAP)
                np.testing.assert_array_equal(sheet[top : top + 32, left : left + 32], frame)
            green = sheet[n * block, left, 1] > sheet[n * block, left, 0]
            assert green == (t < WARMUP)


def test_gifs_have_one_picture_per_frame(tmp_path: Path) -> None:
    write_gif(tmp_path / "moving.gif", _segments()[0], _segments(1)[0], WARMUP, zoom=2)
    with Image.open(tmp_path / "moving.gif") as picture:
        assert (picture.n_frames, picture.size) == (6, (2 * (3 * 32 + 2 * GAP), 2 * (32 + 2)))
