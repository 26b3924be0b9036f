"""The `ipv-bench` commands of an experiment's script: one thread each, gently, and no longer than the script lives."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


class OutOfTimeError(Exception):
    """The script is to stop here; everything is saved, and the same command goes on.

    Attributes:
        is_planned: by the minutes that the script was given, not by somebody who ended a command.
    """

    is_planned = True

    def __init__(self, why: str = "the minutes are over") -> None:
        super().__init__(why)


class StoppedError(OutOfTimeError):
    """A command was stopped with its state saved.

    Attributes:
        seconds: CPU-seconds that it took.
    """

    def __init__(self, seconds: float, *, is_planned: bool = True) -> None:
        super().__init__("the minutes are over" if is_planned else "a command was interrupted")
        self.seconds, self.is_planned = seconds, is_planned


class CommandFailedError(subprocess.CalledProcessError):
    """A command failed.

    Attributes:
        seconds: CPU-seconds that it took.
    """

    def __init__(self, status: int, words: list[str], seconds: float) -> None:
        super().__init__(status, words)
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
        OutOfTimeError: the end is past, and nothing was started; as `StoppedError`: it was stopped, by the end or by
            somebody (Ctrl-C reaches all commands of a terminal).
        CommandFailedError: it failed.
    """
    left = float("inf") if end is None else end - time.monotonic()
    if left <= 0:
        raise OutOfTimeError
    words = ["nice", "-n", "10", sys.executable, "-P", "-m", "ipv_bench", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        words, cwd=folder, env=environment, stdout=sys.stderr, preexec_fn=die_with(os.getpid())
    )  # fmt: skip
    over = threading.Event()
    clock = threading.Timer(min(left, threading.TIMEOUT_MAX), lambda: (over.set(), child.terminate()))
    clock.daemon = True  # a script that ends by Ctrl-C does not wait for it
    clock.start()
    try:
        _, status, usage = os.wait4(child.pid, 0)
    finally:
        clock.cancel()
    child.returncode = os.waitstatus_to_exitcode(status)
    seconds = usage.ru_utime + usage.ru_stime
    if child.returncode in (130, -signal.SIGTERM, -signal.SIGINT):
        raise StoppedError(seconds, is_planned=over.is_set())
    if child.returncode:
        raise CommandFailedError(child.returncode, words, seconds)
    return seconds


def die_with(script: int) -> Callable[[], None]:
    """For the child: it is asked to stop when the script ends, however that ends, so that no run goes on unseen."""

    def prepare() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != script:  # it ended just now
            os._exit(130)

    return prepare


class Workspace:
    """The folder in which an experiment's commands run, and until when.

    Args:
        folder: of data and runs; made where it is not there.
        minutes: after which no command is started, and the running one is asked to stop; None: no limit.
    """

    def __init__(self, folder: Path, minutes: float | None = None) -> None:
        self.folder = folder
        self._end = deadline(minutes)
        folder.mkdir(parents=True, exist_ok=True)

    def command(self, *arguments: str) -> float:
        """One `ipv-bench` command without progress bars; its CPU-seconds.

        Raises:
            OutOfTimeError: it was stopped, or not even started.
            CommandFailedError: it failed.
        """
        return command(self.folder, *arguments, "--quiet", end=self._end)
