"""Runs a server and ends it, with all that it started, as soon as the process that asked for it is gone.

A file of its own that imports nothing of ours: `python keeper.py COMMAND...`, with a pipe for its standard input. The
pipe closes when its other end's process ends, however it ends; a server that outlived its run would keep its port.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

CHECK_SECONDS = 0.5
GRACE_SECONDS = 5.0


def main() -> int:
    """Run the command until it ends or the pipe closes; returns its exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the group; the run decides when its server stops
    server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_end(server)))
    while server.poll() is None:
        if select.select([sys.stdin], [], [], CHECK_SECONDS)[0]:
            break
    return _end(server)


def _end(server: subprocess.Popen[bytes]) -> int:
    """Ask the server's whole session to end, and kill what is left of it after a while."""
    _signal(server, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    _signal(server, signal.SIGKILL)
    return server.wait()


def _signal(server: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(server.pid, number)


if __name__ == "__main__":
    sys.exit(main())
