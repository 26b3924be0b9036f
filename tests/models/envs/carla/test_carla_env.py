"""The real client against a fake server: whole episodes, and everything that a server can do wrong.

The environment is played in its own process, as in a run: what a server sends can end the client's process.
"""

from __future__ import annotations

import os
import queue
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ipv_bench.errors import ConfigError, SimulationError, UnknownNameError
from models.envs import make_env
from models.envs.carla.server import listens
from models.envs.carla.simulation import Simulation
from models.envs.carla.suite import CarlaConfig
from models.envs.workers import WorkerEnvs

pytest.importorskip("carla", reason="the extra `carla` is not installed")
pytest.importorskip("msgpack", reason="msgpack is not installed")

from tests.fake_carla.roads import ROUTE, open_drive
from tests.fake_carla.running import call, command, fake_server, free_port

AHEAD, BRAKE, ASIDE = np.array([0.0, 1.0]), np.array([0.0, -1.0]), np.array([0.25, 3.0])


@contextmanager
def playing(port: int, task: str = "carla/clear_noon", **fields: Any) -> Iterator[WorkerEnvs]:
    config = CarlaConfig(**{"port": port, "timeout_seconds": 90, "sensor_seconds": 90, **fields})
    with WorkerEnvs(task, config, 1, 1, 400.0) as envs:
        yield envs


def play(envs: WorkerEnvs, seed: int, steps: int, action: np.ndarray = AHEAD) -> tuple[list[np.ndarray], list[Any]]:
    """Frames and step results of an episode, until it ends or the environment is lost."""
    first = envs.reset({0: seed})[0]
    frames, results = [] if first is None else [first["image"]], []
    while first is not None and len(results) < steps:
        result = envs.step({0: action})[0]
        results.append(result)
        if result is None or result[0]["is_last"]:
            break
        frames.append(result[0]["image"])
    return frames, results


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """A healthy server, and the log of its calls."""
    log = tmp_path_factory.mktemp("carla") / "calls.log"
    with fake_server("--log", str(log)) as port:
        yield port, log


def test_episodes_by_seed_with_traffic_and_collisions(server: tuple[int, Path]) -> None:
    port, log = server
    with playing(port, time_limit=150) as envs:
        fingerprint = envs.fingerprint()
        assert (fingerprint["carla"], fingerprint["map"], fingerprint["cars"]) == ("0.9.16", "Town04", 20)
        assert envs.time_limit == 150
        assert "port" not in fingerprint  # scores of two servers are comparable
        frames, results = play(envs, 3, 25)
        assert envs.renderers() == ["CARLA server 0.9.16, its card unknown"]
        again, _ = play(envs, 3, 25)
        other, _ = play(envs, 4, 25)
        for ours, theirs in zip(frames[:21], again[:21], strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert any((ours != theirs).any() for ours, theirs in zip(frames, other, strict=True))
        assert frames[0].shape == (64, 64, 3)
        assert (frames[5] != frames[25]).any()  # the camera moves along
        sums = results[-1][4]
        assert sums["progress_m"] > 3
        assert (sums["collision"], sums["steering"], sums["centring"]) == (0.0, 0.0, 0.0)
        assert sum(result[1] for result in results) == pytest.approx(sums["progress_m"])
        # Into the rail: actions beyond the bounds are clipped before they reach the server.
        _, results = play(envs, 3, 150, ASIDE)
        assert results[-1][4]["collision"] > 0.5
        assert results[-1][4]["centring"] > 0
        assert (results[-1][2], results[-1][3]) == (False, True)  # truncated by the time limit
        assert len(results) == 150
    calls = log.read_text().splitlines()
    assert sum(line.startswith("spawn_actor ") for line in calls) >= 1 + 4 * 20  # the ego car, and traffic each time
    controls = [line for line in calls if line.startswith("apply_control_to_vehicle") and ", [1.0, 0.25, 0.0," in line]
    assert controls  # one: the client sends a control when it changes
    assert not any("[3.0," in line for line in calls)
    assert calls.count(
        "set_episode_settings [[True, False, [True, 0.05], True, 0.01, 10, 0.0, True, 3000.0, 2000.0, True]]"
    )


def test_a_car_that_stands_still_is_stuck_and_the_dynamic_weather_changes(server: tuple[int, Path]) -> None:
    port, log = server
    before = log.stat().st_size
    with playing(port, "carla/dynamic_weather") as envs:
        frames, results = play(envs, 1, 150, BRAKE)
        assert envs.episode_metadata(0)["weather"]["fog_density"] == 0.0
        last = results[-1]
        assert (len(results), last[2], last[3], last[4]["end"]) == (100, True, False, "stuck")
        assert last[0]["is_terminal"]
        assert (frames[0] != frames[-1]).any()  # sun and traffic
    with log.open() as file:
        file.seek(before)
        weathers = [line for line in file if line.startswith("set_weather_parameters")]
    assert len(set(weathers)) == 101  # the first, and one for each step


def test_what_a_killed_run_left_behind_is_removed(server: tuple[int, Path]) -> None:
    port, log = server
    with playing(port, "carla/wet_sunset") as envs:
        envs.reset({0: 1})
        (process,) = envs.process_ids()
        os.kill(process, signal.SIGKILL)
        assert envs.step({0: AHEAD})[0] is None
        before = log.stat().st_size
        assert envs.reset({0: 1})[0] is not None
        assert [episode.reason for episode in envs.lost] == ["died"]
        with log.open() as file:
            file.seek(before)
            calls = [line.split()[0] for line in file]
        assert calls[: calls.index("spawn_actor")].count("destroy_actor") == 23  # 21 cars, 2 sensors
        # Another run on this machine, and somebody else who ticks.
        with playing(port) as others, pytest.raises(ConfigError, match="another run on this machine uses"):
            others.fingerprint()
        call(port, "tick_cue")
        assert envs.step({0: AHEAD})[0] is None
        assert "another client moves it too" in envs.lost[-1].message


FAULTS = {
    "die@tick_cue:9": "ended with 9",
    "die@spawn_actor:5": "ended with 9",
    "hang@tick_cue:9": "time-out",
    "hang@spawn_actor:5": "time-out",
    "garbage@tick_cue:9": "signal 6",
    "garbage-stream@tick_cue:9": "signal",
    "blind@tick_cue:9": "the camera sent no picture of frame",
}


SLOW_FAULTS = ("die@spawn_actor:5", "hang@spawn_actor:5", "garbage-stream@tick_cue:9")
"""Proofs of the same as their neighbours, at another moment."""


@pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW_FAULTS)) for name in FAULTS]
)
def test_a_server_that_fails_costs_its_episode_and_is_started_again(fault: str, tmp_path: Path) -> None:
    port = free_port()
    starts = command("--fault", fault, "--once", str(tmp_path / "happened"))
    # As short as a busy machine allows: a server that hangs is waited for in full.
    with playing(port, server_command=starts, timeout_seconds=5, sensor_seconds=5) as envs:
        frames, results = play(envs, 1, 20)
        assert len(results) < 20
        assert [result for result in results if result is None] == [None] * bool(frames)
        assert len(envs.lost) == 1
        assert FAULTS[fault] in envs.lost[0].message
        _, results = play(envs, 2, 20)
        assert len(results) == 20
        assert None not in results
        assert len(envs.lost) == 1
    assert not listens("127.0.0.1", port)  # the server ended with the environment


def test_a_slow_server_is_waited_for() -> None:
    with fake_server("--fault", "slow@tick_cue:1") as port, playing(port) as envs:
        _, results = play(envs, 1, 3)
        assert None not in results
        assert envs.lost == []


def test_streams_that_come_late_are_waited_for() -> None:
    """The client subscribes in the background: on a busy machine a state or a picture is sent before it listens."""
    with fake_server("--stream-delay", "0.4") as port, playing(port) as envs:
        _, results = play(envs, 1, 3)
        assert None not in results
        os.kill(envs.process_ids()[0], signal.SIGKILL)
        assert envs.step({0: AHEAD})[0] is None
        _, results = play(envs, 2, 3)  # its server was left waiting for ticks
        assert len(results) == 3
        assert None not in results
        assert [episode.reason for episode in envs.lost] == ["died"]


def test_a_server_that_keeps_failing_stops_the_run() -> None:
    with fake_server("--fault", "refuse@spawn_actor_with_parent:1") as port, playing(port) as envs:
        envs.reset({0: 1})
        envs.reset({0: 1})
        with pytest.raises(SimulationError, match="was lost 3 times in a row") as caught:
            envs.reset({0: 1})
        assert "spawn_actor_with_parent was refused" in str(caught.value)


def test_servers_that_cannot_be_used_are_refused_at_once(tmp_path: Path) -> None:
    with playing(free_port()) as envs, pytest.raises(ConfigError, match="no CARLA server listens"):
        envs.fingerprint()
    with fake_server("--version", "0.9.13") as port, playing(port) as envs:
        with pytest.raises(ConfigError, match="has version 0.9.13, the client 0.9.16"):
            envs.fingerprint()
    elsewhere = tmp_path / "elsewhere.xodr"
    elsewhere.write_text(open_drive(ROUTE[1:]))  # a map whose numbers are others: no road 45
    with fake_server("--map-text", str(elsewhere)) as port:
        with playing(port) as envs, pytest.raises(ConfigError, match="has no four lanes on road 45 at 100 m"):
            envs.fingerprint()
        with playing(port, map_file=str(tmp_path / "none.xodr")) as envs:
            with pytest.raises(ConfigError, match="map_file .*none.xodr cannot be read.*\n.*OpenDRIVE.*\n.*correct"):
                envs.fingerprint()
        other = tmp_path / "other.xodr"
        other.write_text("no XML")
        with playing(port, map_file=str(other)) as envs:
            with pytest.raises(ConfigError, match="map_file .*other.xodr: .*\n.*OpenDRIVE.*\n.*export the map again"):
                envs.fingerprint()
        own = tmp_path / "own.xodr"
        own.write_text(open_drive())
        with playing(port, map_file=str(own)) as envs:
            assert len(envs.fingerprint()["map_file"]) == 64


def test_a_camera_that_is_ahead_of_the_tick_tells_of_another_client() -> None:
    world: Any = SimpleNamespace(_config=SimpleNamespace(sensor_seconds=1), _pictures=queue.SimpleQueue(), _frame=7)
    for frame in (6, 8):  # the older one is passed over
        world._pictures.put(SimpleNamespace(frame=frame))
    with pytest.raises(SimulationError, match="sent frame 8 at frame 7\n.*ticks for this.*\n.*each its own port"):
        Simulation._receive_picture(world)


def test_another_map_is_loaded_or_missed() -> None:
    with fake_server("--maps", "Carla/Maps/Town10HD,Carla/Maps/Town04") as port, playing(port) as envs:
        assert envs.fingerprint()["map"] == "Town04"
    with fake_server("--maps", "Carla/Maps/Town10HD") as port, playing(port) as envs:
        with pytest.raises(ConfigError, match="has no map Town04; it has Town10HD"):
            envs.fingerprint()


def test_an_unknown_camera_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown camera of carla 'frnt_left'") as caught:
        make_env("carla/clear_noon", CarlaConfig(camera="frnt_left", port=free_port()))
    assert "'front_left'" in caught.value.fix


def test_no_port_beyond_the_last() -> None:
    assert CarlaConfig(port=2000).at(3).port == 2030
    with pytest.raises(ConfigError, match="environment 9 would have the port 59590"):
        CarlaConfig(port=59_500).at(9)


@pytest.mark.skipif("IPV_BENCH_CARLA" not in os.environ, reason="IPV_BENCH_CARLA=host:port names no CARLA server")
@pytest.mark.parametrize("task", ["carla/clear_noon", "carla/wet_sunset", "carla/dynamic_weather"])
def test_a_real_server_needs_server(task: str) -> None:
    host, _, port = os.environ["IPV_BENCH_CARLA"].partition(":")
    map_file = os.environ.get("IPV_BENCH_CARLA_MAP")
    with playing(int(port), task, host=host, map_file=map_file) as envs:
        frames, results = play(envs, 1, 60)
        assert None not in results
        assert len(frames) > 20
        assert (frames[0] != frames[-1]).any()
        assert results[-1][4]["progress_m"] > 0
