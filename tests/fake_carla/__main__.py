"""`python -m tests.fake_carla --port 2000`: a fake CARLA server on loopback; see the package's docstring."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from tests.fake_carla.server import Fault, Server


def main() -> None:
    """Serve until the time is over or the parent goes away."""
    parser = argparse.ArgumentParser(prog="fake_carla", description=__doc__)
    parser.add_argument("--port", type=int, default=2000, help="of the calls; the streams take the next one")
    parser.add_argument("--seconds", type=float, default=900.0, help="after which it ends by itself")
    parser.add_argument("--version", default="0.9.16", help="that it says it has")
    parser.add_argument("--maps", default="Carla/Maps/Town04,Carla/Maps/Town10HD", help="that it says it has")
    parser.add_argument("--map-text", type=Path, help="OpenDRIVE file of its map; default: the task's route, straight")
    parser.add_argument("--fault", help="ACTION@CALL:COUNT, such as die@tick_cue:20; actions: see server.Fault")
    parser.add_argument("--once", help="file that keeps the fault from happening in a second server")
    parser.add_argument("--stream-delay", type=float, default=0.0, help="seconds until a new stream is served")
    parser.add_argument("--log", type=Path, help="file that every call is written to")
    options = parser.parse_args()
    server = Server(
        options.port,
        options.version,
        tuple(options.maps.split(",")),
        fault=Fault.of(options.fault, options.once) if options.fault else None,
        log=options.log,
        stream_delay_seconds=options.stream_delay,
    )
    if options.map_text:
        server.map_text = options.map_text.read_text()
    asyncio.run(server.run(options.seconds))


main()
