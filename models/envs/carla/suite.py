"""The environment: `carla/clear_noon`, `carla/wet_sunset`, `carla/dynamic_weather`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from ipv_bench.config_faults import RefusedValueError
from ipv_bench.errors import ConfigError, SimulationError, UnknownNameError
from ipv_bench.seeding import numpy_generator
from models.envs.base import ControlStep, Env, EnvConfig
from models.envs.carla.lanes import LaneRules
from models.envs.carla.rules import TIME_LIMIT, end_of_drive, is_terminal, reward_terms, vehicle_control
from models.envs.carla.server import PORT_STEP, ServerProcess, check_command
from models.envs.carla.simulation import TRAFFIC_MANAGER_OFFSET, Simulation, SimulationConfig
from models.envs.carla.traffic import NUM_CARS, draw_ego
from models.envs.carla.weather import DYNAMIC, FIXED, DynamicWeather
from models.envs.registry import Suite

PACKAGE = "carla==0.9.16"
TASKS = (*FIXED, DYNAMIC)

CAMERAS = {"front": 0.0, "front_left": -60.0, "front_right": 60.0, "rear_left": -120.0, "rear_right": 120.0}
"""Name → degrees to the right: the five of Zhang et al., of which the paper has the one in front."""

DEFAULT_CAMERA = "front"
LAST_PORT = 65_535 - TRAFFIC_MANAGER_OFFSET


class CarlaConfig(EnvConfig):
    """What this suite has beside what all suites have."""

    own_process: ClassVar[bool] = True
    inexact: ClassVar[str] = (
        "CARLA does not repeat itself: equal seeds draw equal starts, and physics and traffic then differ a little"
    )
    resource_fields: ClassVar[tuple[str, ...]] = (
        "host", "port", "server_command", "timeout_seconds", "start_seconds", "sensor_seconds",
    )  # fmt: skip

    unsaved_fields: ClassVar[tuple[str, ...]] = ("host", "server_command")

    host: str = "127.0.0.1"
    """Machine of the servers."""
    port: int = Field(2000, ge=1, le=LAST_PORT)
    """Of the first training environment's server; each further one, and then those of the evaluation, are 10 higher.
    The traffic manager takes the port 6001 above each."""
    server_command: str | None = None
    """Starts a server, `{port}` standing for its port; it is started again when it dies or hangs, and ends with the
    run. Null: somebody else starts them."""
    map_file: str | None = None
    """OpenDRIVE file whose lanes the rules use (the published runs: 0.9.8's Town04.xodr); null: the server's map."""
    lane_rules: LaneRules = "fixed"
    """Which lane is allowed: `published` leaves out two roads that the released code meant to map and does not."""
    timeout_seconds: float = Field(30.0, gt=0)
    """For one call to the server, a tick among them."""
    start_seconds: float = Field(120.0, gt=0)
    """For a server that is started until it listens, and for loading the map."""
    sensor_seconds: float = Field(2.0, gt=0)
    """For the camera's picture after its tick."""

    @field_validator("server_command")
    @classmethod
    def _any_port(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                check_command(value)
            except ConfigError as error:
                raise RefusedValueError(error.found, expected=error.expected, fix=error.fix) from error
        return value

    def at(self, place: int) -> Self:
        """With the port of environment number `place`.

        Raises:
            ConfigError: there is no such port.
        """
        port = self.port + PORT_STEP * place
        if port > LAST_PORT:
            raise ConfigError(
                f"environment {place} would have the port {port}",
                expected=f"ports up to {LAST_PORT}: {PORT_STEP} for each environment, and one {TRAFFIC_MANAGER_OFFSET} "
                "above for its traffic manager",
                fix="choose a smaller env.port",
            )
        return self.model_copy(update={"port": port})


class CarlaEnv(Env):
    """A motorway with 20 other cars: drive far, keep the lane, do not collide.

    Nothing is connected before the first `fingerprint` or `reset`. After any fault the environment is of no use: its
    host throws it away, and the next one connects anew, to a server that is started anew where that is allowed.

    Args:
        name: a task.
        config: how it is run and seen.

    Raises:
        UnknownNameError: no such camera.
        ConfigError: another run on this machine has the server.
    """

    def __init__(self, name: str, config: CarlaConfig) -> None:
        import carla  # noqa: F401  (found missing here rather than in the first episode)

        super().__init__(f"carla/{name}", config, np.full(2, -1.0), np.full(2, 1.0), TIME_LIMIT)
        self._name, self._settings = name, config
        self._camera = _camera(config.camera)
        self._server = ServerProcess(config.host, config.port, config.server_command, config.start_seconds)
        self._simulation: Simulation | None = None
        self._healthy = True
        self._weather: DynamicWeather | None = None
        self._drawn: dict[str, Any] = {}
        self._totals: dict[str, float] = {}
        self._steps = 0

    def fingerprint(self) -> dict[str, Any]:
        """Versions, map, camera, image and protocol; connects to the server.

        Raises:
            ConfigError: no server, a server of another version, or one without the route.
        """
        try:
            simulation = self._connected()
        except SimulationError as error:  # before the first episode there is nothing to play again
            raise ConfigError(error.found, expected=error.expected, fix=error.fix) from error
        config = self._settings
        return {
            "suite": "carla",
            "carla": simulation.version,
            "map": simulation.map_name,
            "map_file": simulation.map_file_sha256,
            "lane_rules": config.lane_rules,
            "cars": NUM_CARS,
            "camera": self._camera,
            "flip": bool(config.flip),
            "render_profile": config.render_profile,
            "image_size": config.image_size,
            "action_repeat": config.action_repeat,
            "time_limit": config.time_limit,
        }

    def episode_metadata(self) -> dict[str, Any]:
        """Lane and weather that the current episode began with."""
        return dict(self._drawn)

    def renderer(self) -> str:
        """See `Env.renderer`; the client is not told on which graphics card its server draws."""
        return "" if self._simulation is None else f"CARLA server {self._simulation.version}, its card unknown"

    def simulate(self, action: NDArray[np.floating[Any]]) -> tuple[float, bool, bool, dict[str, Any]]:
        """See `Env.simulate`; `info` also has the episode's sums of the reward's terms, and why it ended."""
        reward, terminated, truncated, info = super().simulate(action)
        return reward, terminated, truncated, {**info, **self._totals, "end": self._drawn.get("end")}

    def close(self) -> None:
        """Leave the server, and end it where it was started for this environment."""
        if self._simulation is not None:
            self._simulation.close(healthy=self._healthy)
            self._simulation = None
        self._server.close()

    def _connected(self) -> Simulation:
        if self._simulation is None:
            with self._watched():
                self._server.make_ready()
                self._simulation = Simulation(_simulation_config(self._settings, self._camera))
        return self._simulation

    def _start_episode(self, seed: int) -> None:
        simulation = self._connected()
        generator = numpy_generator(seed, 0, "carla episode")
        place = draw_ego(generator)
        self._weather = DynamicWeather.drawn(generator) if self._name == DYNAMIC else None
        with self._watched():
            simulation.start(place, self._shown_weather(), generator)
        self._drawn = {"lane": place.lane, "weather": self._shown_weather()}
        self._totals = dict.fromkeys(("progress_m", "collision", "steering", "centring"), 0.0)
        self._steps = 0

    def _control_step(self, action: NDArray[np.float64]) -> ControlStep:
        assert self._simulation is not None
        simulation, control = self._simulation, vehicle_control(action)
        self._steps += 1
        with self._watched():
            if self._weather is not None:
                self._weather = self._weather.after_step()
                simulation.set_weather(self._weather.parameters())
            simulation.drive(control)
            place, (speed, climb, height) = simulation.place(), simulation.motion()
            impulse = simulation.take_impulse()
        terms = reward_terms(place.speed, place.distance, impulse, control.steer)
        for name, value in zip(
            self._totals, (terms.progress, terms.collision, terms.steering, terms.centring), strict=True
        ):
            self._totals[name] += value
        end = end_of_drive(
            step=self._steps, road=place.road, road_ahead=place.road_ahead, speed=speed, climb=climb, height=height
        )
        if end is not None:
            self._drawn["end"] = end
        return ControlStep(terms.reward, terminated=is_terminal(end), truncated=end is not None)

    def _image(self) -> NDArray[np.uint8]:
        assert self._simulation is not None
        image = self._simulation.picture()
        return image[::-1].copy() if self._settings.flip else image

    def _shown_weather(self) -> Mapping[str, float] | str:
        return FIXED[self._name] if self._weather is None else self._weather.parameters()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Remember that something went wrong in the simulation: nothing can be asked of it any more.

        Raises:
            SimulationError: the server does not answer, or refuses a call.
        """
        try:
            yield
        except RuntimeError as error:  # what the client raises of its own
            self._healthy = False
            raise SimulationError(
                f"the CARLA server at {self._server.address}{self._server.state()}: {error}",
                expected="an answer",
                fix="look at the server's own log; a slow one needs a larger env.timeout_seconds"
                if self._settings.server_command
                else "see whether it runs, and start it again; or let the run do that: env.server_command",
            ) from error
        except BaseException:
            self._healthy = False
            raise


def _camera(chosen: str | int | None) -> str:
    name = DEFAULT_CAMERA if chosen is None else str(chosen)
    if name not in CAMERAS:
        raise UnknownNameError("camera of carla", name, CAMERAS)
    return name


def _simulation_config(config: CarlaConfig, camera: str) -> SimulationConfig:
    return SimulationConfig(
        host=config.host,
        port=config.port,
        image_size=config.image_size,
        camera_yaw=CAMERAS[camera],
        effects=config.render_profile != "fast",
        lane_rules=config.lane_rules,
        map_file=config.map_file,
        timeout_seconds=config.timeout_seconds,
        start_seconds=config.start_seconds,
        sensor_seconds=config.sensor_seconds,
    )


def make(name: str, config: CarlaConfig) -> CarlaEnv:
    """Build `carla/<name>`."""
    return CarlaEnv(name, config)


SUITE = Suite("carla", TASKS, make, PACKAGE, CarlaConfig, extra="carla", time_limit=lambda _: TIME_LIMIT)
