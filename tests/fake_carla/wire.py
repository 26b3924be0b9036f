"""How values look on the wire to the client of carla 0.9.16: msgpack for calls, packed structures for streams.

Found by reading the layouts of the public headers and trying them on the wheel, which decides.
"""

from __future__ import annotations

import struct
from typing import Any

CAMERA, COLLISION, WORLD = 13, 0, 17
"""Numbers of the kinds of sensors in this wheel's registry; a wrong one aborts the client's process."""

ALIVE = 1
NO_ERROR: list[Any] = [[False]]

_HEADER = struct.Struct("<QQd6f")
_EPISODE = struct.Struct("<Qdf3ii")
_ACTOR = struct.Struct("<IB6f3f3f3f54s")
_VEHICLE = struct.Struct("<fff???ifB?IB")
_TOKEN = struct.Struct("<IHBB4s12x")


def value(result: Any) -> list[Any]:
    """The answer of a call that returns something."""
    return [[1, result]]


def refusal(text: str) -> list[Any]:
    """The answer of a call that returns something and failed: a RuntimeError with this text in the client."""
    return [[0, [text]]]


def refusal_of_nothing(text: str) -> list[Any]:
    """The same, of a call that returns nothing."""
    return [[True, [text]]]


def token(stream: int, port: int) -> bytes:
    """Where a stream is read: its number, and the port; 24 bytes. Address 127.0.0.1, TCP over IPv4."""
    return _TOKEN.pack(stream, port, 1, 1, bytes((127, 0, 0, 1)))


def actor(
    number: int, parent: int, description: list[Any], extent: tuple[float, float, float], where: bytes
) -> list[Any]:
    """An actor; `where` is the token of a sensor's stream, empty for others."""
    return [number, parent, description, box(extent), b"", where]


def box(extent: tuple[float, float, float]) -> list[Any]:
    """A bounding box that stands on the actor's origin: its middle, half sizes, rotation."""
    return [[0.0, 0.0, extent[2]], list(extent), [0.0, 0.0, 0.0]]


def header(kind: int, frame: int, seconds: float, pose: tuple[float, ...]) -> bytes:
    """What every message of a sensor begins with; pose: x, y, z, pitch, yaw, roll in metres and degrees."""
    return _HEADER.pack(kind, frame, seconds, *pose)


def world_state(frame: int, seconds: float, episode: int, step_seconds: float, actors: list[bytes]) -> bytes:
    """The snapshot of a frame: a message of the world's stream."""
    start = header(WORLD, frame, seconds, (0.0,) * 6)
    return start + _EPISODE.pack(episode, seconds, step_seconds, 0, 0, 0, 0) + b"".join(actors)


def vehicle_state(control: tuple[float, float, float], speed_limit: float) -> bytes:
    """State of a vehicle: throttle, steer, brake, and the limit in km/h; no traffic light."""
    throttle, steer, brake = control
    return _VEHICLE.pack(throttle, steer, brake, False, False, False, 1, speed_limit, 3, False, 0, 0)


def actor_state(number: int, pose: tuple[float, ...], velocity: tuple[float, float, float], own: bytes = b"") -> bytes:
    """State of an actor in a snapshot, 119 bytes; `own`: `vehicle_state`, or nothing."""
    return _ACTOR.pack(number, ALIVE, *pose, *velocity, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, own)


def picture(
    frame: int, seconds: float, pose: tuple[float, ...], width: int, height: int, fov: float, bgra: bytes
) -> bytes:
    """A camera's message; `bgra`: four bytes a pixel, rows top first."""
    return header(CAMERA, frame, seconds, pose) + struct.pack("<IIf", width, height, fov) + bgra
