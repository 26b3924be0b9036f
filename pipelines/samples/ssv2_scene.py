"""Scenes of the sample videos: an object that a hand moves evenly before one of a few backgrounds.

A scene is a motion, a background and objects, drawn independently of one another, so that a model can be asked which of
them it knows. Everything but the motion stands still, and the motion has a constant speed: what comes next can be
foreseen from what was seen, and is not what was seen last.
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ipv_bench.seeding import numpy_generator
from pipelines.samples.drawing import Colour, fill_limb, texture

HEIGHT = 240
WIDTHS = (320, 426, 320, 180, 426, 360)
"""Width of the pictures by the number of the background: one place is filmed by one camera."""
NUM_BACKGROUNDS = 8
NOUNS = ("cup", "box", "bottle", "book", "toy car", "ball", "plate", "spoon", "phone", "candle", "shoe", "banana")
"""The objects; each has its own looks, the same in all videos of a release."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Motion:
    """What a label tells. Places are x and y as shares of the picture.

    Attributes:
        template: as in the release, with brackets.
        start, end: way of the moving object's centre, at constant speed over the whole video.
        hand: from that centre to the hand's tip: behind it (pushing), in front (pulling), below.
        room: by how much a video may shift the whole scene, to either side.
        other: place of a second object that stands still.
    """

    template: str
    start: Point
    end: Point
    hand: Point
    room: Point
    other: Point | None = None

    @property
    def num_objects(self) -> int:
        """One or two."""
        return 1 if self.other is None else 2

    def sentence(self, nouns: tuple[str, ...]) -> str:
        """The template with its brackets filled."""
        names = iter(nouns)
        return re.sub(r"\[[^]]*\]", lambda match: next(names), self.template)


_ALONG, _UPRIGHT, _NEAR = (0.05, 0.14), (0.22, 0.04), (0.04, 0.14)
MOTIONS = (
    Motion("Pushing [something] from left to right", (0.2, 0.52), (0.8, 0.52), (-0.15, 0.02), _ALONG),
    Motion("Pushing [something] from right to left", (0.8, 0.52), (0.2, 0.52), (0.15, 0.02), _ALONG),
    Motion("Moving [something] up", (0.5, 0.76), (0.5, 0.22), (0.0, 0.15), _UPRIGHT),
    Motion("Moving [something] down", (0.5, 0.22), (0.5, 0.76), (0.0, 0.15), _UPRIGHT),
    Motion("Pulling [something] from left to right", (0.2, 0.52), (0.8, 0.52), (0.15, 0.02), _ALONG),
    Motion("Pulling [something] from right to left", (0.8, 0.52), (0.2, 0.52), (-0.15, 0.02), _ALONG),
    Motion("Moving [something] closer to [something]", (0.16, 0.52), (0.58, 0.52), (-0.15, 0.02), _NEAR, (0.8, 0.5)),
    Motion("Moving [something] away from [something]", (0.58, 0.52), (0.16, 0.52), (-0.15, 0.02), _NEAR, (0.8, 0.5)),
)  # fmt: skip
"""What the sample shows, with the release's own templates."""

_SKIN = ((224, 172, 138), (141, 94, 66), (198, 134, 96), (92, 60, 42), (241, 200, 170))


class Scene:
    """One sample video.

    Args:
        motion: what happens.
        background: number of the background; it fixes the picture's width.
        nouns: the moving object and the one that stands still, if any.
        num_frames: length, 2 or more.
        seed: of the release: of the looks of backgrounds and objects.
        generator: of what varies between videos of equal motion, background and objects: place, hand, camera's place.
    """

    def __init__(
        self,
        motion: Motion,
        background: int,
        nouns: tuple[str, ...],
        num_frames: int,
        seed: int,
        generator: np.random.Generator,
    ) -> None:
        self.width, self.num_frames = WIDTHS[background % len(WIDTHS)], num_frames
        self._size = np.array([self.width, HEIGHT], float)
        self._picture = _view(_background(seed, background, self.width), self.width, generator)
        self._objects = [_object(seed, noun, 0.18 * min(self.width, HEIGHT)) for noun in nouns[: motion.num_objects]]
        self._skin = _SKIN[int(generator.integers(len(_SKIN)))]
        shift = generator.uniform(-1, 1, 2) * np.array(motion.room)
        share = np.linspace(0, 1, num_frames)[:, None]
        ways = [np.array(motion.start) + share * (np.array(motion.end) - np.array(motion.start)) + shift]
        self._hand = (ways[0] + np.array(motion.hand)) * self._size  # (T, 2) pixels
        self._from = np.array([generator.uniform(0.35, 0.65), 1.25]) * self._size
        if motion.other is not None:
            ways.append(np.repeat(np.array(motion.other)[None] + shift, num_frames, axis=0))
        self._centres = [np.rint(way * self._size).astype(int) for way in ways]  # of the objects, (T, 2) whole pixels

    def positions(self) -> list[np.ndarray]:
        """For each object (T, 2): x and y of its centre, as shares of the picture."""
        return [(centres + 0.5) / self._size for centres in self._centres]

    def frames(self) -> Iterator[np.ndarray]:
        """The pictures, uint8 (H, W, 3)."""
        for number in range(self.num_frames):
            picture = self._picture.copy()
            for thing, centres in reversed(list(zip(self._objects, self._centres, strict=True))):
                thing.draw(picture, centres[number])
            fill_limb(picture, self._from, self._hand[number], 0.05 * HEIGHT, self._skin)
            yield picture


_MARGIN = 16
"""Pixels around a background, within which a video's camera stands."""


def _view(background: np.ndarray, width: int, generator: np.random.Generator) -> np.ndarray:
    left, top = generator.integers(0, 2 * _MARGIN + 1, 2)
    return background[top : top + HEIGHT, left : left + width]


def _background(seed: int, number: int, width: int) -> np.ndarray:
    """A wall over a table top, each with its own texture, some grey things that stand around, and uneven light."""
    generator = numpy_generator(seed, number, "ssv2 sample background")
    height, width = HEIGHT + 2 * _MARGIN, width + 2 * _MARGIN
    picture = texture(generator, height, width, int(generator.integers(2, 9)), int(generator.integers(20, 70)))
    edge = int(height * generator.uniform(0.3, 0.7))
    picture[edge:] = texture(generator, height - edge, width, int(generator.integers(1, 5)), 50)
    waves = picture.astype(int)
    y, x = np.mgrid[:height, :width]
    for rows, strength in ((slice(0, edge), 22), (slice(edge, None), 16)):
        period, angle = generator.uniform(12, 50), generator.uniform(0, np.pi)
        wave = np.sin((x[rows] * np.cos(angle) + y[rows] * np.sin(angle)) * 2 * np.pi / period)
        waves[rows] += (wave * strength * generator.uniform(0, 1.5)).astype(int)[..., None]
    picture = waves.clip(0, 255).astype(np.uint8)
    for _ in range(int(generator.integers(1, 5))):
        grey = generator.integers(50, 170, (2, 1)) + generator.integers(-20, 21, (2, 3))
        thing = _Object(generator, 0.08 * HEIGHT * generator.uniform(0.6, 1.6), grey)
        place = np.array([generator.uniform(0, width), edge + generator.normal(0, 0.05 * HEIGHT)])
        thing.draw(picture, np.rint(place).astype(int))
    light = 0.75 + 0.3 * (x * generator.uniform(-1, 1) / width + y * generator.uniform(-1, 1) / height + 0.5)
    shaded: np.ndarray = (picture * light[..., None]).clip(0, 255).astype(np.uint8)
    return shaded


def _object(seed: int, noun: str, radius: float) -> _Object:
    """The looks of an object of about this size: hues are spread evenly over the nouns, in an order of the seed."""
    number = NOUNS.index(noun)
    generator = numpy_generator(seed, number, "ssv2 sample object")
    order = numpy_generator(seed, 0, "ssv2 sample hues").permutation(len(NOUNS))
    hue = float(order[number]) / len(NOUNS)
    first, second = _rgb(hue, 0.9, 0.9), _rgb(hue + generator.uniform(0.2, 0.5), 0.7, 0.35)
    return _Object(generator, radius * generator.uniform(0.9, 1.1), np.array([first, second]))


def _rgb(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue % 1, saturation, value))
    return red, green, blue


class _Object:
    """A thing with a shape, a pattern and two colours.

    Args:
        generator: of shape and pattern.
        radius: half of its size, in pixels.
        colours: (2, 3), 0 … 255.
    """

    def __init__(self, generator: np.random.Generator, radius: float, colours: np.ndarray) -> None:
        self._shape, self._pattern = int(generator.integers(5)), int(generator.integers(4))
        self._period, self._slim = generator.uniform(0.4, 0.8), generator.uniform(0.65, 1.0)
        self._inside, self._colours = self._sprite(radius, generator.uniform(0, np.pi), colours)

    def draw(self, picture: np.ndarray, centre: np.ndarray) -> None:
        """Draw it; changes `picture` in place.

        Args:
            picture: uint8 (H, W, 3).
            centre: x and y, whole pixels.
        """
        reach = len(self._inside) // 2
        left, top = (int(value) - reach for value in centre)
        part = picture[max(top, 0) : max(top + len(self._inside), 0), max(left, 0) : max(left + len(self._inside), 0)]
        rows = slice(max(-top, 0), max(-top, 0) + part.shape[0])
        columns = slice(max(-left, 0), max(-left, 0) + part.shape[1])
        np.copyto(part, self._colours[rows, columns], where=self._inside[rows, columns, None])

    def _sprite(self, radius: float, angle: float, colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Its mask (S, S) and colours (S, S, 3), centred."""
        reach = int(np.ceil(radius * 1.45))
        place = np.arange(-reach, reach + 1, dtype=np.float32) / radius
        y, x = place[:, None], place[None, :]
        along = x * np.cos(angle) + y * np.sin(angle)
        across = (y * np.cos(angle) - x * np.sin(angle)) / self._slim
        shade = 1.0 - 0.2 * along - 0.1 * across
        painted = colours[self._second_colour(along, across).astype(int)] * shade[..., None]
        return self._shape_mask(along, across), painted.clip(0, 255).astype(np.uint8)

    def _shape_mask(self, x: Any, y: Any) -> np.ndarray:
        distance = np.maximum(np.abs(x), np.abs(y))
        circle = x * x + y * y
        shapes = (circle <= 1, distance <= 0.9, np.abs(x) + np.abs(y) <= 1.2, (circle <= 1) & (circle > 0.2))
        return np.asarray(shapes[self._shape] if self._shape < 4 else (y <= 0.8) & (np.abs(x) <= (y + 1.2) * 0.55))

    def _second_colour(self, x: Any, y: Any) -> np.ndarray:
        wide, high = np.floor(x / self._period), np.floor(y / self._period)
        patterns = (wide % 2, high % 2, (wide + high) % 2, (x > 0.1) * 1.0)
        return np.asarray(np.broadcast_to(patterns[self._pattern], np.broadcast_shapes(np.shape(x), np.shape(y)))) > 0
