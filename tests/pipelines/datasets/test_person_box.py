"""Boxes around people: the paper's rule, and the published code's rounding against a plain reading of it."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from pipelines.datasets.base import FrameSelection, ImageFiles, SourceItem
from pipelines.datasets.person_box import person_boxes, published_boxes
from pipelines.datasets.prepare_config import PrepareConfig
from pipelines.decoding.open_frames import open_frames

SIDE = 1000


def joints_between(low, high) -> np.ndarray:
    """(1, 17, 2) joints whose box is low … high."""
    joints = np.tile((np.asarray(low, float) + np.asarray(high, float)) / 2, (1, 17, 1))
    joints[0, 0], joints[0, 5] = low, high
    return joints


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        ((400, 300), (600, 700), (200, 200, 800, 800)),  # side 400 + 200, centred on (500, 500)
        ((450, 480), (550, 520), (350, 350, 650, 650)),  # the longer side may be the width
        ((10, 300), (210, 700), (0, 200, 600, 800)),  # shifted to the right
        ((800, 700), (990, 990), (510, 510, 1000, 1000)),  # shifted to the left and up
        ((0, 0), (900, 900), (0, 0, 1000, 1000)),  # never larger than the picture
        ((500, 500), (500, 500), (400, 400, 600, 600)),  # all joints in one place
        ((-50, 500), (50, 600), (0, 400, 300, 700)),  # a joint outside the picture
    ],
)
def test_paper_rule(low, high, expected):
    assert person_boxes(joints_between(low, high), 200, SIDE).tolist() == [list(expected)]


def test_boxes_are_squares_inside_the_picture():
    generator = np.random.default_rng(0)
    joints = generator.uniform(-100, 1100, (500, 1, 2)) + generator.normal(0, 80, (500, 17, 2))
    left, top, right, bottom = person_boxes(joints, 200, SIDE).T
    assert np.array_equal(right - left, bottom - top)
    assert min(left.min(), top.min()) >= 0
    assert max(right.max(), bottom.max()) <= SIDE
    assert (right - left).min() >= 200


def test_published_rounding_is_that_of_the_plain_reading():
    generator = np.random.default_rng(1)
    joints = generator.uniform(0, 1000, (400, 1, 2)) + generator.normal(0, 120, (400, 17, 2))
    found = published_boxes(joints, 200, SIDE)
    for part, box in zip(joints, found.tolist(), strict=True):
        assert box == plain_reading(part)


def plain_reading(part: np.ndarray) -> list[int]:
    """One picture's box, step by step as the published code goes."""
    x, y = [int(part[0][0])], [int(part[0][1])]
    x, y = x + [p[0] for p in part[1:]], y + [p[1] for p in part[1:]]
    left, top, right, bottom = math.floor(min(x)), math.floor(min(y)), math.ceil(max(x)), math.ceil(max(y))
    side = min(max(right - left, bottom - top) + 200, SIDE)
    centre = (left + right) * 0.5, (top + bottom) * 0.5
    box = [int(centre[0] - side / 2), int(centre[1] - side / 2), int(centre[0] + side / 2), int(centre[1] + side / 2)]
    for axis in (0, 1):
        shift = max(-box[axis], 0)
        box[axis], box[axis + 2] = box[axis] + shift, box[axis + 2] + shift
        shift = max(box[axis + 2] - SIDE, 0)
        box[axis], box[axis + 2] = box[axis] - shift, box[axis + 2] - shift
    return box


def test_the_crop_is_that_of_another_decoder_and_scaler(tmp_path):
    generator = np.random.default_rng(2)
    small = generator.integers(0, 255, (12, 12, 3)).astype(np.uint8)
    picture = np.asarray(Image.fromarray(small).resize((1000, 1002), Image.Resampling.BICUBIC))
    (tmp_path / "1.jpg").write_bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality=90))
    box = (137, 251, 852, 966)
    files = ImageFiles("", ("1.jpg",), (1,), (0,))
    item = SourceItem("a", "a", 0, files, selection=FrameSelection(), boxes=(box,))
    frames = [frame for frame in open_frames(item, tmp_path, PrepareConfig()) if frame is not None]
    full = Image.open(io.BytesIO((tmp_path / "1.jpg").read_bytes())).convert("RGB")
    expected = np.asarray(full.crop(box).resize((64, 64), Image.Resampling.BOX), float)
    assert np.abs(frames[0].picture - expected).mean() < 1.5
