"""The task's rules as functions of numbers: actions, reward, ends.

Source: ContextWM (arXiv:2305.18499), appendix C.2, after Zhang et al. (arXiv:2006.10742); constants and details that
the paper leaves out are those of the released code, described in docs/suites/carla.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

STEP_SECONDS = 0.05
"""Simulated time of a control step; also the Δt of the reward."""

TIME_LIMIT = 1000
"""Control steps of an episode."""

LANE_BORDER = 1.75
"""Distance to the lane's centre that costs nothing, metres: half of a lane of 3.5 m."""

CENTRING_WEIGHT = 1.5
COLLISION_WEIGHT, COLLISION_CAP = 1e-3, 10.0
STEER_WEIGHT = 1.0

OFF_ROUTE_DISTANCE = 100.0
"""Distance that counts where there is no lane at all, metres."""

WRONG_ROADS = frozenset({7, 15, 22, 34})
"""Roads of Town04 that leave the route."""

STUCK_EVERY, STUCK_SPEED = 100, 0.02
"""A car slower than this (m/s) at a control step that is a multiple of that is stuck."""

GLITCH_STEPS, GLITCH_CLIMB, GLITCH_HEIGHT = 20, 1.0, 0.5
"""In the first steps, a vertical speed (m/s) or a height (m) above these means that the simulator threw the car up."""

End = Literal["off_map", "no_road_ahead", "left_route", "stuck", "glitch"]


@dataclass(frozen=True)
class Control:
    """What a vehicle is told: throttle and brake in [0, 1], steer in [-1, 1], right positive."""

    throttle: float
    steer: float
    brake: float


def vehicle_control(action: NDArray[np.floating[Any]]) -> Control:
    """Action (2,), steering and acceleration in [-1, 1], as a vehicle's control; negative acceleration brakes.

    The client of newer CARLA versions does not clip controls, so this does.
    """
    steer, acceleration = (min(max(float(part), -1.0), 1.0) for part in action)
    return Control(throttle=max(acceleration, 0.0), steer=steer, brake=max(-acceleration, 0.0))


@dataclass(frozen=True)
class RewardTerms:
    """What a step's reward is made of.

    Attributes:
        progress: metres driven along the lane in this step.
        centring: c of the reward, 0 within the lane's border.
        collision: cost of the step's collisions, in [0, 10].
        steering: cost of steering, in [0, 1].
    """

    progress: float
    centring: float
    collision: float
    steering: float

    @property
    def reward(self) -> float:
        """progress / (1 + centring) - collision - steering."""
        return self.progress / (1.0 + self.centring) - self.collision - self.steering


def reward_terms(lane_speed: float, distance: float, impulse: float, steer: float) -> RewardTerms:
    """The reward of a step, as the published runs had it.

    Args:
        lane_speed: velocity along the lane, m/s; negative backwards.
        distance: to the centre of the allowed lane, metres.
        impulse: sum of the sizes of the step's collision impulses, N s.
        steer: in [-1, 1].
    """
    return RewardTerms(
        progress=lane_speed * STEP_SECONDS,
        centring=CENTRING_WEIGHT * max(0.0, distance - LANE_BORDER),
        collision=min(COLLISION_WEIGHT * impulse, COLLISION_CAP),
        steering=STEER_WEIGHT * abs(steer),
    )


def end_of_drive(
    *, step: int, road: int | None, road_ahead: bool, speed: float, climb: float, height: float
) -> End | None:
    """Why the episode ends after a control step; None where it goes on. The time limit is not among the reasons.

    Args:
        step: control steps so far, this one included.
        road: id of the road that the car is on; None: no lane is found.
        road_ahead: whether the lane goes on.
        speed: m/s.
        climb: vertical speed, m/s.
        height: z of the car, metres.
    """
    if step <= GLITCH_STEPS and (climb > GLITCH_CLIMB or height > GLITCH_HEIGHT):
        return "glitch"
    if road is None:
        return "off_map"
    if road in WRONG_ROADS:
        return "left_route"
    if not road_ahead:
        return "no_road_ahead"
    if step % STUCK_EVERY == 0 and step >= STUCK_EVERY and speed < STUCK_SPEED:
        return "stuck"
    return None


def is_terminal(end: End | None) -> bool:
    """Whether an end is the task's own: all but a glitch of the simulator, which says nothing of the future."""
    return end is not None and end != "glitch"
