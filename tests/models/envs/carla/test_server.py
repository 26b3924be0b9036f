"""A server's port is claimed once, and a server that was started for a run never outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ipv_bench.errors import ConfigError, SimulationError
from models.envs.carla.server import ServerProcess, listens
from tests.fake_carla.running import free_port

ROOT = Path(__file__).resolve().parents[4]
LISTENER = (
    f'{sys.executable} -c \'import socket, sys, time; s = socket.create_server(("127.0.0.1", int(sys.argv[1]))); '
    "time.sleep(600)' {port}"
)
"""A server that only listens, for ten minutes."""


def wait_until(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_server_is_started_used_and_ended() -> None:
    port = free_port()
    server = ServerProcess("127.0.0.1", port, LISTENER, 60.0)
    server.make_ready()
    server.make_ready()  # it listens: nothing to do
    assert listens("127.0.0.1", port)
    with pytest.raises(ConfigError, match=f"another run on this machine uses the CARLA server at 127.0.0.1:{port}"):
        ServerProcess("127.0.0.1", port, LISTENER, 60.0)
    server.close()
    assert not listens("127.0.0.1", port)
    ServerProcess("127.0.0.1", port, None, 60.0).close()  # the claim was given back


def test_nobody_serves() -> None:
    server = ServerProcess("127.0.0.1", free_port(), None, 60.0)
    with pytest.raises(SimulationError, match="no CARLA server listens at 127.0.0.1:") as caught:
        server.make_ready()
    assert "env.server_command" in caught.value.fix
    assert f"-carla-rpc-port={server.port}" in caught.value.fix
    server.close()


def test_a_server_that_ends_or_never_listens_is_told_apart() -> None:
    ending = ServerProcess(
        "127.0.0.1", free_port(), f"{sys.executable} -c 'raise SystemExit(\"no GPU\")' {{port}}", 60.0
    )
    with pytest.raises(SimulationError, match="ended before it listened: no GPU\n.*until it is stopped\n.*by hand"):
        ending.make_ready()
    ending.close()
    silent = ServerProcess(
        "127.0.0.1", free_port(), f"{sys.executable} -c 'import time; time.sleep(600)' {{port}}", 0.5
    )
    with pytest.raises(SimulationError, match="does not listen at .* after 0 s|does not listen at .* after 1 s"):
        silent.make_ready()
    silent.close()
    absent = ServerProcess("127.0.0.1", free_port(), "/no/such/CarlaUE4.sh {port}", 60.0)
    with pytest.raises(SimulationError, match="No such file"):
        absent.make_ready()
    absent.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_ends_when_its_run_is_killed(number: signal.Signals) -> None:
    port = free_port()
    code = (
        "import time\nfrom models.envs.carla.server import ServerProcess\n"
        f"ServerProcess('127.0.0.1', {port}, {LISTENER!r}, 60.0).make_ready()\ntime.sleep(600)"
    )
    run = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    wait_until(lambda: listens("127.0.0.1", port))
    os.kill(run.pid, number)
    run.wait()
    wait_until(lambda: not listens("127.0.0.1", port))
    server = ServerProcess("127.0.0.1", port, LISTENER, 60.0)  # and the claim went with it
    server.close()
