"""One CARLA world under our control: the ego car with its camera and collision sensor, traffic, weather, ticks.

Everything that the `carla` package raises leaves as it is; `models.envs.base` makes it an error of the environment.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import queue
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipv_bench.errors import ConfigError, SimulationError
from models.envs.carla.lanes import LanePlace, LaneRules, place_on_lane, start_transform
from models.envs.carla.rules import STEP_SECONDS, Control
from models.envs.carla.traffic import EGO_ALONG, EGO_ROAD, LANES, NUM_CARS, Place, draw_car

MAP = "Town04"
EGO_MODEL = "vehicle.audi.a2"
TRAFFIC_MANAGER_OFFSET = 6001
SPEED_BELOW_LIMIT_PERCENT = 30.0
FOLLOWING_METRES = 2.0
CAMERA_FORWARD, CAMERA_UP, CAMERA_FOV = 1.6, 1.7, 60.0
SPAWN_TRIES = 10
BETWEEN_TICKS_SECONDS = 0.1
CAR_ABOVE_ROAD = 0.1


@dataclass(frozen=True)
class SimulationConfig:
    """What a simulation needs to know.

    Attributes:
        host: of the server.
        port: of the server's calls.
        image_size: pixels.
        camera_yaw: degrees to the right.
        effects: whether the camera's image is post-processed.
        lane_rules: see `models.envs.carla.lanes.allowed_lane`.
        map_file: OpenDRIVE file whose lanes the rules use; None: the server's own map.
        timeout_seconds: for a call.
        start_seconds: for loading the map.
        sensor_seconds: for a picture after its tick.
    """

    host: str
    port: int
    image_size: int
    camera_yaw: float
    effects: bool
    lane_rules: LaneRules
    map_file: str | None
    timeout_seconds: float
    start_seconds: float
    sensor_seconds: float


class Simulation:
    """A connected world, cleared of what earlier runs left in it, in synchronous mode.

    Raises:
        ConfigError: server and client differ in version, or the map lacks the route.
    """

    def __init__(self, config: SimulationConfig) -> None:
        import carla

        self._carla, self._config = carla, config
        self._client = carla.Client(config.host, config.port)
        self._client.set_timeout(config.timeout_seconds)
        self.version = self._checked_version()
        self._world = self._own_world()
        self.map_name = self._world.get_map().name.rpartition("/")[2]
        self.map_file_sha256: str | None = None
        self._map = self._world.get_map() if config.map_file is None else self._map_from(config.map_file)
        self._check_route()
        self._blueprints = self._world.get_blueprint_library()
        self._take_control(True)
        self._world.tick(config.timeout_seconds)
        self._clear()
        self._traffic_manager = self._client.get_trafficmanager(config.port + TRAFFIC_MANAGER_OFFSET)
        self._traffic_manager.set_synchronous_mode(True)
        self._traffic_manager.global_percentage_speed_difference(SPEED_BELOW_LIMIT_PERCENT)
        self._traffic_manager.set_global_distance_to_leading_vehicle(FOLLOWING_METRES)
        self._cars: list[Any] = []
        self._sensors: list[Any] = []
        self._ego: Any = None
        self._pictures: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._impulses: queue.SimpleQueue[float] = queue.SimpleQueue()
        self._picture: Any = None
        self._frame = 0

    def start(self, place: Place, weather: Mapping[str, float] | str, generator: np.random.Generator) -> None:
        """Begin an episode: ego car at a place and at rest, other traffic drawn anew, one tick without control.

        Args:
            place: of the ego car.
            weather: fields of `carla.WeatherParameters`, or the name of one of its presets.
            generator: draws places, models and colours of the traffic.
        """
        self._remove_cars()
        self.set_weather(weather)
        self._traffic_manager.set_random_device_seed(int(generator.integers(2**31)))
        self._place_ego(place)
        for _ in range(NUM_CARS):
            self._add_car(generator)
        self._frame = self._world.tick(self._config.timeout_seconds)
        self._receive_picture()
        self.take_impulse()

    def set_weather(self, weather: Mapping[str, float] | str) -> None:
        """Change the weather; it is seen from the next tick on."""
        parameters = self._carla.WeatherParameters
        chosen = getattr(parameters, weather) if isinstance(weather, str) else parameters(**weather)
        self._world.set_weather(chosen)

    def drive(self, control: Control) -> None:
        """Take one control step.

        Raises:
            SimulationError: another client ticks this world too, or no picture came.
        """
        told = self._carla.VehicleControl(throttle=control.throttle, steer=control.steer, brake=control.brake)
        self._ego.apply_control(told)
        before, self._frame = self._frame, self._world.tick(self._config.timeout_seconds)
        if self._frame != before + 1:
            raise SimulationError(
                f"the server at {self._config.host}:{self._config.port} went from frame {before} to {self._frame} "
                "in one tick: another client moves it too",
                expected="a server for each environment",
                fix="look for another run or script on this port",
            )
        self._receive_picture()

    def picture(self) -> NDArray[np.uint8]:
        """What the camera saw at the last tick, (size, size, 3) RGB, rows top first."""
        raw = np.frombuffer(self._picture.raw_data, np.uint8)
        pixels = raw.reshape(self._picture.height, self._picture.width, 4)  # BGRA
        return np.ascontiguousarray(pixels[..., 2::-1])

    def place(self) -> LanePlace:
        """Where the ego car is on its lane."""
        return place_on_lane(self._map, self._ego.get_location(), self._ego.get_velocity(), self._config.lane_rules)

    def motion(self) -> tuple[float, float, float]:
        """Speed and vertical speed of the ego car (m/s), and its height (m)."""
        velocity = self._ego.get_velocity()
        speed = math.sqrt(velocity.x**2 + velocity.y**2 + velocity.z**2)
        return speed, float(velocity.z), float(self._ego.get_location().z)

    def take_impulse(self) -> float:
        """Sum of the sizes of the collision impulses since it was last asked for, N s."""
        total = 0.0
        while not self._impulses.empty():
            total += self._impulses.get()
        return total

    def close(self, *, healthy: bool) -> None:
        """Leave the world; of a healthy one also remove what is ours in it, and let it run freely again.

        Calls to a server that does not answer would each wait for their time-out.
        """
        if not healthy:
            return
        with contextlib.suppress(RuntimeError):  # it may die just now
            for sensor in self._sensors:
                sensor.stop()
            self._traffic_manager.shut_down()
            self._clear()
            self._take_control(False)

    # Connection

    def _checked_version(self) -> str:
        """Versions must be equal: the client only warns, and then reads other layouts than the server sends."""
        theirs, ours = self._client.get_server_version(), self._client.get_client_version()
        if theirs != ours:
            raise ConfigError(
                f"the CARLA server at {self._config.host}:{self._config.port} has version {theirs}, the client {ours}",
                expected="the same version: others differ in what they send, and that ends the process",
                fix=f"run a server of {ours}, or install the client of the server (pip install carla=={theirs})",
            )
        return str(theirs)

    def _own_world(self) -> Any:
        """The world with the task's map, loaded where another one is shown."""
        world = self._heard_world()
        if world.get_map().name.rpartition("/")[2] == MAP:
            return world
        maps = sorted(str(name) for name in self._client.get_available_maps())
        if MAP not in {name.rpartition("/")[2] for name in maps}:
            raise ConfigError(
                f"the CARLA server at {self._config.host}:{self._config.port} has no map {MAP}; "
                f"it has {', '.join(name.rpartition('/')[2] for name in maps) or 'none'}",
                expected=f"the map {MAP}, which is part of CARLA's main package",
                fix="install the whole of CARLA's release",
            )
        self._client.set_timeout(max(self._config.start_seconds, self._config.timeout_seconds))
        world = self._client.load_world(MAP)
        self._client.set_timeout(self._config.timeout_seconds)
        return world

    def _heard_world(self) -> Any:
        """The world, once its states arrive: the client subscribes to them in the background.

        A server that a killed run left waiting for ticks sends none until somebody ticks, and a tick whose state is
        sent before the subscription is there would be waited for in vain. So it runs freely until a state has come.
        """
        world = self._client.get_world()
        if world.get_settings().synchronous_mode:
            self._take_control(False, world)
            world.wait_for_tick(self._config.timeout_seconds)
        return world

    def _map_from(self, file: str) -> Any:
        try:
            text = Path(file).read_text()
            self.map_file_sha256 = hashlib.sha256(text.encode()).hexdigest()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"env.map_file {file} cannot be read: {error}",
                expected="an OpenDRIVE file (.xodr)",
                fix="correct the path (it is looked for on this machine, not on the server's), or leave it out",
            ) from error
        try:
            return self._carla.Map(MAP, text)
        except RuntimeError as error:
            raise ConfigError(
                f"env.map_file {file}: {error}",
                expected="an OpenDRIVE file (.xodr)",
                fix="export the map again, or leave env.map_file out",
            ) from error

    def _check_route(self) -> None:
        """Later releases of CARLA number Town04's roads otherwise; by other numbers the rules would mean nothing."""
        starts = [start_transform(self._map, EGO_ROAD, -lane, EGO_ALONG) for lane in range(1, LANES + 1)]
        if None in starts:
            where = self._config.map_file or f"{MAP} of the server at {self._config.host}:{self._config.port}"
            raise ConfigError(
                f"{where} has no four lanes on road {EGO_ROAD} at {EGO_ALONG:.0f} m, where the route begins",
                expected=f"{MAP} with the road numbers of CARLA 0.9.8, which the published runs used",
                fix="put that release's Town04.xodr into the server, and name it with --set env.map_file=FILE",
            )

    def _clear(self) -> None:
        """Remove all cars, walkers and sensors: ours, and what a run that was killed left behind."""
        actors = self._world.get_actors()
        for pattern in ("sensor.*", "vehicle.*", "walker.*", "controller.*"):
            for actor in actors.filter(pattern):
                actor.destroy()

    def _take_control(self, ours: bool, world: Any = None) -> None:
        world = world or self._world
        settings = world.get_settings()
        settings.synchronous_mode, settings.no_rendering_mode = ours, False
        settings.fixed_delta_seconds = STEP_SECONDS if ours else None
        world.apply_settings(settings, self._config.timeout_seconds)

    # Actors

    def _place_ego(self, place: Place) -> None:
        transform = start_transform(self._map, place.road, place.lane, place.along, CAR_ABOVE_ROAD)
        if self._ego is None:
            blueprint = self._blueprints.find(EGO_MODEL)
            blueprint.set_attribute("role_name", "hero")
            self._ego = self._world.spawn_actor(blueprint, transform)
            self._add_sensors()
            self._wait_for_camera()
        self._ego.set_transform(transform)
        rest = self._carla.Vector3D(0.0, 0.0, 0.0)
        self._ego.set_target_velocity(rest)
        self._ego.set_target_angular_velocity(rest)
        self._ego.apply_control(self._carla.VehicleControl())

    def _add_sensors(self) -> None:
        carla, config = self._carla, self._config
        camera = self._blueprints.find("sensor.camera.rgb")
        for name, value in (
            ("image_size_x", config.image_size),
            ("image_size_y", config.image_size),
            ("fov", CAMERA_FOV),
            ("enable_postprocess_effects", str(config.effects).lower()),
        ):
            camera.set_attribute(name, str(value))
        where = carla.Transform(
            carla.Location(x=CAMERA_FORWARD, z=CAMERA_UP), carla.Rotation(yaw=config.camera_yaw)
        )  # fmt: skip
        eye = self._world.spawn_actor(camera, where, attach_to=self._ego)
        bumper = self._world.spawn_actor(
            self._blueprints.find("sensor.other.collision"), carla.Transform(), attach_to=self._ego
        )
        pictures, impulses = self._pictures, self._impulses
        bumper.listen(lambda event: impulses.put(_size(event.normal_impulse)))
        eye.listen(pictures.put)
        self._sensors = [eye, bumper]

    def _add_car(self, generator: np.random.Generator) -> None:
        """Add a car that drives by itself, where there is room for it."""
        models = sorted(
            (each for each in self._blueprints.filter("vehicle.*") if int(each.get_attribute("number_of_wheels")) == 4),
            key=lambda each: each.id,
        )
        blueprint = models[int(generator.integers(len(models)))]
        for name in ("color", "driver_id"):
            if blueprint.has_attribute(name):
                choices = blueprint.get_attribute(name).recommended_values
                blueprint.set_attribute(name, str(choices[int(generator.integers(len(choices)))]))
        blueprint.set_attribute("role_name", "autopilot")
        for _ in range(SPAWN_TRIES):
            place = draw_car(generator)
            where = start_transform(self._map, place.road, place.lane, place.along, CAR_ABOVE_ROAD)
            car = None if where is None else self._world.try_spawn_actor(blueprint, where)
            if car is not None:
                car.set_autopilot(True, self._traffic_manager.get_port())
                self._cars.append(car)
                return
            # The client says "no room" also when nobody answers; this call raises then.
            self._client.get_server_version()

    def _remove_cars(self) -> None:
        for car in self._cars:
            car.set_autopilot(False, self._traffic_manager.get_port())
            car.destroy()
        self._cars.clear()

    def _wait_for_camera(self) -> None:
        """Tick until a picture comes: `listen` returns before the subscription is there, and none is sent again."""
        deadline = time.monotonic() + self._config.sensor_seconds
        while self._pictures.empty():
            if time.monotonic() > deadline:
                raise self._no_picture()
            self._frame = self._world.tick(self._config.timeout_seconds)
            with contextlib.suppress(queue.Empty):
                self._pictures.put(self._pictures.get(timeout=BETWEEN_TICKS_SECONDS))

    def _receive_picture(self) -> None:
        """Wait for the picture of the current frame, and pass over older ones."""
        while True:
            try:
                picture = self._pictures.get(timeout=self._config.sensor_seconds)
            except queue.Empty:
                raise self._no_picture() from None
            if picture.frame >= self._frame:
                break
        if picture.frame > self._frame:
            raise SimulationError(
                f"the camera sent frame {picture.frame} at frame {self._frame}",
                expected="a world that ticks for this environment alone",
                fix="let no other client tick this server: give each its own port",
            )
        self._picture = picture

    def _no_picture(self) -> SimulationError:
        return SimulationError(
            f"the camera sent no picture of frame {self._frame} within {self._config.sensor_seconds:g} s",
            expected="one for each tick",
            fix="a slow GPU may need a larger env.sensor_seconds; a server without rendering sends none",
        )


def _size(vector: Any) -> float:
    return math.sqrt(vector.x**2 + vector.y**2 + vector.z**2)
