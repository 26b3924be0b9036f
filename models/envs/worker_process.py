"""The process that hosts environments: answers requests of `models.envs.workers` until its parent goes away.

    request   (number, [(command, index, argument), ...])       command: describe, reset, step
    answer    (number, [("ok", value) | ("lost", message) | ("error", IpvBenchError), ...])

Environments are built at their first request. One that raised is thrown away and built anew at its next reset.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

from ipv_bench.errors import IpvBenchError, SimulationError
from models.envs.base import Env, EnvConfig

PARENT_CHECK_SECONDS = 1.0


def main() -> None:
    """Serve the connection whose file descriptor is the first argument; never returns."""
    # Ctrl-C reaches the whole group; the parent decides when its environments stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, args=(os.getppid(),), daemon=True).start()
    connection = Connection(int(sys.argv[1]))
    host = _Host(*connection.recv())
    while True:
        try:
            number, requests = connection.recv()
            connection.send((number, [host.answer(*request) for request in requests]))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            break
    host.close()
    sys.stdout.flush()
    # Without interpreter shutdown: GL libraries print tracebacks there, and a hung simulator thread would block it.
    os._exit(0)


class _Host:
    """Environments by index, built on demand."""

    def __init__(self, maker: str, task: str, config: EnvConfig, first: int) -> None:
        self._maker, self._task, self._config, self._first = maker, task, config, first
        self._envs: dict[int, Env] = {}

    def answer(self, command: str, index: int, argument: Any) -> tuple[str, Any]:
        """Carry out one request; an error is an answer too."""
        try:
            return "ok", self._carry_out(command, index, argument)
        except SimulationError as error:
            self._drop(index)
            more = [f"{what}: {text}" for what, text in (("expected", error.expected), ("to do", error.fix)) if text]
            # On one line: it stands within a sentence there.
            return "lost", error.found + (f" ({'; '.join(more)})" if more else "")
        except IpvBenchError as error:
            return "error", error
        except Exception as error:  # noqa: BLE001  (simulators fail in their own ways; the traceback travels along)
            self._drop(index)
            where = traceback.extract_tb(error.__traceback__)[-1]
            return "lost", f"{type(error).__name__}: {error} ({os.path.basename(where.filename)}:{where.lineno})"

    def close(self) -> None:
        """Release all renderers."""
        for index in list(self._envs):
            self._drop(index)

    def _carry_out(self, command: str, index: int, argument: Any) -> Any:
        if command == "step":
            return self._envs[index].step(argument)
        env = self._env(index)
        if command == "reset":
            return env.reset(argument), env.episode_metadata(), env.renderer()
        return {"action_dim": env.action_dim, "time_limit": env.time_limit, "fingerprint": env.fingerprint()}

    def _env(self, index: int) -> Env:
        if index not in self._envs:
            module, _, function = self._maker.partition(":")
            make = getattr(importlib.import_module(module), function)
            self._envs[index] = make(self._task, self._config.at(self._first + index))
        return self._envs[index]

    def _drop(self, index: int) -> None:
        env = self._envs.pop(index, None)
        if env is not None:
            env.close()


def _exit_with_parent(parent: int) -> None:
    """End this process when its parent has gone, even in the middle of a step that never returns."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    os._exit(1)
