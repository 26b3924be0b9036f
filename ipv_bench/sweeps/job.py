"""Carrying out one job: its command in a process of its own, one at a time per folder, again after a failure.

A lock file per job is held by the command's process itself (it inherits the open file), so a job is never run twice:
neither by two sweeps side by side, nor by a sweep that is started while a command of a killed one still runs.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ipv_bench.atomic_file import disk_errors, write_json
from ipv_bench.progress import say
from ipv_bench.sweeps.planned_job import Job, is_done

STATE_FOLDER = ".sweep"
_LONGEST_NAME = 200
_POLL_SECONDS = 0.2
_STOP_SECONDS = 120.0
"""A job that was asked to stop and did not within this time is killed; it goes on from its last checkpoint."""


@dataclass(frozen=True)
class Result:
    """How a job ended.

    Attributes:
        folder: the job's.
        outcome: "done", "failed", "interrupted" or "blocked" (a job before it failed); "trying" in a kept note, while
            a job that failed is started again.
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


def submission_file(root: str, job: Job) -> Path:
    """Where the id is kept under which a job was submitted to a cluster's queue."""
    return _state_file(root, job, "slurm")


def submission_id(root: str, job: Job) -> str:
    """Under which id a job was submitted last; empty where it never was."""
    try:
        return submission_file(root, job).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def keep_note(root: str, job: Job, result: Result) -> None:
    """Keep how a job ended, or what its last attempt said, for `sweep status`; a job that is done needs no note."""
    path = _state_file(root, job, "json")
    if result.outcome in ("done", "interrupted"):
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(result))


def kept_note(root: str, job: Job) -> Result | None:
    """What `keep_note` kept; None where there is nothing, or nothing that can be read."""
    try:
        return Result(**json.loads(_state_file(root, job, "json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _state_file(root: str, job: Job, suffix: str) -> Path:
    folder = os.path.relpath(job.folder, root)
    name = re.sub(r"[^A-Za-z0-9_.,=+@-]", "__", folder)
    if len(name) > _LONGEST_NAME or "__" in folder or re.search(r"[^A-Za-z0-9_.,=+@/-]", folder):
        # shortened, or not the only folder of this name
        name = f"{name[-_LONGEST_NAME:]}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}"
    return Path(root) / STATE_FOLDER / f"{name}.{suffix}"


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
    attempts, detail, said = 0, "", False
    while not stop.is_set():
        if is_done(job):
            return _ended(job, root, Result(job.folder, "done", attempts))
        if attempts > max_retries:
            return _ended(job, root, Result(job.folder, "failed", attempts, detail))
        process = _start(job, root, environment or {})
        if process is None:
            if not said and not is_done(job):
                say(f"{job.folder}: another process works on it; waiting until it ends")
                said = True
            stop.wait(_POLL_SECONDS * 5)
            continue
        status = _wait(process, stop)
        if status and is_locked(Path(job.folder)):
            continue  # somebody typed the command meanwhile
        attempts += 1
        if stop.is_set() and not is_done(job):
            break
        detail = _last_line(log_file(root, job), status) if status else "it ended without having finished"
        if not is_done(job):
            keep_note(root, job, Result(job.folder, "trying", attempts, detail))
    return _ended(job, root, Result(job.folder, "interrupted", attempts))


def _ended(job: Job, root: str, result: Result) -> Result:
    keep_note(root, job, result)
    return result


class InterruptibleJob:
    """`run_job` for a process in which signals and exceptions may end the wait: the command saves its state first.

    The job runs in a thread of its own, so that the thread of `run` can take signals.

    Args:
        job, root, max_retries, environment: as of `run_job`.
    """

    def __init__(self, job: Job, root: str, max_retries: int, environment: Mapping[str, str] | None = None) -> None:
        self._arguments = (job, root, max_retries)
        self._environment = environment
        self._stop = threading.Event()
        self._running: Future[Result] | None = None

    def run(self) -> Result:
        """Run it; an exception such as KeyboardInterrupt goes on after the command has saved its state."""
        with ThreadPoolExecutor(1) as pool:
            try:
                self._running = pool.submit(run_job, *self._arguments, self._stop, self._environment)
                while not wait([self._running], timeout=_POLL_SECONDS).done:
                    pass  # short waits: Ray's way to interrupt is seen between two
                return self._running.result()
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Ask the command to save its state and end; a signal's handler may call it."""
        self._stop.set()

    def stop_and_wait(self) -> None:
        """`stop`, and wait until the command has ended."""
        self.stop()
        if self._running is not None:
            wait([self._running])


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
                    [sys.executable, "-P", "-m", "ipv_bench", *job.words],
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
