"""Carrying out one job: its command in a process of its own, one at a time per folder, again after a failure.

A lock file per job is held by the command's process itself (it inherits the open file), so a job is never run twice:
neither by two sweeps side by side, nor by a sweep that is started while a command of a killed one still runs.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ipv_bench.atomic_file import disk_errors
from ipv_bench.sweeps.plan import Job, is_done

STATE_FOLDER = ".sweep"
_POLL_SECONDS = 0.2
_STOP_SECONDS = 120.0
"""A job that was asked to stop and did not within this time is killed; it goes on from its last checkpoint."""


@dataclass(frozen=True)
class Result:
    """How a job ended.

    Attributes:
        folder: the job's.
        outcome: "done", "failed", "interrupted" or "blocked" (a job before it failed).
        attempts: how often its command was started.
        detail: last line of its output where it failed.
    """

    folder: str
    outcome: str
    attempts: int = 0
    detail: str = ""


def log_file(root: str, job: Job) -> Path:
    """Where the output of a job's command is kept."""
    return _state_file(root, job, "log")


def lock_file(root: str, job: Job) -> Path:
    """The file that the job's process holds locked while it runs."""
    return _state_file(root, job, "lock")


def _state_file(root: str, job: Job, suffix: str) -> Path:
    name = re.sub(r"[^A-Za-z0-9_.,=+@-]", "__", os.path.relpath(job.folder, root))
    return Path(root) / STATE_FOLDER / f"{name[-200:]}.{suffix}"


def is_locked(path: Path) -> bool:
    """Whether a process holds this file or folder locked."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(descriptor)
    return False


def run_job(
    job: Job, root: str, max_retries: int, stop: threading.Event, environment: Mapping[str, str] | None = None
) -> Result:
    """Run a job until it is done, has failed once more than `max_retries`, or `stop` is set.

    While another process runs the same job, it is waited for.

    Args:
        job: what to run.
        root: folder of the runs; state is kept in a folder `.sweep` inside it.
        max_retries: how often a failed command is started again.
        stop: set to end the command as Ctrl-C does.
        environment: variables beside this process's.
    """
    attempts, detail = 0, ""
    while not stop.is_set():
        if is_done(job):
            return Result(job.folder, "done", attempts)
        if attempts > max_retries:
            return Result(job.folder, "failed", attempts, detail)
        process = _start(job, root, environment or {})
        if process is None:
            stop.wait(_POLL_SECONDS * 5)
            continue
        status = _wait(process, stop)
        if status and is_locked(Path(job.folder)):
            continue  # somebody typed the command meanwhile
        attempts += 1
        if stop.is_set() and not is_done(job):
            break
        detail = _last_line(log_file(root, job), status) if status else "it ended without having finished"
    return Result(job.folder, "interrupted", attempts)


def _start(job: Job, root: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes] | None:
    """Start the command, which inherits the job's lock; None when another process holds it."""
    lock, log = lock_file(root, job), log_file(root, job)
    with disk_errors(log):
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            if is_done(job) or is_locked(Path(job.folder)):
                return None
            with open(log, "ab") as output:
                output.write(f"$ {job.command}\n".encode())
                output.flush()
                return subprocess.Popen(
                    [sys.executable, "-m", "ipv_bench", *job.words],
                    stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, pass_fds=(descriptor,),
                    start_new_session=True, env=os.environ | {"PYTHONUNBUFFERED": "1"} | dict(environment),
                )  # fmt: skip
        finally:
            os.close(descriptor)


def _wait(process: subprocess.Popen[bytes], stop: threading.Event) -> int:
    """Exit status; on `stop` the command gets the signal that makes it save its state."""
    asked = 0.0
    while True:
        try:
            return process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if stop.is_set() and not asked:
                process.send_signal(signal.SIGTERM)
                asked = time.monotonic()
            if asked and time.monotonic() - asked > _STOP_SECONDS:
                process.kill()


def _last_line(log: Path, status: int) -> str:
    """What a failed command said last; its error message begins with `error:`."""
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    try:
        lines = log.read_bytes()[-20_000:].decode("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    errors = [line for line in lines if line.startswith("error:")]
    kept = errors[-1:] or [line for line in lines if line.strip()][-1:]
    return f"exit status {status}: " + (kept[0].removeprefix("error: ") if kept else "no output")
