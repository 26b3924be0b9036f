"""A tiny Human3.6M release: a person of 17 joints walks or waves, and wears the frame's number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import simplejpeg

from pipelines.datasets.human36m import PICTURE_SIDE
from pipelines.datasets.person_box import person_boxes
from pipelines.samples.drawing import Colour, fill_limb, texture
from pipelines.samples.frame_number import draw_number

CAMERAS = ("54138969", "55011271", "58860488", "60457274")
SCENARIOS = (
    ("S1_Walking", "train"),
    ("S11_Directions", "valid"),
    ("S5_Greeting_1", "train"),
    ("S9_Waiting_2", "valid"),
    ("S6_WalkDog", "train"),
    ("S7_Phoning_1", "train"),
    ("S8_Posing", "train"),
    ("S11_Walking_1", "valid"),
)
FRAME_STEP = 5
LIMBS = ((1, 2), (2, 3), (4, 5), (5, 6), (0, 7), (7, 8), (8, 9), (9, 10), (11, 12), (12, 13), (14, 15), (15, 16),
         (8, 11), (8, 14), (0, 1), (0, 4))  # fmt: skip
"""Pairs of joints: pelvis 0, right leg 1-3, left leg 4-6, spine 7, neck 8, head 9-10, left arm 11-13, right 14-16."""


def write_sample(folder: Path, videos: int, seed: int) -> None:
    """Write the release.

    Args:
        folder: of the release; made when absent.
        videos: number of sequences (scenario and camera).
        seed: of pictures and motion.
    """
    import h5py

    parts: dict[str, list[np.ndarray]] = {"train": [], "valid": []}
    names: dict[str, list[str]] = {"train": [], "valid": []}
    for number, (scenario, camera, split) in enumerate(sample_sequences(videos)):
        generator = np.random.Generator(np.random.Philox(key=[seed, number]))
        subject = folder / scenario.partition("_")[0]
        subject.mkdir(parents=True, exist_ok=True)
        for frame, (joints, picture) in enumerate(_pictures(generator, scenario)):
            name = f"{scenario}.{camera}_{frame * FRAME_STEP + 1:06d}.jpg"
            data = simplejpeg.encode_jpeg(picture, quality=85, colorsubsampling="420", fastdct=False)
            (subject / name).write_bytes(data)
            parts[split].append(joints)
            names[split].append(name)
    for split in parts:
        (folder / f"{split}_images.txt").write_text("".join(f"{name}\n" for name in names[split]))
        with h5py.File(folder / f"{split}.h5", "w") as file:
            file.create_dataset("part", data=np.array(parts[split]).reshape(-1, 17, 2), track_times=False)


def sample_sequences(videos: int) -> list[tuple[str, str, str]]:
    """Scenario, camera and split; both splits come first, and the sequence that is empty upstream is never there."""
    found = []
    for turn in range(-(-videos // len(SCENARIOS)) + 1):
        take, camera = divmod(turn, len(CAMERAS))
        for scenario, split in SCENARIOS:
            base = "_".join(scenario.split("_")[:2])
            name = scenario if not take else f"{base}_{take + 2}"  # the takes 1 and 2 may be there already
            found.append((name, CAMERAS[(camera + 1) % len(CAMERAS)], split))
    known_empty = ("S11_Directions", "54138969", "valid")
    return [sequence for sequence in found if sequence != known_empty][:videos]


def _pictures(generator: np.random.Generator, scenario: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(joints (17, 2), picture (1000, 1000, 3)) for each frame; the picture is valid until the next one."""
    background = texture(generator, PICTURE_SIDE, PICTURE_SIDE, 9)
    background[700:] = background[700:] // 2 + np.array([40, 30, 20], np.uint8)  # the floor
    shirt, legs, skin = (_colour(generator) for _ in range(3))
    walks = "Walk" in scenario
    place = generator.uniform(420, 580, 2)
    speed = generator.uniform(3, 6) * generator.choice([-1, 1]) if walks else 0.0
    picture = background.copy()
    for frame in range(int(generator.integers(25, 31))):
        joints = _joints(place + np.array([speed * (frame - 14), 0]), frame, walks)
        picture[:] = background
        for limb, (a, b) in enumerate(LIMBS):
            colour = legs if limb < 4 else skin if limb in (6, 7) else shirt
            fill_limb(picture, joints[a], joints[b], 30 if limb == 7 else 20, colour)
        left, top, right, bottom = person_boxes(joints[None], 200, PICTURE_SIDE)[0].tolist()
        draw_number(picture, frame * FRAME_STEP + 1, (left, top, right, bottom))
        yield joints, picture


def _colour(generator: np.random.Generator) -> Colour:
    red, green, blue = generator.integers(20, 235, 3).tolist()
    return red, green, blue


def _joints(centre: np.ndarray, frame: int, walks: bool) -> np.ndarray:
    """(17, 2) x and y of the joints of a person of about 420 pixels."""
    swing = np.sin(frame * 0.5) * (1.0 if walks else 0.15)
    wave = np.sin(frame * 0.7) * (0.2 if walks else 1.0)
    joints = np.zeros((17, 2))
    joints[0] = [0, 20]
    for hip, side, phase in ((1, -1, 1), (4, 1, -1)):
        joints[hip] = joints[0] + [22 * side, 4]
        joints[hip + 1] = joints[hip] + [45 * swing * phase, 85]
        joints[hip + 2] = joints[hip + 1] + [30 * swing * phase - 12, 85]
    joints[7], joints[8] = [0, -50], [0, -110]
    joints[9], joints[10] = [3, -150], [3, -190]
    for shoulder, side, phase in ((11, 1, 1), (14, -1, -1)):
        joints[shoulder] = joints[8] + [45 * side, 8]
        joints[shoulder + 1] = joints[shoulder] + [30 * side + 30 * swing * phase, 60 - 30 * wave * side]
        joints[shoulder + 2] = joints[shoulder + 1] + [15 * side + 45 * swing * phase, 55 - 70 * max(wave * side, 0)]
    joints += centre
    return joints
