"""Pictures of the fake server: a road, lane marks, cars as boxes, and a sky by the weather. Drawn, not rendered."""

from __future__ import annotations

import math
import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tests.fake_carla.roads import LANE_WIDTH, NUM_LANES, SHOULDER_WIDTH
from tests.fake_carla.world import EXTENT, Actor, World

FAR = 400.0


def draw(world: World, camera: Actor) -> NDArray[np.uint8]:
    """What a camera sees, (H, W, 4) BGRA, rows top first."""
    width, height = int(camera.attribute("image_size_x", "64")), int(camera.attribute("image_size_y", "64"))
    slope = math.tan(math.radians(float(camera.attribute("fov", "90"))) / 2)
    pose = world.pose_of(camera)
    light = _light(world.weather)
    picture = np.empty((height, width, 3), np.float32)
    ahead, aside = _ground(width, height, slope, max(pose[2], 0.1))
    horizon = ahead.shape[0]
    picture[: height - horizon] = (
        np.array((110, 150, 210)) * light - world.weather[0] * np.array((0.2, 0.6, 1.2)) * light
    )
    yaw = math.radians(pose[4])
    x = pose[0] + ahead * math.cos(yaw) - aside * math.sin(yaw)
    y = pose[1] + ahead * math.sin(yaw) + aside * math.cos(yaw)
    picture[height - horizon :] = _road(x, y, world.weather) * light
    own = camera.parent
    cars = [actor for actor in world.actors.values() if actor.is_vehicle and actor.number != own]
    for distance, offset, car in sorted(((*_seen(pose, car), car) for car in cars), key=lambda item: -item[0]):
        if 2.0 < distance < FAR:
            _box(picture, distance, offset, pose[2], slope, _colour(car) * light)
    bgra = np.full((height, width, 4), 255, np.uint8)
    bgra[..., :3] = np.clip(picture, 0, 255)[..., ::-1]
    return bgra


def _light(weather: list[float]) -> float:
    """Brightness: 0.25 at night, 1 with a high sun and no clouds."""
    altitude, clouds = weather[5], weather[0]
    return 0.25 + 0.75 * min(max((altitude + 5) / 50, 0.0), 1.0) * (1 - clouds / 250)


@lru_cache(maxsize=8)
def _ground(width: int, height: int, slope: float, above: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Metres ahead of and beside the camera where the pixels below the horizon meet the ground, each (rows, W)."""
    down = ((np.arange(height) + 0.5) / height * 2 - 1) * slope * height / width
    down = down[down > above / FAR]
    across = ((np.arange(width) + 0.5) / width * 2 - 1) * slope
    ahead = np.broadcast_to((above / down)[:, None], (len(down), width))
    return ahead.astype(np.float32), (ahead * across).astype(np.float32)


def _road(x: NDArray[np.float32], y: NDArray[np.float32], weather: list[float]) -> NDArray[np.float32]:
    """Colours (rows, W, 3) of places on the ground: asphalt with dashed marks, and fields with stripes across."""
    right = NUM_LANES * LANE_WIDTH
    on_road = (y > -SHOULDER_WIDTH) & (y < right + SHOULDER_WIDTH)
    lane = y / LANE_WIDTH
    mark = (np.abs(lane - np.round(lane)) < 0.05) & (y > -0.2) & (y < right + 0.2)
    dashed = (np.round(lane) > 0) & (np.round(lane) < NUM_LANES)
    mark &= ~dashed | ((x % 9.0) < 4.0)
    asphalt = 90.0 - 0.3 * weather[2]
    stripes = np.where((x % 20.0) < 10.0, 1.0, 0.8)
    colours = np.stack([60 * stripes, 120 * stripes, 50 * stripes], -1)
    colours = np.where(on_road[..., None], asphalt, colours)
    return np.where(mark[..., None], 230.0, colours)


def _seen(pose: tuple[float, ...], car: Actor) -> tuple[float, float]:
    """Metres ahead of the camera and to its right."""
    yaw = math.radians(pose[4])
    x, y = car.pose[0] - pose[0], car.pose[1] - pose[1]
    return x * math.cos(yaw) + y * math.sin(yaw), -x * math.sin(yaw) + y * math.cos(yaw)


def _box(
    picture: NDArray[np.float32], ahead: float, aside: float, above: float, slope: float, colour: NDArray[np.float32]
) -> None:
    """Paint a car's back as an upright rectangle."""
    height, width = picture.shape[:2]
    scale = width / (2 * slope * max(ahead - EXTENT[0], 1.0))
    left, right = (round(width / 2 + (aside + side * EXTENT[1]) * scale) for side in (-1, 1))
    top, bottom = (round(height / 2 + (above - z) * scale) for z in (2 * EXTENT[2], 0.0))
    picture[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = colour


def _colour(car: Actor) -> NDArray[np.float32]:
    text = car.attribute("color", "")
    if text.count(",") == 2:
        return np.array([float(part) for part in text.split(",")], np.float32)
    shade = zlib.crc32(car.kind.encode())
    return np.array([80 + shade % 150, 80 + shade // 150 % 150, 80 + shade // 22500 % 150], np.float32)
