"""One `ipv-bench` command of an experiment's script: one thread, gently, and no longer than the script may take."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path


class OutOfTimeError(Exception):
    """The minutes are over; everything is saved."""


class StoppedError(OutOfTimeError):
    """A command was stopped with its state saved.

    Attributes:
        seconds: CPU-seconds that it took.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


def deadline(minutes: float | None) -> float | None:
    """The end, as `command` takes it, in so many minutes; None: no limit."""
    return None if minutes is None else time.monotonic() + 60 * minutes


def command(folder: Path, *arguments: str, end: float | None = None) -> float:
    """Run it in `folder`; what it prints goes to stderr.

    Args:
        folder: where it runs.
        arguments: of `ipv-bench`.
        end: a `deadline`, at which the command is asked to stop; None: no limit.

    Returns:
        Its CPU-seconds.

    Raises:
        OutOfTimeError: the end is past, and nothing was started; as `StoppedError`: it was stopped.
        CalledProcessError: it failed.
    """
    left = float("inf") if end is None else end - time.monotonic()
    if left <= 0:
        raise OutOfTimeError
    words = ["nice", "-n", "10", sys.executable, "-P", "-m", "ipv_bench", *arguments]
    child = subprocess.Popen(words, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=sys.stderr)
    clock = None if end is None else threading.Timer(left, child.terminate)
    if clock is not None:
        clock.start()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if clock is not None:
        clock.cancel()
    seconds = usage.ru_utime + usage.ru_stime
    if child.returncode in (130, -15):
        raise StoppedError(seconds)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, words)
    return seconds
