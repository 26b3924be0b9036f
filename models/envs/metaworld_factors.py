"""The visual factors of Meta-world remastered: what is drawn for an episode, and how things stay visible.

The idea is DMC Remastered's (Grigsby and Qi, arXiv:2010.06740): every factor is drawn in every episode, each from a
generator of its own, and only those that vary are applied. Ranges and the rule below are ours.

Free draws would hide a dark object on a dark table now and then. So an episode first deals out four levels of
brightness: one to table, floor, wall and background, one to arm and the object's body, one to the part that is to be
moved, one to the goal's marker. Hue, saturation and pattern are free within the level. The object's two levels lie on
one side of the background's: else light and dark parts could average to the same grey.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ipv_bench.seeding import derive_seed, numpy_generator

Factor = Literal["table", "floor", "wall", "object", "arm", "light", "camera"]
ALL_FACTORS: tuple[Factor, ...] = get_args(Factor)
Pattern = Literal["plain", "clouds", "grain", "stripes", "bricks", "tiles"]
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)
Colour = NDArray[np.float64]
Range = tuple[float, float]

NUM_VISUAL_SEEDS = 1_000_000

LEVELS: tuple[Range, ...] = ((0.02, 0.05), (0.26, 0.32), (0.58, 0.64), (0.95, 1.0))
"""Brightness (luma of the unlit colour) of each level. Light and slope multiply it by some 0.7 to 1.2."""

LUMA = np.array([0.299, 0.587, 0.114])
MAX_SATURATION = 0.65
"""Stronger colours would make the order of brightness a matter of how grey is computed."""

ARRANGEMENTS: tuple[tuple[int, int, int, int], ...] = tuple(
    (backdrop, body, key, goal)
    for backdrop in range(4)
    for body in range(4)
    for key in range(4)
    for goal in range(4)
    if len({backdrop, body, key, goal}) == 4 and (body < backdrop) == (key < backdrop)
)
"""Levels of background, body, key part and goal; 16 of them."""

LIGHT: dict[str, Range] = {"ambient": (0.36, 0.48), "diffuse": (0.34, 0.5), "specular": (0.2, 0.5), "lamp": (0.22, 0.4)}
"""Brightness of the headlight's three parts (Meta-world: 0.4, 0.4, 0.5) and of each of the three lamps (0.3)."""
TINT = 0.03
"""How far each colour channel of a light may lie from its brightness."""
LAMP_TURN: Range = (-40.0, 40.0)
"""Degrees by which the lamps turn about the vertical, all three together."""
CAMERA_SHIFT: tuple[Range, ...] = ((-0.03, 0.03), (-0.03, 0.03), (-0.05, 0.05))
"""To the right, up and back as the camera sees it, m."""
CAMERA_TURN: tuple[Range, ...] = ((-1.0, 1.0), (-1.0, 1.0), (-2.0, 2.0))
"""About the camera's own axes, degrees."""


@dataclass(frozen=True)
class Surface:
    """How a surface looks.

    Attributes:
        pattern: what is drawn on it.
        seed: of the pattern.
        colours: (2, 3) rgb between which the pattern goes.
    """

    pattern: Pattern
    seed: int
    colours: Colour


@dataclass(frozen=True)
class Looks:
    """What was drawn for one episode; colours are rgb in [0, 1].

    Attributes:
        visual_seed: what all of it was drawn from.
        levels: number of the level of background, body, key part and goal.
        table: the table.
        floor: the floor.
        wall: the walls.
        background: what is behind everything; a part of the factor `wall`.
        arm: the robot's surface; its colours stand in `arm_colours`.
        arm_colours: (4, 3) links, pedestal, right and left finger.
        thing: the object's surface; its colours stand in the three fields below.
        body_colours: (N, 3) of the object's body, by its materials.
        key_colours: (N, 3) of the key part, by its materials.
        goal_colours: (N, 3) of the goals' markers.
        headlight: ambient, diffuse and specular, (3,) each.
        lamps: (3, 3) colour of each lamp.
        lamp_turn: degrees about the vertical.
        camera_shift: (3,) right, up, back, m.
        camera_turn: (3,) about the camera's axes, degrees.
    """

    visual_seed: int
    levels: tuple[int, int, int, int]
    table: Surface
    floor: Surface
    wall: Surface
    background: Surface
    arm: Surface
    arm_colours: Colour
    thing: Surface
    body_colours: Colour
    key_colours: Colour
    goal_colours: Colour
    headlight: dict[str, Colour]
    lamps: Colour
    lamp_turn: float
    camera_shift: NDArray[np.float64]
    camera_turn: NDArray[np.float64]

    def as_metadata(self, vary: tuple[Factor, ...]) -> dict[str, Any]:
        """The factors that vary, JSON-ready, numbers rounded to 1e-4."""
        thing = {"body": self.body_colours, "key": self.key_colours, "goal": self.goal_colours}
        values: dict[Factor, Any] = {
            "table": _surface(self.table),
            "floor": _surface(self.floor),
            "wall": {"wall": _surface(self.wall), "background": _surface(self.background)},
            "object": {"pattern": self.thing.pattern} | thing,
            "arm": {"pattern": self.arm.pattern, "colours": self.arm_colours},
            "light": {"headlight": self.headlight, "lamps": self.lamps, "turn": self.lamp_turn},
            "camera": {"shift": self.camera_shift, "turn": self.camera_turn},
        }
        shown: dict[str, Any] = {factor: _plain(values[factor]) for factor in ALL_FACTORS if factor in vary}
        return {"visual_seed": self.visual_seed, "levels": list(self.levels)} | shown


NUM_COLOURS = 8
"""Colours that are drawn for the materials of a body, of a key part, and for markers; no task has more."""


def visual_seed_of(episode_seed: int) -> int:
    """The one visual seed of an episode, 1 to 1,000,000."""
    return derive_seed(episode_seed, 0, "Meta-world visual seed") % NUM_VISUAL_SEEDS + 1


def draw_looks(visual_seed: int) -> Looks:
    """Draw all factors of an episode."""

    def generator(purpose: str) -> np.random.Generator:
        return numpy_generator(visual_seed, 0, f"Meta-world {purpose}")

    backdrop, body, key, goal = levels = _arrangement(generator("levels"))
    wall, arm, thing, light, camera = (generator(each) for each in ("wall", "arm", "object", "light", "camera"))
    return Looks(
        visual_seed=visual_seed,
        levels=levels,
        table=_draw_surface(generator("table"), backdrop),
        floor=_draw_surface(generator("floor"), backdrop),
        wall=_draw_surface(wall, backdrop),
        background=_draw_surface(wall, backdrop),
        arm=_draw_surface(arm, body),
        arm_colours=_colours(arm, 4, body),
        thing=_draw_surface(thing, body),
        body_colours=_colours(thing, NUM_COLOURS, body),
        key_colours=_colours(thing, NUM_COLOURS, key),
        goal_colours=_colours(thing, NUM_COLOURS, goal),
        headlight={part: _light(light, LIGHT[part]) for part in ("ambient", "diffuse", "specular")},
        lamps=np.array([_light(light, LIGHT["lamp"]) for _ in range(3)]),
        lamp_turn=float(light.uniform(*LAMP_TURN)),
        camera_shift=np.array([camera.uniform(*one) for one in CAMERA_SHIFT]),
        camera_turn=np.array([camera.uniform(*one) for one in CAMERA_TURN]),
    )


def _arrangement(generator: np.random.Generator) -> tuple[int, int, int, int]:
    """Every level is the background's equally often."""
    backdrop = int(generator.integers(4))
    fitting = [levels for levels in ARRANGEMENTS if levels[0] == backdrop]
    return fitting[int(generator.integers(len(fitting)))]


def _draw_surface(generator: np.random.Generator, level: int) -> Surface:
    pattern = PATTERNS[int(generator.integers(len(PATTERNS)))]
    return Surface(pattern, int(generator.integers(2**31)), _colours(generator, 2, level))


def _colours(generator: np.random.Generator, count: int, level: int) -> Colour:
    return np.array([colour_of_luma(generator, LEVELS[level]) for _ in range(count)])


def colour_of_luma(generator: np.random.Generator, luma: Range) -> Colour:
    """A colour (3,) of any hue whose luma lies in a range; as saturated as that allows, at most `MAX_SATURATION`."""
    bright = np.array(colorsys.hsv_to_rgb(generator.uniform(), generator.uniform(0, MAX_SATURATION), 1.0))
    wanted = generator.uniform(*luma)
    colour = bright * (wanted / float(bright @ LUMA))
    # Too bright for a screen: mixed with the grey of the same luma, until its strongest channel is 1.
    strongest = float(colour.max())
    share = 1.0 if strongest <= 1 else (1 - wanted) / (strongest - wanted)
    return np.asarray(wanted + share * (colour - wanted))


def _light(generator: np.random.Generator, brightness: Range) -> Colour:
    return np.asarray(generator.uniform(*brightness) + generator.uniform(-TINT, TINT, 3))


def _surface(surface: Surface) -> dict[str, Any]:
    return {"pattern": surface.pattern, "seed": surface.seed, "colours": surface.colours}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return np.round(value, 4).tolist()
    return round(value, 4) if isinstance(value, float) else value
