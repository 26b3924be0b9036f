"""A server by its address: the claim on its port, starting it where the run may, and waiting until it listens."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ipv_bench.errors import ConfigError, SimulationError
from ipv_bench.progress import say_aside

PORT_STEP = 10
"""Between the servers of one run, as published: a server takes a few ports from its first one on."""

POLL_SECONDS = 0.2
STOP_SECONDS = 8.0
PORT_WORD = "{port}"


class ServerProcess:
    """A server that belongs to one environment.

    Args:
        host: where it is.
        port: of its calls.
        command: that starts it, with `{port}`; None: somebody else starts it.
        start_seconds: that a started one may take until it listens.

    Raises:
        ConfigError: another process of this machine holds this address, or the program cannot be run.
    """

    def __init__(self, host: str, port: int, command: str | None, start_seconds: float) -> None:
        self.host, self.port = host, port
        self._command, self._start_seconds = command, start_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._claim = claim_address(host, port)

    @property
    def address(self) -> str:
        """host:port."""
        return f"{self.host}:{self.port}"

    def make_ready(self) -> None:
        """Return when the server listens; start it where there is a command and nothing listens yet.

        Raises:
            SimulationError: it does not listen.
            ConfigError: the command cannot be run.
        """
        if listens(self.host, self.port):
            return
        if self._command is None:
            raise SimulationError(
                f"no CARLA server listens at {self.address}",
                expected=f"one for each environment, {PORT_STEP} ports apart: training first, then evaluation",
                fix=f"start one (CarlaUE4.sh -RenderOffScreen -nosound -carla-rpc-port={self.port}), or let the run do "
                "it: --set 'env.server_command=…/CarlaUE4.sh -RenderOffScreen -nosound -carla-rpc-port={port}'",
            )
        self._start(self._command)
        deadline = time.monotonic() + self._start_seconds
        while not listens(self.host, self.port):
            if self._process is None or self._process.poll() is not None:
                raise SimulationError(
                    f"the CARLA server for {self.address} ended before it listened: {self._last_words()}",
                    expected="a server that goes on until it is stopped",
                    fix=f"run it by hand to see why: {self._command.replace(PORT_WORD, str(self.port))}",
                )
            if time.monotonic() > deadline:
                self.stop()
                raise SimulationError(
                    f"the CARLA server does not listen at {self.address} after {self._start_seconds:.0f} s",
                    expected="one that listens within env.start_seconds",
                    fix="a slow disk or GPU may need a larger env.start_seconds",
                )
            time.sleep(POLL_SECONDS)

    def state(self) -> str:
        """What is known of a server that was started here, to be put after its name; empty for others."""
        if self._process is None:
            return ""
        status = self._process.poll()
        return "" if status is None else f" (ended with {status}: {self._last_words()})"

    def stop(self) -> None:
        """End the server if it was started here."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()  # what the keeper waits for
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        process.kill()
        process.wait()
        self._output.close()

    def close(self) -> None:
        """End the server if it was started here, and give the address free."""
        self.stop()
        os.close(self._claim)

    def _start(self, command: str) -> None:
        self.stop()
        words = [word.replace(PORT_WORD, str(self.port)) for word in shlex.split(command)]
        say_aside(f"starting a CARLA server at {self.address}")
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  (closed when the process ends)
        keeper = Path(__file__).with_name("keeper.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(keeper), *words],
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=self._output,
        )

    def _last_words(self) -> str:
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip()[:300] if lines else "it said nothing"


def check_command(command: str) -> None:
    """Refuse a command that cannot serve several ports.

    Raises:
        ConfigError: it cannot be split into words, or has no place for the port.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError(
            f"env.server_command cannot be split into words ({error}): {command!r}",
            expected="a command as in a shell",
            fix="close every quote",
        ) from error
    if not any(PORT_WORD in word for word in words):
        raise ConfigError(
            f"env.server_command has no {PORT_WORD}: {command!r}",
            expected="a command for any port, since a run has a server for training and one for evaluation",
            fix="write it as …/CarlaUE4.sh -RenderOffScreen -nosound -carla-rpc-port={port}",
        )


def listens(host: str, port: int, seconds: float = 1.0) -> bool:
    """Whether something takes connections there."""
    try:
        with socket.create_connection((host, port), seconds):
            return True
    except OSError:
        return False


def claim_address(host: str, port: int) -> int:
    """Claim a server's address for this process, against other runs on this machine; returns the claim's descriptor.

    Two runs that tick one server would each see half of its frames. The kernel gives the claim back when the process
    ends, `kill -9` included.

    Raises:
        ConfigError: another process has it.
    """
    with contextlib.suppress(OSError):
        host = socket.gethostbyname(host)  # one server, whatever it is called
    name = "".join(letter if letter.isalnum() else "-" for letter in host)
    path = Path(tempfile.gettempdir()) / f"ipv-bench-carla-{name}-{port}.lock"
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise ConfigError(
            f"another run on this machine uses the CARLA server at {host}:{port}",
            expected=f"servers of its own for each run: env.port, and {PORT_STEP} more for each further environment",
            fix="choose another env.port, or wait for that run",
        ) from error
    return descriptor


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)  # somebody else's file may be locked as well, not written
    except FileNotFoundError:
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
