"""The task's rules on numbers: actions, reward, ends, weather, places; no simulator and no carla package."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.envs.carla.lanes import allowed_lane
from models.envs.carla.rules import Control, end_of_drive, is_terminal, reward_terms, vehicle_control
from models.envs.carla.traffic import STRETCHES, draw_car, draw_ego
from models.envs.carla.weather import STORM_HIGH, STORM_LOW, DynamicWeather


@pytest.mark.parametrize(
    ("action", "control"),
    [
        ((0.25, 0.5), Control(throttle=0.5, steer=0.25, brake=0.0)),
        ((-1.0, -0.75), Control(throttle=0.0, steer=-1.0, brake=0.75)),
        ((0.0, 0.0), Control(throttle=0.0, steer=0.0, brake=0.0)),
        ((7.0, -3.0), Control(throttle=0.0, steer=1.0, brake=1.0)),
    ],
)
def test_an_action_steers_and_either_drives_or_brakes(action: tuple[float, float], control: Control) -> None:
    assert vehicle_control(np.array(action)) == control


@pytest.mark.parametrize(
    ("lane_speed", "distance", "impulse", "steer", "reward"),
    [
        (20.0, 0.0, 0.0, 0.0, 1.0),  # 20 m/s for 0.05 s
        (20.0, 1.75, 0.0, 0.0, 1.0),  # the lane's border costs nothing yet
        (20.0, 2.75, 0.0, 0.0, 1.0 / 2.5),
        (20.0, 0.0, 2000.0, 0.0, -1.0),
        (20.0, 0.0, 1e9, 0.0, -9.0),  # a collision costs 10 at most
        (20.0, 0.0, 0.0, -0.5, 0.5),
        (-20.0, 2.75, 500.0, 1.0, -0.4 - 0.5 - 1.0),
    ],
)
def test_reward(lane_speed: float, distance: float, impulse: float, steer: float, reward: float) -> None:
    assert reward_terms(lane_speed, distance, impulse, steer).reward == pytest.approx(reward)


DRIVING = {"step": 250, "road": 45, "road_ahead": True, "speed": 10.0, "climb": 0.0, "height": 0.1}


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({}, None),
        ({"road": None, "road_ahead": False}, "off_map"),
        ({"road_ahead": False}, "no_road_ahead"),
        ({"road": 22}, "left_route"),
        ({"step": 200, "speed": 0.01}, "stuck"),
        ({"step": 200, "speed": 0.02}, None),
        ({"step": 150, "speed": 0.0}, None),  # looked at every 100 steps only
        ({"step": 20, "climb": 1.1}, "glitch"),
        ({"step": 5, "height": 0.6}, "glitch"),
        ({"step": 21, "climb": 5.0, "height": 4.0}, None),  # a hill
    ],
)
def test_ends(changes: dict, end: str | None) -> None:
    found = end_of_drive(**(DRIVING | changes))
    assert found == end
    assert is_terminal(found) == (end not in (None, "glitch"))


@pytest.mark.parametrize(
    ("road", "lane", "allowed"),
    [
        (45, -2, (45, -2)), (45, 1, (45, -1)), (50, -5, (50, -4)), (51, -5, (51, -5)),
        (660, -1, (659, 1)), (559, -1, (558, 1)), (718, -1, (717, 1)), (659, 3, (659, 3)),
        (103, -4, (103, -3)), (103, -3, (103, -3)), (93, -1, (103, -3)), (94, 2, (103, -3)),
        (102, 1, (103, -1)), (886, 1, (887, -1)),
    ],
)  # fmt: skip
def test_shoulders_are_mapped_inwards(road: int, lane: int, allowed: tuple[int, int]) -> None:
    assert allowed_lane(road, lane) == allowed
    published = (road, lane) if road in (102, 886) else allowed  # the released comparison there is never true
    assert allowed_lane(road, lane, "published") == published


def test_the_dynamic_weather_has_a_law() -> None:
    state = DynamicWeather(azimuth=359.99, altitude=10.0, phase=0.0, storm=99.9)
    after = state.after_step()
    assert after.azimuth == pytest.approx(0.015)
    assert after.phase == pytest.approx(0.0008)
    assert after.altitude == pytest.approx(22.5 + 22.5 * math.cos(0.0008))
    assert (after.storm, after.rising) == (STORM_HIGH, False)
    shown = after.parameters()
    assert (shown["cloudiness"], shown["precipitation"], shown["wetness"]) == (60.0, 80.0, 100.0)
    assert (shown["precipitation_deposits"], shown["wind_intensity"], shown["fog_density"]) == (85.0, 40.0, 0.0)
    dry = DynamicWeather(0.0, 0.0, 0.0, storm=-60.0).parameters()
    assert (dry["cloudiness"], dry["precipitation"], dry["precipitation_deposits"], dry["wetness"]) == (0, 0, 0, 0)
    assert dry["wind_intensity"] == 5.0
    drying = DynamicWeather(0.0, 0.0, 0.0, storm=-60.0, rising=False).parameters()
    assert drying["precipitation_deposits"] == 30.0  # puddles outlast the rain


def test_the_weather_goes_through_storms_and_back() -> None:
    state, storms, turns = DynamicWeather.drawn(np.random.default_rng(0)), [], 0
    for _ in range(8000):
        before, state = state, state.after_step()
        turns += before.rising != state.rising
        storms.append(state.storm)
        assert 0 <= state.azimuth < 360
        assert 0 <= state.altitude <= 45
        assert all(0 <= state.parameters()[name] <= 100 for name in ("cloudiness", "precipitation", "wetness"))
    assert (min(storms), max(storms)) == (STORM_LOW, STORM_HIGH)
    assert turns == 3


def test_episodes_begin_with_weathers_and_places_of_their_own() -> None:
    weathers = [DynamicWeather.drawn(np.random.default_rng(seed)) for seed in range(200)]
    assert DynamicWeather.drawn(np.random.default_rng(7)) == weathers[7]
    storms = [weather.storm for weather in weathers]
    assert min(storms) == -50.0  # drawn dry: set where the next storm is not far
    assert 0.6 < sum(storm == -50.0 for storm in storms) / 200 < 0.85  # 250 of 350
    assert max(storms) > 80
    generator = np.random.default_rng(0)
    assert {draw_ego(generator).lane for _ in range(100)} == {-1, -2, -3, -4}
    places = [draw_car(generator) for _ in range(5000)]
    for stretch in STRETCHES:
        there = [place for place in places if place.road == stretch.road]
        assert len(there) / 5000 == pytest.approx(stretch.length / 899, abs=0.02)
        assert all(stretch.begin <= place.along <= stretch.end for place in there)
        assert {place.lane for place in there} == {stretch.side * lane for lane in range(1, 5)}
