"""The world of the fake server: cars that roll, steer and bump into one another on a straight road. Drawn physics."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

MASS_KG = 1500.0
EXTENT = (2.4, 1.0, 0.75)
"""Half length, half width, half height of every car, metres."""

RAILS = (-3.0 + EXTENT[1], 17.0 - EXTENT[1])
"""y beyond which a car's middle cannot go, metres."""

SPEED_LIMIT_KMH = 90.0


@dataclass
class Actor:
    """A car, a sensor or anything else that was spawned.

    Attributes:
        number: its id.
        kind: the blueprint's id.
        description: as the client sent it.
        pose: x, y, z (metres), pitch, yaw, roll (degrees).
        parent: id of the car that a sensor sits on; 0: none.
        speed: along its own axis, m/s.
        control: throttle, steer, brake.
    """

    number: int
    kind: str
    description: list[Any]
    pose: list[float]
    parent: int = 0
    speed: float = 0.0
    control: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def is_vehicle(self) -> bool:
        """Whether it drives."""
        return self.kind.startswith("vehicle.")

    @property
    def velocity(self) -> tuple[float, float, float]:
        """m/s along x, y, z."""
        yaw = math.radians(self.pose[4])
        return (self.speed * math.cos(yaw), self.speed * math.sin(yaw), 0.0)

    def attribute(self, name: str, default: str) -> str:
        """An attribute of the blueprint as the client set it."""
        return next((text for key, _, text in self.description[2] if key == name), default)

    def roll(self, seconds: float) -> None:
        """Move for one step."""
        throttle, steer, brake = (min(max(part, low), 1.0) for part, low in zip(self.control, (0, -1, 0), strict=True))
        acceleration = 5.0 * throttle - 8.0 * brake - 0.004 * self.speed**2 - (0.1 if self.speed > 0 else 0.0)
        self.speed = max(0.0, self.speed + acceleration * seconds)
        self.pose[4] += math.degrees(self.speed * math.tan(0.6 * steer) / 2.8 * seconds)
        self.pose[4] = (self.pose[4] + 180.0) % 360.0 - 180.0
        self.pose[0] += self.velocity[0] * seconds
        self.pose[1] += self.velocity[1] * seconds


@dataclass
class Bump:
    """A collision: who, with whom (0: the rail), and the impulse along x, y, z in N s."""

    actor: int
    other: int
    impulse: tuple[float, float, float]


@dataclass
class World:
    """All actors, and the time.

    Attributes:
        episode: changes with every map that is loaded.
        frame: number of the last one.
        step_seconds: simulated time of a step.
    """

    map_name: str = "Carla/Maps/Town04"
    episode: int = 1
    frame: int = 1
    seconds: float = 0.0
    step_seconds: float = 0.05
    weather: list[float] = field(default_factory=lambda: [0.0] * 14)
    actors: dict[int, Actor] = field(default_factory=dict)
    _next_number: int = 100

    def spawn(self, description: list[Any], pose: list[float], parent: int = 0) -> Actor | None:
        """Put an actor there; None where a car would stand in another one."""
        found = Actor(self._next_number, description[1], description, pose, parent)
        if found.is_vehicle and any(_overlap(found, other) for other in self._vehicles()):
            return None
        self._next_number += 1
        self.actors[found.number] = found
        return found

    def destroy(self, number: int) -> bool:
        """Remove an actor and what sits on it."""
        for child in [actor.number for actor in self.actors.values() if actor.parent == number]:
            del self.actors[child]
        return self.actors.pop(number, None) is not None

    def new_episode(self, map_name: str) -> None:
        """Another map, empty."""
        self.map_name, self.episode = map_name, self.episode + 1
        self.actors.clear()

    def step(self) -> list[Bump]:
        """One step of the simulation; what bumped into what."""
        self.frame += 1
        self.seconds += self.step_seconds
        for vehicle in self._vehicles():
            vehicle.roll(self.step_seconds)
        return [*self._rail_bumps(), *self._car_bumps()]

    def pose_of(self, actor: Actor) -> tuple[float, ...]:
        """Where an actor is; what sits on another one goes along with it."""
        if not actor.parent or actor.parent not in self.actors:
            return tuple(actor.pose)
        base = self.actors[actor.parent].pose
        yaw = math.radians(base[4])
        ahead, aside = actor.pose[0], actor.pose[1]
        return (
            base[0] + ahead * math.cos(yaw) - aside * math.sin(yaw),
            base[1] + ahead * math.sin(yaw) + aside * math.cos(yaw),
            base[2] + actor.pose[2],
            base[3] + actor.pose[3],
            base[4] + actor.pose[4],
            base[5] + actor.pose[5],
        )

    def _vehicles(self) -> list[Actor]:
        return [actor for actor in self.actors.values() if actor.is_vehicle]

    def _rail_bumps(self) -> list[Bump]:
        bumps = []
        for car in self._vehicles():
            inside = min(max(car.pose[1], RAILS[0]), RAILS[1])
            if inside != car.pose[1]:
                push = MASS_KG * abs(car.velocity[1])
                bumps.append(Bump(car.number, 0, (0.0, push if inside > car.pose[1] else -push, 0.0)))
                car.pose[1] = inside
                car.speed *= 0.5
        return bumps

    def _car_bumps(self) -> list[Bump]:
        bumps = []
        cars = self._vehicles()
        for place, one in enumerate(cars):
            for other in cars[place + 1 :]:
                if _overlap(one, other):
                    change = abs(one.velocity[0] - other.velocity[0]) + abs(one.velocity[1] - other.velocity[1])
                    push = MASS_KG * change / 2
                    bumps += [
                        Bump(one.number, other.number, (push, 0.0, 0.0)),
                        Bump(other.number, one.number, (-push, 0.0, 0.0)),
                    ]
                    one.speed = other.speed = (one.speed + other.speed) / 2
        return bumps


def _overlap(one: Actor, other: Actor) -> bool:
    """Whether two cars touch; both are taken as lying along the road."""
    return abs(one.pose[0] - other.pose[0]) < 2 * EXTENT[0] and abs(one.pose[1] - other.pose[1]) < 2 * EXTENT[1]
