"""Which shapes of a Meta-world scene are table, floor, wall, arm and object: what each visual factor changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

LAST_DRAWN_GROUP = 2
"""Shapes and markers of higher groups are there for collisions and never drawn."""

ROBOT_MARKERS = ("basesite", "headsite", "armsite", "endEffector", "rightEndEffector", "leftEndEffector", "mocap")
"""Markers that belong to the arm; all others show goals and the like."""

KEY_MATERIALS = frozenset({
    "asmbly_green", "block_red", "block_wood", "box_metal", "bskt_orange", "btn_red", "cmgrey", "cmwhite",
    "dial_metal", "dial_red", "dl_metal", "drawer_white", "faucet_red", "hdlprs_red", "hmr_red", "lever_blue",
    "obj_green", "plug_black", "puck_black", "soccer_white", "stick_blue", "window_white", "",
})  # fmt: skip
"""Materials of what is moved, pressed or gripped, where it moves at all; the empty one: shapes without a material."""


@dataclass(frozen=True)
class Parts:
    """Numbers of a model's drawn shapes, by what they are.

    Attributes:
        table: the table, and blocks of its wood.
        floor: the floor.
        wall: the low walls around the table, and walls of bricks on it.
        arm: the robot with its pedestal; the fingers are not among them.
        fingers: right and left finger.
        body: the task's object without its key part.
        key: the part that is to be moved, pressed or gripped.
        goals: numbers of the drawn markers that are not the arm's.
    """

    table: tuple[int, ...]
    floor: tuple[int, ...]
    wall: tuple[int, ...]
    arm: tuple[int, ...]
    fingers: tuple[int, ...]
    body: tuple[int, ...]
    key: tuple[int, ...]
    goals: tuple[int, ...]


def find_parts(model: Any) -> Parts:
    """The parts of a `mujoco.MjModel` of a Meta-world task."""
    found: dict[str, list[int]] = {name: [] for name in Parts.__dataclass_fields__}
    for geom in range(model.ngeom):
        if model.geom_group[geom] <= LAST_DRAWN_GROUP and _alpha(model, geom) > 0:
            found[_part(model, geom)].append(geom)
    for site in range(model.nsite):
        drawn = model.site_group[site] <= LAST_DRAWN_GROUP and model.site_rgba[site, 3] > 0
        if drawn and model.site(site).name not in ROBOT_MARKERS:
            found["goals"].append(site)
    return Parts(**{name: tuple(numbers) for name, numbers in found.items()})


def material_of(model: Any, geom: int) -> str:
    """Name of a shape's material; empty where it has none."""
    number = model.geom_matid[geom]
    return str(model.material(number).name) if number >= 0 else ""


def _part(model: Any, geom: int) -> str:
    material = material_of(model, geom)
    bodies = list(_bodies(model, geom))
    if model.geom(geom).name == "floor":
        return "floor"
    if any(model.body(body).name == "base" for body in bodies):
        return "fingers" if model.geom(geom).name in ("rightpad_geom", "leftpad_geom") else "arm"
    if material == "table_wood":
        return "table"
    if material in ("wall_metal", "wall_brick"):
        return "wall"
    moves = any(model.body_jntnum[body] > 0 for body in bodies)
    return "key" if moves and material in KEY_MATERIALS else "body"


def _bodies(model: Any, geom: int) -> Iterator[int]:
    """The body of a shape and those that carry it, without the world."""
    body = int(model.geom_bodyid[geom])
    while body:
        yield body
        body = int(model.body_parentid[body])


def _alpha(model: Any, geom: int) -> float:
    material = model.geom_matid[geom]
    return float(model.geom_rgba[geom, 3] if material < 0 else model.mat_rgba[material, 3])
