"""The supervisor's side of a decoder process: start it, watch it, kill it, replace it.

A decoder that hangs, crashes or eats the memory costs its own item and nothing else: the items before it are already in
the shard file, the ones after it go to a fresh process.
"""

from __future__ import annotations

import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from threading import Event

from ipv_bench.errors import InterruptedRunError, IpvBenchError, OutputError
from pipelines.datasets.prepare_config import SupervisionConfig
from pipelines.jobs.decode_worker import PAGE, WorkItem, WorkOrder
from pipelines.shards.sample_block import Outcome, failure_outcome

_POLL_SECONDS = 0.25
_MEMORY_EVERY_SECONDS = 1.0
_START_SECONDS = 300.0
"""A process that has not taken an item yet is loading its libraries, on a busy machine or from a slow disk."""
_KILL_SECONDS = 10.0
MAX_LOST_STARTING = 3
"""Processes that may be killed one after another before they take an item; then the job stops."""

_NOT_STARTED = (-1, 0)
"""`ticks` of a process that has not taken an item yet."""

OnOutcome = Callable[[int, Outcome], None]


class DecodeWorker:
    """A decoder process that is replaced when it must be killed, when it dies, and after `recycle_videos` items.

    Args:
        limits: of the job.
        stop: when set, the work ends at once with `InterruptedRunError`.
        factor: multiplies the stall limit (the retry that runs alone gets more).
    """

    def __init__(self, limits: SupervisionConfig, stop: Event, factor: float = 1.0) -> None:
        self._limits, self._stop, self._factor = limits, stop, factor
        self.on_poll: Callable[[], None] | None = None
        """Called from time to time while a process is at work; for measurements."""
        self._process: _Process | None = None
        self._served = self._lost_starting = 0

    def resident_megabytes(self) -> float:
        """Memory of the process that is at work, 0 when there is none."""
        return self._process.resident_megabytes() if self._process is not None else 0.0

    def run(self, order: WorkOrder, on_outcome: OnOutcome) -> None:
        """Decode all items of an order, in order; `on_outcome` is told each item's number and outcome.

        Raises:
            OutputError: the shard file cannot be written.
            InterruptedRunError: `stop` was set.
        """
        items, done = list(order.items), order.start
        while items:
            batch = items[: self._limits.recycle_videos - self._served]
            process = self._process = self._process or _start()
            try:
                process.connection.send(replace(order, start=done, items=batch))
            except OSError:  # it died while it had nothing to do, or starts and was killed: no item's fault
                self._lost(process)
                continue
            taken = 0
            while taken < len(batch):
                answer = self._next(process, batch[taken])
                if answer is None:
                    break
                number, outcome = answer
                self._lost_starting = 0
                assert number == batch[taken].number
                done += outcome.size_bytes
                taken += 1
                self._served += 1
                on_outcome(number, outcome)
                if self._process is None:
                    break
            items = items[taken:]
            if self._served >= self._limits.recycle_videos:
                self.close()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.end()
        self._process, self._served = None, 0

    def _next(self, process: _Process, work: WorkItem) -> tuple[int, Outcome] | None:
        """The next outcome: what the process sends, or what its death or its killing means.

        None when it died before it took an item: the same items then go to another process.
        """
        seen, since = process.ticks(), time.monotonic()
        memory_checked = since
        stall_seconds = self._limits.stall_seconds * self._factor
        while True:
            try:
                if process.has_answered(_POLL_SECONDS):
                    kind, *rest = process.connection.recv()
                    if kind == "output":
                        raise _output_error(*rest)
                    return rest[0], rest[1]
            except (EOFError, OSError):  # OSError: it died in the middle of an answer
                if process.ticks() == _NOT_STARTED:
                    self._lost(process)
                    return None
                return work.number, self._died(process, work)
            if self._stop.is_set():
                self.close()
                raise InterruptedRunError("interrupted", fix="run the same command again to go on")
            if self.on_poll is not None:
                self.on_poll()
            now, ticks = time.monotonic(), process.ticks()
            if ticks != seen:
                seen, since = ticks, now
            elif now - since > (stall_seconds if ticks[0] >= 0 else max(stall_seconds, _START_SECONDS)):
                return work.number, self._kill(work, "timeout", f"no frame for {stall_seconds:g} s")
            if now - memory_checked > _MEMORY_EVERY_SECONDS:
                memory_checked = now
                if process.resident_megabytes() > self._limits.memory_megabytes:
                    words = f"more than {self._limits.memory_megabytes} MB in use"
                    return work.number, self._kill(work, "out_of_memory", words)

    def _kill(self, work: WorkItem, reason: str, message: str) -> Outcome:
        self.close()
        return failure_outcome(work.item, reason, message)

    def _lost(self, process: _Process) -> None:
        """Book the death of a process that had no item in work.

        Raises:
            IpvBenchError: it ended by itself while it started, or several in a row were killed there.
        """
        status, started = process.wait(), process.ticks() != _NOT_STARTED
        self.close()
        self._lost_starting += 1
        ended_itself = status >= 0 and not started
        if not ended_itself and self._lost_starting < MAX_LOST_STARTING:
            return
        words = f"exit status {status}" if status >= 0 else f"ended by {_signal_name(-status)}"
        times = "" if ended_itself else f" {self._lost_starting} times in a row"
        raise IpvBenchError(
            f"a decoder process could not start{times} ({words}); its own words, if any, are above",
            expected="the same Python environment as this command's, and memory for it",
            fix="run `ipv-bench doctor`",
        )

    def _died(self, process: _Process, work: WorkItem) -> Outcome:
        status = process.wait()
        self.close()
        if status == -signal.SIGPROF:
            return failure_outcome(work.item, "timeout", f"more than {work.cpu_seconds:g} s of CPU time")
        if status < 0:
            return failure_outcome(work.item, "crashed", f"the decoder process was ended by {_signal_name(-status)}")
        return failure_outcome(work.item, "crashed", f"the decoder process ended with exit status {status}")


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in list(signal.Signals) else f"signal {number}"


def _output_error(number: int | None, text: str) -> IpvBenchError:
    import errno

    if number in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(
            "the disk is full while writing a shard",
            expected="room for the output",
            fix="free some space, then run the same command again: finished shards are kept",
        )
    return OutputError(
        f"a shard cannot be written: {text}",
        expected="an output folder that can be written to",
        fix="check that folder and its file system, then run the same command again: finished shards are kept",
    )


def _start() -> _Process:
    try:
        return _Process()
    except OSError as error:
        raise IpvBenchError(
            f"a decoder process cannot be started: {error.strerror}",
            expected="memory, a process and a temporary file for it",
            fix="stop other programs, or use fewer --workers; then run the same command again",
        ) from error


class _Process:
    """One decoder process with its socket and its shared page."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with tempfile.TemporaryFile() as page_file:
            page_file.write(PAGE.pack(-1, 0))
            page_file.flush()
            self._page = mmap.mmap(page_file.fileno(), PAGE.size)
            # -P: the current folder must not stand in front of our packages. A session of its own: Ctrl-C reaches the
            # supervisor alone, which then ends its decoders in order.
            descriptors = (theirs.fileno(), page_file.fileno())
            module = "pipelines.jobs.decode_worker"
            command = [sys.executable, "-P", "-m", module, *map(str, descriptors), str(os.getpid())]
            self._popen = subprocess.Popen(
                command, pass_fds=descriptors, stdin=subprocess.DEVNULL, start_new_session=True
            )
        theirs.close()
        self.connection = Connection(ours.detach())
        self._answers = select.poll()  # `Connection.poll` would set one up for each answer
        self._answers.register(self.connection.fileno(), select.POLLIN)

    def has_answered(self, seconds: float) -> bool:
        """Whether there is something to receive, or the process is gone; waits for it up to `seconds`."""
        return bool(self._answers.poll(seconds * 1000))

    def ticks(self) -> tuple[int, int]:
        """Changes whenever the process gets on."""
        number, frames = PAGE.unpack(self._page[:])
        return int(number), int(frames)

    def resident_megabytes(self) -> float:
        """Memory in use, 0 where the system does not tell."""
        try:
            with open(f"/proc/{self._popen.pid}/statm") as file:
                return int(file.read().split()[1]) * mmap.PAGESIZE / 1e6
        except OSError:
            return 0.0

    def wait(self) -> int:
        """The exit status of the process, which has closed its connection; killed if it does not end by itself."""
        try:
            return self._popen.wait(5)
        except subprocess.TimeoutExpired:
            return self._kill()

    def _kill(self) -> int:
        """The exit status. A process that waits for a dead network file dies only when the system lets it go: then
        nobody waits for it here, and it ends by itself later."""
        self._popen.kill()
        try:
            return self._popen.wait(_KILL_SECONDS)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL

    def end(self) -> None:
        """Kill it: it holds nothing that is worth keeping."""
        self._kill()
        self.connection.close()
        self._page.close()
