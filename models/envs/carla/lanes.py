"""Where a car stands on the route: its allowed lane, how far it is from that lane's centre, how fast along it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from models.envs.carla.rules import OFF_ROUTE_DISTANCE

LaneRules = Literal["fixed", "published"]

AHEAD = 0.1
"""Metres between the two points that give the lane's direction."""

SLACK = 0.02
"""Metres that a point is moved along the road when there is none at its very place: road ends are rounded."""


@dataclass(frozen=True)
class LanePlace:
    """A car in relation to its allowed lane.

    Attributes:
        distance: to the lane's centre, horizontal, metres.
        speed: velocity along the lane, m/s.
        road: id of the road that the car is on; None: no lane is found.
        road_ahead: whether the lane goes on.
    """

    distance: float
    speed: float
    road: int | None
    road_ahead: bool


LOST = LanePlace(OFF_ROUTE_DISTANCE, 0.0, None, False)


def allowed_lane(road: int, lane: int, rules: LaneRules = "fixed") -> tuple[int, int]:
    """Road and lane that a car on Town04's `road`, `lane` should drive on: shoulders are mapped inwards.

    Args:
        road: OpenDRIVE id.
        lane: OpenDRIVE number; negative: right of the reference line.
        rules: `published`: without the mapping of roads 102 and 886, which the released code writes and never reaches.
    """
    if 45 <= road <= 50 and lane in (1, -5):
        return road, -1 if lane == 1 else -4
    if road in (660, 559, 718) and lane == -1:
        return road - 1, 1
    if road in (102, 886) and lane == 1 and rules == "fixed":
        return road + 1, -1
    if road in (93, 94) or (road, lane) == (103, -4):  # the branch: its lanes lie over the outer ones of road 103
        return 103, -3
    return road, lane


def place_on_lane(world_map: Any, location: Any, velocity: Any, rules: LaneRules = "fixed") -> LanePlace:
    """Relate a car to its allowed lane.

    Args:
        world_map: `carla.Map`.
        location: of the car, `carla.Location`.
        velocity: of the car, `carla.Vector3D`, m/s.
        rules: see `allowed_lane`.
    """
    nearest = world_map.get_waypoint(location)
    if nearest is None:
        return LOST
    goal = _point(world_map, *allowed_lane(nearest.road_id, nearest.lane_id, rules), nearest.s)
    if goal is None:
        return LOST
    centre = goal.transform.location
    distance = math.hypot(location.x - centre.x, location.y - centre.y)
    onwards = goal.next(AHEAD)
    if not onwards:
        return LanePlace(distance, 0.0, nearest.road_id, False)
    ahead = onwards[0].transform.location
    along = (ahead.x - centre.x, ahead.y - centre.y, ahead.z - centre.z)
    length = math.hypot(*along)
    if length == 0.0:
        return LanePlace(distance, 0.0, nearest.road_id, True)
    speed = (velocity.x * along[0] + velocity.y * along[1] + velocity.z * along[2]) / length
    return LanePlace(distance, speed, nearest.road_id, True)


def start_transform(world_map: Any, road: int, lane: int, along: float, above: float = 0.0) -> Any:
    """`carla.Transform` of a place on a lane, `above` metres over it; None where the map has no such place."""
    point = _point(world_map, road, lane, along)
    if point is None:
        return None
    transform = point.transform
    transform.location.z += above
    return transform


def _point(world_map: Any, road: int, lane: int, along: float) -> Any:
    for shift in (0.0, -SLACK, SLACK):
        if along + shift >= 0.0:
            point = world_map.get_waypoint_xodr(road, lane, along + shift)
            if point is not None:
                return point
    return None
