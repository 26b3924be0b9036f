"""The fake server: answers the calls and feeds the streams that the client of carla 0.9.16 needs for driving.

What it does not know is refused with the call's name. It ends by itself after a set time, and when its parent goes.
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from tests.fake_carla import wire
from tests.fake_carla.drawing import draw
from tests.fake_carla.roads import open_drive
from tests.fake_carla.world import EXTENT, SPEED_LIMIT_KMH, Actor, Bump, World

WORLD_STREAM = 1
FREE_RUNNING_SECONDS = 0.02
CHECK_SECONDS = 0.5

_BOOL, _INT, _FLOAT, _TEXT, _COLOUR = 1, 2, 3, 4, 5


def _definition(number: int, name: str, tags: str, attributes: list[list[Any]]) -> list[Any]:
    return [number, name, tags, attributes]


def _attribute(name: str, kind: int, default: str, choices: list[str], changes: bool = True) -> list[Any]:
    return [name, kind, default, choices, changes, False]


def _car(number: int, make: str, model: str, wheels: int = 4) -> list[Any]:
    attributes = [
        _attribute("number_of_wheels", _INT, str(wheels), [], changes=False),
        _attribute("role_name", _TEXT, "autopilot", ["autopilot", "hero"]),
    ]
    if wheels == 4:
        attributes += [
            _attribute("color", _COLOUR, "200,30,30", ["200,30,30", "30,60,200", "230,230,230", "20,20,20"]),
            _attribute("driver_id", _INT, "1", ["1", "2", "3"]),
        ]
    return _definition(number, f"vehicle.{make}.{model}", f"vehicle,{make},{model}", attributes)


DEFINITIONS = [
    _car(1, "audi", "a2"),
    _car(2, "nissan", "micra"),
    _car(3, "tesla", "model3"),
    _car(4, "bh", "crossbike", wheels=2),
    _definition(5, "sensor.other.collision", "sensor,other,collision", [_attribute("role_name", _TEXT, "front", [])]),
    _definition(
        6, "sensor.camera.rgb", "sensor,camera,rgb",
        [
            _attribute("image_size_x", _INT, "800", []),
            _attribute("image_size_y", _INT, "600", []),
            _attribute("fov", _FLOAT, "90.0", []),
            _attribute("enable_postprocess_effects", _BOOL, "true", []),
            _attribute("sensor_tick", _FLOAT, "0.0", []),
            _attribute("role_name", _TEXT, "front", []),
        ],
    ),
]  # fmt: skip


@dataclass
class Fault:
    """What goes wrong, and when: at the `count`-th call of `call`.

    Attributes:
        action: `die`; `hang` (no more answers); `slow` (half a second each time from then on); `refuse`;
            `blind` (no more pictures from then on); `garbage` (random bytes instead of the answer);
            `garbage-stream` (random bytes to the world's stream).
        marker: a file that is made when it happens, and that keeps it from happening again in another server.
        began: whether it has happened in this server.
    """

    action: str
    call: str
    count: int = 1
    marker: Path | None = None
    began: bool = False

    @classmethod
    def of(cls, text: str, marker: str | None) -> Fault:
        """`ACTION@CALL:COUNT`, as on the command line."""
        action, _, rest = text.partition("@")
        call, _, count = rest.partition(":")
        return cls(action, call, int(count or 1), Path(marker) if marker else None)

    def is_due(self, call: str, number: int) -> bool:
        """Whether it happens at this call; `slow`, `refuse` and `blind` also at later ones."""
        lasts = self.action in ("slow", "refuse", "blind")
        if call != self.call or number < self.count or (number > self.count and not (lasts and self.began)):
            return False
        if number == self.count:
            if self.marker is not None and self.marker.exists():
                return False
            if self.marker is not None:
                self.marker.touch()
            self.began = True
        return True


@dataclass
class Server:
    """One server.

    Attributes:
        port: of the calls; the streams have the next one.
        version: that it says it has.
        maps: that it says it has; it begins with the first.
        map_text: OpenDRIVE of its map.
        fault: what goes wrong; None: nothing.
        stream_delay_seconds: from a stream's connection until it is sent anything, as under load.
        log: where every call is written to, one JSON-like line each; None: nowhere.
    """

    port: int
    version: str = "0.9.16"
    maps: tuple[str, ...] = ("Carla/Maps/Town04", "Carla/Maps/Town10HD")
    map_text: str = field(default_factory=open_drive)
    fault: Fault | None = None
    log: Path | None = None
    stream_delay_seconds: float = 0.0
    world: World = field(default_factory=World)

    def __post_init__(self) -> None:
        self.world.map_name = self.maps[0]
        self._synchronous = False
        self._settings: list[Any] = [False, False, [False], True, 0.01, 10, 0.0, True, 3000.0, 2000.0, True]
        self._calls: Counter[str] = Counter()
        self._readers: dict[int, list[asyncio.StreamWriter]] = {}
        self._traffic_managers: dict[int, list[Any]] = {}
        self._hung = self._blind = False

    async def run(self, seconds: float) -> None:
        """Serve for so long, or until the parent goes away."""
        parent, end = os.getppid(), time.monotonic() + seconds
        streams = await asyncio.start_server(self._serve_stream, "127.0.0.1", self.port + 1)
        calls = await asyncio.start_server(self._serve_calls, "127.0.0.1", self.port)  # last: then it is ready
        async with calls, streams:
            checked = time.monotonic()
            while True:
                await asyncio.sleep(FREE_RUNNING_SECONDS)
                if not self._synchronous and not self._hung:
                    self._step()
                if time.monotonic() - checked > CHECK_SECONDS:
                    checked = time.monotonic()
                    if checked > end or os.getppid() != parent:
                        return

    # Connections

    async def _serve_calls(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, unicode_errors="replace")
        while data := await reader.read(65536):
            unpacker.feed(data)
            for request in unpacker:
                answer = await self._answer(request)
                if answer is not None:
                    writer.write(answer)
                    await writer.drain()
        writer.close()

    async def _answer(self, request: list[Any]) -> bytes | None:
        """The bytes to send back; None: nothing."""
        number, name, arguments = request[-3:]
        self._calls[name] += 1
        if self.log is not None:
            with open(self.log, "a") as file:
                print(name, arguments[1:], file=file)
        fault = self.fault if self.fault and self.fault.is_due(name, self._calls[name]) else None
        if fault is not None:
            if fault.action == "die":
                os._exit(9)
            self._hung |= fault.action == "hang"
            self._blind |= fault.action == "blind"
            if fault.action == "slow":
                await asyncio.sleep(0.5)
            if fault.action == "garbage":
                return bytes(range(256))
            if fault.action == "garbage-stream":
                self._send(WORLD_STREAM, bytes(range(200)))
            if fault.action == "refuse":
                return msgpack.packb([1, number, None, _refused(name, f"{name} was refused")])
        if self._hung:
            return None
        return msgpack.packb([1, number, None, self._call(name, arguments[1:])])

    async def _serve_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            (stream,) = struct.unpack("<I", await reader.readexactly(4))
            await asyncio.sleep(self.stream_delay_seconds)
            self._readers.setdefault(stream, []).append(writer)
            while await reader.read(1024):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        for writers in self._readers.values():
            if writer in writers:
                writers.remove(writer)
        writer.close()

    def _send(self, stream: int, payload: bytes) -> None:
        for writer in self._readers.get(stream, []):
            writer.write(struct.pack("<I", len(payload)) + payload)

    # Simulation

    def _step(self) -> None:
        bumps = self.world.step()
        for actor in list(self.world.actors.values()):
            if actor.kind == "sensor.other.collision":
                for bump in bumps:
                    if bump.actor == actor.parent:
                        self._send(actor.number, self._collision(actor, bump))
        self._send_world()
        for actor in list(self.world.actors.values()):
            if actor.kind == "sensor.camera.rgb" and self._readers.get(actor.number) and not self._blind:
                self._send(actor.number, self._picture(actor))

    def _send_world(self) -> None:
        world = self.world
        states = []
        for actor in world.actors.values():
            own = wire.vehicle_state(actor.control, SPEED_LIMIT_KMH) if actor.is_vehicle else b""
            states.append(wire.actor_state(actor.number, world.pose_of(actor), actor.velocity, own))
        self._send(
            WORLD_STREAM, wire.world_state(world.frame, world.seconds, world.episode, world.step_seconds, states)
        )

    def _picture(self, camera: Actor) -> bytes:
        image = draw(self.world, camera)
        height, width = image.shape[:2]
        fov = float(camera.attribute("fov", "90"))
        pose = self.world.pose_of(camera)
        return wire.picture(self.world.frame, self.world.seconds, pose, width, height, fov, image.tobytes())

    def _collision(self, sensor: Actor, bump: Bump) -> bytes:
        rail = wire.actor(0, 0, [0, "static.guardrail", []], EXTENT, b"")
        other = self._seen(bump.other) if bump.other in self.world.actors else rail
        event = msgpack.packb([self._seen(bump.actor), other, list(bump.impulse)])
        pose = self.world.pose_of(sensor)
        return wire.header(wire.COLLISION, self.world.frame, self.world.seconds, pose) + event

    def _seen(self, number: int) -> list[Any]:
        actor = self.world.actors[number]
        is_sensor = actor.kind.startswith("sensor.")
        where = wire.token(actor.number, self.port + 1) if is_sensor else b""
        return wire.actor(number, actor.parent, actor.description, (0.0, 0.0, 0.0) if is_sensor else EXTENT, where)

    # Calls

    def _call(self, name: str, arguments: list[Any]) -> Any:
        handler: Callable[..., Any] | None = getattr(self, f"_call_{name}", None)
        if handler is None:
            print(f"fake CARLA server: unknown call {name} {arguments}"[:300], file=sys.stderr, flush=True)
            return wire.refusal(f"the fake server does not know {name}")
        return handler(*arguments)

    def _call_version(self) -> Any:
        return wire.value(self.version)

    def _call_get_episode_info(self) -> Any:
        return wire.value([self.world.episode, [wire.token(WORLD_STREAM, self.port + 1)]])

    def _call_get_sensor_token(self, stream: int) -> Any:
        return wire.value([wire.token(stream, self.port + 1)])

    def _call_get_episode_settings(self) -> Any:
        return wire.value(self._settings)

    def _call_set_episode_settings(self, settings: list[Any]) -> Any:
        self._synchronous = bool(settings[0])
        step = settings[2]
        self._settings = [*settings[:2], [1, step[1]] if len(step) > 1 and step[0] else [0], *settings[3:]]
        if len(step) > 1 and step[0]:
            self.world.step_seconds = float(step[1])
        self._step()
        return wire.value(self.world.frame)

    def _call_query_lights_state(self, client: str) -> Any:
        return wire.value([])

    def _call_get_required_files(self, folder: str) -> Any:
        return wire.value([])

    def _call_tick_cue(self) -> Any:
        self._step()
        return wire.value(self.world.frame)

    def _call_get_available_maps(self) -> Any:
        return wire.value(list(self.maps))

    def _call_get_map_info(self) -> Any:
        return wire.value([self.world.map_name, []])

    def _call_get_map_data(self) -> Any:
        return wire.value(self.map_text)

    def _call_load_new_episode(self, name: str, reset_settings: bool, layers: int) -> Any:
        found = next((each for each in self.maps if each.rpartition("/")[2] == name.rpartition("/")[2]), None)
        if found is None:
            return wire.refusal_of_nothing(f"map '{name}' not found")
        self.world.new_episode(found)
        if reset_settings:
            self._synchronous = False
        return wire.NO_ERROR

    def _call_get_actor_definitions(self) -> Any:
        return wire.value(DEFINITIONS)

    def _call_get_weather_parameters(self) -> Any:
        return wire.value(self.world.weather)

    def _call_set_weather_parameters(self, weather: list[float]) -> Any:
        self.world.weather = weather
        return wire.NO_ERROR

    def _call_get_actors_by_id(self, numbers: list[int]) -> Any:
        return wire.value([self._seen(number) for number in numbers if number in self.world.actors])

    def _call_get_actor_bounding_box(self, number: int) -> Any:
        return wire.value(wire.box(EXTENT))

    def _call_spawn_actor(self, description: list[Any], transform: list[Any]) -> Any:
        actor = self.world.spawn(description, _pose(transform))
        if actor is None:
            return wire.refusal("Spawn failed because of collision at spawn position")
        return wire.value(self._seen(actor.number))

    def _call_spawn_actor_with_parent(
        self, description: list[Any], transform: list[Any], parent: int, attachment: int, bone: str = ""
    ) -> Any:
        actor = self.world.spawn(description, _pose(transform), parent)
        assert actor is not None
        return wire.value(self._seen(actor.number))

    def _call_destroy_actor(self, number: int) -> Any:
        return wire.value(self.world.destroy(number))

    def _call_set_actor_transform(self, number: int, transform: list[Any]) -> Any:
        if number in self.world.actors:
            self.world.actors[number].pose = _pose(transform)
        return wire.NO_ERROR

    def _call_set_actor_target_velocity(self, number: int, velocity: list[float]) -> Any:
        if number in self.world.actors:
            self.world.actors[number].speed = float(sum(part**2 for part in velocity) ** 0.5)
        return wire.NO_ERROR

    def _call_set_actor_target_angular_velocity(self, number: int, velocity: list[float]) -> Any:
        return wire.NO_ERROR

    def _call_set_actor_simulate_physics(self, number: int, enabled: bool) -> Any:
        return wire.NO_ERROR

    def _call_set_actor_autopilot(self, number: int, enabled: bool) -> Any:
        return wire.NO_ERROR

    def _call_apply_control_to_vehicle(self, number: int, control: list[Any]) -> Any:
        if number in self.world.actors:
            self.world.actors[number].control = (float(control[0]), float(control[1]), float(control[2]))
        return wire.NO_ERROR

    def _call_apply_batch(self, commands: list[Any], tick: bool) -> Any:
        answers = []
        for ((index, content),) in commands:
            if index == _APPLY_CONTROL:
                self._call_apply_control_to_vehicle(*content)
            elif index == _DESTROY:
                self.world.destroy(content[0])
            else:
                answers.append(wire.refusal(f"the fake server does not know command {index}")[0])
                continue
            answers.append([[1, content[0]]])
        if tick:
            self._step()
        return answers

    def _call_get_vehicle_light_states(self) -> Any:
        return wire.value([[actor.number, 0] for actor in self.world.actors.values() if actor.is_vehicle])

    def _call_reset_all_traffic_lights(self) -> Any:
        return wire.NO_ERROR

    def _call_is_traffic_manager_running(self, port: int) -> Any:
        return wire.value(port in self._traffic_managers)

    def _call_get_traffic_manager_running(self, port: int) -> Any:
        return wire.value(self._traffic_managers.get(port, ["", 0]))

    def _call_add_traffic_manager_running(self, where: list[Any]) -> Any:
        self._traffic_managers[where[1]] = where
        return wire.value(True)

    def _call_destroy_traffic_manager(self, port: int) -> Any:
        return wire.value(self._traffic_managers.pop(port, None) is not None)


_DESTROY, _APPLY_CONTROL = 1, 2
_WITHOUT_RESULT = {"load_new_episode"}


def _refused(name: str, text: str) -> list[Any]:
    return wire.refusal_of_nothing(text) if name in _WITHOUT_RESULT else wire.refusal(text)


def _pose(transform: list[Any]) -> list[float]:
    return [float(part) for part in (*transform[0], *transform[1])]
