"""Fake servers in processes of their own, and ports for them."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PORTS_OF_A_RUN = (0, 1, 10, 11, 6001, 6011)
"""What two servers, for training and for evaluation, take from the first port on: calls, streams, traffic managers."""


_claims: list[socket.socket] = []


def free_port() -> int:
    """A port with which a run's others are free too, and which no other test process is given while this one lives."""
    generator = random.Random(os.getpid() * 1_000_003 + time.monotonic_ns())
    while True:
        port = generator.randrange(20_000, 26_000, 20)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0ipv-bench fake CARLA {port}")  # a name in the kernel, not a file; it goes with the process
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        if all(_is_free(port + offset) for offset in PORTS_OF_A_RUN):
            return port


def call(port: int, name: str, *arguments: Any) -> Any:
    """Make one call, as a client would, and return its result; nothing subscribes to anything."""
    import msgpack  # what only starts servers does without it

    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(msgpack.packb([0, 1, name, [[False], *arguments]]))
        answers = msgpack.Unpacker()
        while data := connection.recv(65536):
            answers.feed(data)
            for _, _, _, result in answers:
                return result
    raise ConnectionError(f"the server on port {port} closed the connection instead of answering {name}")


def command(*options: str) -> str:
    """A value of `env.server_command`: a fake server on `{port}`."""
    return " ".join([sys.executable, "-m", "tests.fake_carla", "--port", "{port}", *options])


@contextmanager
def fake_server(*options: str, port: int | None = None) -> Iterator[int]:
    """A fake server that listens; yields its port, and ends it.

    Args:
        options: of the command, beside the port.
        port: to listen on; None: a free one.
    """
    port = port or free_port()
    words = command(*options).replace("{port}", str(port)).split(" ")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    process = subprocess.Popen(words, cwd=ROOT, env=environment)
    try:
        while _is_free(port):
            if process.poll() is not None:
                raise RuntimeError(f"the fake server ended with {process.returncode}")
            time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
