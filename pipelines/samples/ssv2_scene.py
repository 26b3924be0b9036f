"""Scenes of the sample videos: textured objects that a hand moves over varied backgrounds, as a script tells."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.samples.drawing import fill_limb, texture


@dataclass(frozen=True)
class Pose:
    """Where an object is: x and y as shares of the picture, scale, and angle in radians."""

    x: float
    y: float
    scale: float = 1.0
    angle: float = 0.0


@dataclass(frozen=True)
class Moment:
    """One instant: the objects, the hand's tip (None when it is out of the picture), and the camera's shift."""

    poses: tuple[Pose, ...]
    hand: tuple[float, float] | None = None
    camera: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Script:
    """A label and the action that shows it.

    Attributes:
        template: as in the release, with brackets.
        action: time in [0, 1] → moment.
        nouns: what the objects are called.
    """

    template: str
    action: Callable[[float], Moment]
    nouns: tuple[str, ...] = ("something", "something")

    def used_nouns(self) -> tuple[str, ...]:
        """The nouns that fill the template's brackets."""
        return self.nouns[: self.template.count("[")]

    def sentence(self) -> str:
        """The template with its brackets filled."""
        nouns = iter(self.used_nouns())
        return re.sub(r"\[[^]]*\]", lambda match: next(nouns), self.template)


def _ease(u: float, low: float = 0.12, high: float = 0.88) -> float:
    v = min(max((u - low) / (high - low), 0.0), 1.0)
    return v * v * (3 - 2 * v)


def _between(a: float, b: float, share: float) -> float:
    return a + (b - a) * share


def _slide(start: float, end: float, hand_side: float) -> Callable[[float], Moment]:
    """Along the table; the hand is behind (pushing) or in front (pulling) by `hand_side`."""

    def action(u: float) -> Moment:
        x = _between(start, end, _ease(u))
        return Moment((Pose(x, 0.66),), (x + hand_side, 0.66))

    return action


def _vertical(start: float, end: float) -> Callable[[float], Moment]:
    def action(u: float) -> Moment:
        y = _between(start, end, _ease(u))
        return Moment((Pose(0.5, y),), (0.5, y - 0.12))

    return action


def _lift_and_drop(u: float) -> Moment:
    if u < 0.6:
        y = _between(0.68, 0.25, _ease(u / 0.6))
        return Moment((Pose(0.5, y),), (0.5, y - 0.12))
    fallen = min(((u - 0.6) / 0.22) ** 2, 1.0)
    return Moment((Pose(0.5, _between(0.25, 0.68, fallen)),), (0.5, 0.13))


def _to_other(start: float, end: float) -> Callable[[float], Moment]:
    def action(u: float) -> Moment:
        x = _between(start, end, _ease(u))
        return Moment((Pose(0.76, 0.64), Pose(x, 0.67)), (x, 0.8))

    return action


def _both(start: float, end: float) -> Callable[[float], Moment]:
    def action(u: float) -> Moment:
        distance = _between(start, end, _ease(u))
        return Moment((Pose(0.5 - distance, 0.66), Pose(0.5 + distance, 0.66)), (0.5 - distance - 0.12, 0.7))

    return action


def _depth(start: float, end: float) -> Callable[[float], Moment]:
    def action(u: float) -> Moment:
        scale = _between(start, end, _ease(u))
        return Moment((Pose(0.5, 0.42 + 0.14 * scale, scale),), (0.5 + 0.1 * scale, 0.5 + 0.2 * scale))

    return action


def _fall(u: float) -> Moment:
    return Moment((Pose(0.5, _between(-0.15, 0.7, min((u / 0.7) ** 2, 1.0)), 1.0, 3.0 * min(u / 0.7, 1.0)),))


def _camera(x: float, y: float) -> Callable[[float], Moment]:
    def action(u: float) -> Moment:
        share = _ease(u) - 0.5
        return Moment((Pose(0.42, 0.62), Pose(0.66, 0.66)), None, (x * share, y * share))

    return action


def _spin(u: float) -> Moment:
    hand = (0.62, 0.72) if u < 0.3 else None
    return Moment((Pose(0.5, 0.62, 1.1, 14.0 * _ease(u, 0.15, 1.3)),), hand)


def _upside_down(u: float) -> Moment:
    share = _ease(u)
    y = 0.64 - 0.2 * np.sin(np.pi * share)
    return Moment((Pose(0.5, float(y), 1.1, np.pi * share),), (0.6, float(y)))


def _toss(u: float) -> Moment:
    v = min(max((u - 0.2) / 0.6, 0.0), 1.0)
    return Moment((Pose(0.5, 0.7 - 2.2 * v * (1 - v), 1.0, 6 * v),), (0.5, 0.8))


def _tip_over(u: float) -> Moment:
    share = _ease(u, 0.3, 0.7)
    return Moment((Pose(0.5 + 0.08 * share, 0.62 + 0.05 * share, 1.1, np.pi / 2 * share),), (0.4, 0.55))


def _hold(u: float) -> Moment:
    return Moment((Pose(0.5 + 0.01 * float(np.sin(9 * u)), 0.5 + 0.01 * float(np.cos(7 * u))),), (0.52, 0.6))


def _onto(u: float) -> Moment:
    share = _ease(u)
    x, y = _between(0.2, 0.6, share), _between(0.35, 0.5, share) - 0.2 * np.sin(np.pi * share)
    return Moment((Pose(0.6, 0.7, 1.3), Pose(x, float(y), 0.8)), (x, float(y) - 0.1))


ACTIONS = (
    Script("Pushing [something] from left to right", _slide(0.2, 0.8, -0.14)),
    Script("Pushing [something] from right to left", _slide(0.8, 0.2, 0.14)),
    Script("Lifting [something] up completely without letting it drop down", _vertical(0.68, 0.25)),
    Script("Moving [something] closer to [something]", _to_other(0.15, 0.58)),
    Script("Moving [something] towards the camera", _depth(0.6, 1.7)),
    Script("Turning the camera left while filming [something]", _camera(-0.3, 0.0)),
    Script("Pulling [something] from left to right", _slide(0.2, 0.8, 0.14)),
    Script("Pulling [something] from right to left", _slide(0.8, 0.2, -0.14)),
    Script("Lifting [something] up completely, then letting it drop down", _lift_and_drop),
    Script("Moving [something] away from [something]", _to_other(0.58, 0.15)),
    Script("Moving [something] away from the camera", _depth(1.7, 0.6)),
    Script("Turning the camera right while filming [something]", _camera(0.3, 0.0)),
    Script("[Something] falling like a rock", _fall),
    Script("Moving [something] and [something] closer to each other", _both(0.34, 0.12)),
    Script("Moving [something] up", _vertical(0.6, 0.3)),
    Script("Pushing [something] so it spins", _spin),
    Script("Turning the camera upwards while filming [something]", _camera(0.0, -0.3)),
    Script("Moving [something] and [something] away from each other", _both(0.12, 0.34)),
    Script("Moving [something] down", _vertical(0.3, 0.6)),
    Script("Turning [something] upside down", _upside_down),
    Script("Throwing [something] in the air and catching it", _toss),
    Script("Turning the camera downwards while filming [something]", _camera(0.0, 0.3)),
    Script("Tipping [something] over", _tip_over),
    Script("Holding [something]", _hold),
    Script("Putting [something] onto [something]", _onto),
)
"""What the sample shows, with the release's own templates."""

_SKIN = ((224, 172, 138), (141, 94, 66), (198, 134, 96), (92, 60, 42), (241, 200, 170))


class Scene:
    """One sample video.

    Args:
        script: what happens.
        width, height: of the picture, in pixels.
        num_frames: length.
        generator: of everything that varies: place, objects, light, the camera's unsteadiness.
    """

    def __init__(
        self, script: Script, width: int, height: int, num_frames: int, generator: np.random.Generator
    ) -> None:
        self._script, self._width, self._height, self._num_frames = script, width, height, num_frames
        self._margin = int(0.2 * max(width, height)) + 8
        self._background = _background(generator, height + 2 * self._margin, width + 2 * self._margin)
        self._objects = [_Object(generator, 0.14 * height * generator.uniform(0.8, 1.25)) for _ in range(2)]
        self._skin = _SKIN[int(generator.integers(len(_SKIN)))]
        self._shake = np.cumsum(generator.normal(0, 0.5, (num_frames, 2)), axis=0)
        self._shake -= self._shake.mean(axis=0)
        self._from = generator.uniform((0.2, 1.15), (0.8, 1.3))

    def frames(self) -> Iterator[np.ndarray]:
        """The pictures, uint8 (H, W, 3)."""
        for number in range(self._num_frames):
            moment = self._script.action(number / max(self._num_frames - 1, 1))
            yield self._draw(moment, self._shake[number])

    def _draw(self, moment: Moment, shake: np.ndarray) -> np.ndarray:
        size = np.array([self._width, self._height], float)
        shift = np.clip(np.array(moment.camera) * size + shake, -self._margin, self._margin)
        left, top = np.rint(self._margin + shift).astype(int)
        picture = self._background[top : top + self._height, left : left + self._width].copy()
        follows = np.rint(shift)
        for thing, pose in zip(self._objects, moment.poses, strict=False):
            thing.draw(picture, np.array([pose.x, pose.y]) * size - follows, pose)
        if moment.hand is not None:
            tip = np.array(moment.hand) * size - follows
            fill_limb(picture, self._from * size, tip, 0.055 * self._height, self._skin)
        return picture


def _background(generator: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A wall over a table top, each with its own texture, some things that stand around, and uneven light."""
    picture = texture(generator, height, width, int(generator.integers(2, 9)), int(generator.integers(15, 90))).astype(
        int
    )
    edge = int(height * generator.uniform(0.4, 0.6))
    picture[edge:] = texture(generator, height - edge, width, int(generator.integers(1, 5)), 50)
    y, x = np.mgrid[:height, :width]
    for rows, strength in ((slice(0, edge), 22), (slice(edge, None), 16)):
        period, angle = generator.uniform(8, 40), generator.uniform(0, np.pi)
        wave = np.sin((x[rows] * np.cos(angle) + y[rows] * np.sin(angle)) * 2 * np.pi / period)
        if generator.integers(2):
            wave = np.sign(wave)
        picture[rows] += (wave * strength * generator.uniform(0, 1.5)).astype(int)[..., None]
    picture = picture.clip(0, 255).astype(np.uint8)
    for _ in range(int(generator.integers(1, 5))):
        thing = _Object(generator, 0.08 * height * generator.uniform(0.6, 1.6))
        place = np.array([generator.uniform(0, width), edge + generator.normal(0, 0.05 * height)])
        thing.draw(picture, place, Pose(0, 0, 1, generator.uniform(0, 6)))
    light = 0.7 + 0.4 * (x * generator.uniform(-1, 1) / width + y * generator.uniform(-1, 1) / height + 0.5)
    shaded: np.ndarray = (picture * light[..., None]).clip(0, 255).astype(np.uint8)
    return shaded


class _Object:
    """A thing with a shape, a pattern and two colours.

    Args:
        generator: of its looks.
        radius: half of its size at scale 1, in pixels.
    """

    def __init__(self, generator: np.random.Generator, radius: float) -> None:
        self._radius = radius
        self._shape, self._pattern = int(generator.integers(5)), int(generator.integers(4))
        self._colours = generator.integers(20, 236, (2, 3))
        self._period = generator.uniform(0.3, 0.8)
        self._slim = generator.uniform(0.55, 1.0)
        self._sprites: dict[tuple[float, float], tuple[np.ndarray, np.ndarray]] = {}

    def draw(self, picture: np.ndarray, centre: np.ndarray, pose: Pose) -> None:
        """Draw it at the nearest whole pixel; changes `picture` in place.

        Args:
            centre: x and y in pixels.
            pose: its scale and angle are used.
        """
        key = (round(pose.scale, 3), round(pose.angle, 3))
        if key not in self._sprites:
            self._sprites = {key: self._sprite(*key)}  # the last one: most actions only move it
        inside, colours = self._sprites[key]
        reach = len(inside) // 2
        left, top = (round(float(value)) - reach for value in centre)
        part = picture[max(top, 0) : max(top + len(inside), 0), max(left, 0) : max(left + len(inside), 0)]
        rows = slice(max(-top, 0), max(-top, 0) + part.shape[0])
        columns = slice(max(-left, 0), max(-left, 0) + part.shape[1])
        np.copyto(part, colours[rows, columns], where=inside[rows, columns, None])

    def _sprite(self, scale: float, angle: float) -> tuple[np.ndarray, np.ndarray]:
        """Its mask (S, S) and colours (S, S, 3), centred."""
        radius = self._radius * scale
        reach = int(np.ceil(radius * 1.45))
        place = np.arange(-reach, reach + 1, dtype=np.float32) / radius
        y, x = place[:, None], place[None, :]
        along = x * np.cos(angle) + y * np.sin(angle)
        across = (y * np.cos(angle) - x * np.sin(angle)) / self._slim
        shade = 1.0 - 0.25 * along - 0.15 * across
        colours = self._colours[self._second_colour(along, across).astype(int)] * shade[..., None]
        return self._inside(along, across), colours.clip(0, 255).astype(np.uint8)

    def _inside(self, x: Any, y: Any) -> np.ndarray:
        distance = np.maximum(np.abs(x), np.abs(y))
        circle = x * x + y * y
        shapes = (circle <= 1, distance <= 0.9, np.abs(x) + np.abs(y) <= 1.2, (circle <= 1) & (circle > 0.25))
        return np.asarray(shapes[self._shape] if self._shape < 4 else (y <= 0.8) & (np.abs(x) <= (y + 1.2) * 0.55))

    def _second_colour(self, x: Any, y: Any) -> np.ndarray:
        wide, high = np.floor(x / self._period), np.floor(y / self._period)
        patterns = (wide % 2, high % 2, (wide + high) % 2, (x > 0.1) * 1.0)
        return np.asarray(np.broadcast_to(patterns[self._pattern], np.broadcast_shapes(np.shape(x), np.shape(y)))) > 0
