"""Distances and speeds on lanes, by the carla package's own map of our own OpenDRIVE text; no server."""

from __future__ import annotations

import json
import math

import pytest

from ipv_bench.cli import run
from models.envs.carla.lanes import place_on_lane, start_transform
from tests.fake_carla.roads import open_drive

carla = pytest.importorskip("carla", reason="the extra `carla` is not installed")


@pytest.fixture(scope="module")
def road_map():
    return carla.Map("Carla/Maps/Town04", open_drive())


def place(road_map, x: float, y: float, vx: float = 10.0, vy: float = 0.0):
    return place_on_lane(road_map, carla.Location(x=x, y=y, z=0.0), carla.Vector3D(vx, vy, 0.0))


def test_distance_and_speed_on_a_straight_road(road_map) -> None:
    centre = place(road_map, 100, 5.25)  # lane -2 of road 45
    assert (centre.road, centre.road_ahead) == (45, True)
    assert centre.distance == pytest.approx(0, abs=1e-4)
    assert centre.speed == pytest.approx(10, rel=1e-4)
    assert place(road_map, 100, 6.75).distance == pytest.approx(1.5, abs=1e-4)
    turned = place(road_map, 100, 5.25, 10 * math.cos(0.5), 10 * math.sin(0.5))
    assert turned.speed == pytest.approx(10 * math.cos(0.5), rel=1e-3)
    assert place(road_map, 100, 5.25, -3.0).speed == pytest.approx(-3, rel=1e-4)


def test_a_road_whose_reference_line_runs_against_the_traffic(road_map) -> None:
    there = place(road_map, 840, 8.75)  # lane 3 of road 659
    assert (there.road, there.distance) == (659, pytest.approx(0, abs=1e-3))
    assert there.speed == pytest.approx(10, rel=1e-3)


def test_shoulders_belong_to_the_lane_beside_them(road_map) -> None:
    assert place(road_map, 100, 15.5).distance == pytest.approx(15.5 - 12.25, abs=1e-3)
    assert place(road_map, 100, -1.5).distance == pytest.approx(1.75 + 1.5, abs=1e-3)


def test_the_branch_lane_counts_as_the_one_inside(road_map) -> None:
    assert place(road_map, 610, 12.25).distance == pytest.approx(3.5, abs=1e-3)  # road 103, lane -4
    assert place(road_map, 610, 8.75).distance == pytest.approx(0, abs=1e-3)


def test_where_the_road_ends(road_map) -> None:
    last = place(road_map, 1285.97, 1.75)
    assert (last.road, last.road_ahead, last.speed) == (50, False, 0.0)


def test_places_are_found_at_rounded_ends_and_not_beyond(road_map) -> None:
    assert start_transform(road_map, 103, -1, 51.01, 0.1).location.z == pytest.approx(0.1)
    assert start_transform(road_map, 103, -1, 60.0) is None
    assert start_transform(road_map, 1, -1, 0.0) is None
    assert start_transform(road_map, 659, -1, 5.0) is not None  # the shoulder
    assert start_transform(road_map, 659, -2, 5.0) is None


def test_table_2_of_the_paper(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["finetune", "--preset", "paper", "--task", "carla/wet_sunset", "--init", "none", "--dry-run"]
    assert run(arguments) == 0
    plan = json.loads(capsys.readouterr().out)
    config = plan["config"]
    assert plan["run"] == "runs/carla/wet_sunset/contextwm@init=none/seed0"
    assert (config["replay"]["batch_size"], config["replay"]["length"]) == (16, 50)
    assert (config["training"]["prefill"], config["training"]["train_every"]) == (1000, 5)
    assert (config["evaluation"]["episodes"], config["intrinsic"]["beta"]) == (5, 0.1)
    assert (config["env"]["action_repeat"], config["env"]["camera"]) == (1, None)
    assert config["context"]["augmentation"] == "none"
    assert set(plan["not_as_released"]) == {"training.precision"}
    # Where servers run neither names a run nor keeps it from going on.
    assert run([*arguments, "--set", "env.port=2400", "--set", "env.server_command=carla -carla-rpc-port={port}"]) == 0
    assert json.loads(capsys.readouterr().out)["run"] == plan["run"]
    assert run([*arguments, "--set", "env.server_command=./CarlaUE4.sh"]) == 2
    assert "env.server_command has no {port}" in capsys.readouterr().err
    assert run([*arguments, "--set", "env.lane_rules=new"]) == 2
