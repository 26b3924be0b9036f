"""Environments hosted by other processes, stepped in lockstep by index.

Rendering is what limits training on CPUs, so several processes render at once. Which process hosts which environment
never changes a result: answers are taken by index. A process that dies or hangs is killed and started again; the
episodes it hosted are dropped and counted.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ipv_bench.errors import SimulationError
from ipv_bench.progress import say_aside
from models.envs.base import EnvConfig, Observation

Actions = NDArray[np.floating[Any]]
StepResult = tuple[Observation, float, bool, bool, dict[str, Any]]
Request = tuple[str, int, Any]
LossReason = Literal["died", "hung", "fault"]

MAX_LOST_IN_A_ROW = 3
"""Episodes that an environment may lose without finishing one before the run stops."""

START_TIMEOUT_SECONDS = 300.0
"""For a reset, which may build the environment: imports and a GL context take seconds, on a busy machine minutes."""

CLOSE_TIMEOUT_SECONDS = 5.0
DEATH_SECONDS = 5.0
"""From a process's broken connection until its exit status is there."""
DEFAULT_MAKER = "models.envs.registry:make_env"


@dataclass(frozen=True)
class LostEpisode:
    """An episode that was dropped because its environment failed.

    Attributes:
        index: the environment.
        seed: of the episode's reset.
        reason: the process died, hung, or the environment raised (NaN, wrong shape, unstable simulation).
        message: what is known about it.
    """

    index: int
    seed: int
    reason: LossReason
    message: str


class WorkerEnvs:
    """Environments of one task in other processes (an `EnvGroup` of `models.finetuning.env_groups`).

    Args:
        task: `<suite>/<task>`.
        config: how it is run and seen.
        count: number of environments.
        workers: number of processes; environment i lives in process i modulo `workers`. A suite whose config says
            `own_process` has one for each.
        step_timeout_seconds: a process that takes longer for one step of one environment counts as hung.
        maker: import path of the function that builds an environment from (task, config).
        first: number of the first of them among all environments of the run; see `EnvConfig.at`.
    """

    def __init__(
        self,
        task: str,
        config: EnvConfig,
        count: int,
        workers: int,
        step_timeout_seconds: float = 120.0,
        *,
        maker: str = DEFAULT_MAKER,
        first: int = 0,
    ) -> None:
        self._count, self._timeout, self._own_process = count, step_timeout_seconds, config.own_process
        workers = count if config.own_process else workers
        # The config as an object: a suite's own fields belong to a class that only it knows.
        setup = (maker, task, config, first)
        self._workers = [_Worker(setup) for _ in range(min(workers, count))]
        self._metadata: dict[int, dict[str, Any]] = {}
        self._renderers: dict[str, None] = {}  # an ordered set
        self._playing: dict[int, int] = {}  # index → seed of the episode under way
        self._gone: set[int] = set()  # lost, and not reset since
        self._under_way: dict[int, list[Request]] = {}  # worker → what it was asked and has not been heard about
        self._stepped: list[int] = []  # environments of the step under way
        self._in_a_row = [0] * count
        self._description: dict[str, Any] | None = None
        self.task = task
        self.lost: list[LostEpisode] = []

    @property
    def count(self) -> int:
        """Number of environments."""
        return self._count

    @property
    def action_dim(self) -> int:
        """Number of action components."""
        return int(self._described()["action_dim"])

    @property
    def time_limit(self) -> int:
        """Control steps of an episode."""
        return int(self._described()["time_limit"])

    def fingerprint(self) -> dict[str, Any]:
        """See `Env.fingerprint`."""
        return dict(self._described()["fingerprint"])

    def reset(self, seeds: Mapping[int, int]) -> dict[int, Observation | None]:
        """Start an episode in each of the environments given; a process that was lost is started first.

        Args:
            seeds: index → seed.

        Returns:
            index → first observation; None where the environment was lost.

        Raises:
            SimulationError: an environment lost several episodes in a row.
            IpvBenchError: the environment cannot be built (missing package, no offscreen rendering, wrong config).
        """
        self._playing.update(seeds)
        self._gone.difference_update(seeds)
        answers = self._exchange({index: ("reset", index, seed) for index, seed in seeds.items()})
        started: dict[int, Observation | None] = {}
        for index, answer in answers.items():
            started[index], self._metadata[index], renderer = (None, {}, "") if answer is None else answer
            self._renderers |= dict.fromkeys(filter(None, [renderer]))
        return started

    def step_async(self, actions: Mapping[int, Actions]) -> None:
        """Begin one agent step in each of the environments given, all at the same time; `step_wait` ends it.

        Args:
            actions: index → (A,) in [-1, 1].
        """
        self._stepped = list(actions)
        alive = {index: action for index, action in actions.items() if index not in self._gone}
        self._send({index: ("step", index, np.asarray(a)) for index, a in alive.items()})

    def step_wait(self) -> dict[int, StepResult | None]:
        """The results of the step that `step_async` began. A process counts as hung by the time waited here.

        Returns:
            index → what `Env.step` returns; None where the environment was lost.

        Raises:
            TrainingError: an action is not finite or has a wrong size.
            SimulationError: an environment lost several episodes in a row.
        """
        answers = self._receive()
        for index, answer in answers.items():
            if answer is not None and answer[0]["is_last"]:
                self._in_a_row[index] = 0
                self._playing.pop(index, None)
        return {index: answers.get(index) for index in self._stepped}

    def step(self, actions: Mapping[int, Actions]) -> dict[int, StepResult | None]:
        """`step_async` and `step_wait` in one."""
        self.step_async(actions)
        return self.step_wait()

    def episode_metadata(self, index: int) -> dict[str, Any]:
        """What environment `index` drew for its current episode."""
        return self._metadata.get(index, {})

    def renderers(self) -> list[str]:
        """What drew the frames so far; see `Env.renderer`."""
        return list(self._renderers)

    def process_ids(self) -> list[int]:
        """Ids of the processes that run now."""
        return [worker.process_id for worker in self._workers if worker.process_id is not None]

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.close()

    def __enter__(self) -> WorkerEnvs:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _described(self) -> dict[str, Any]:
        while self._description is None:
            self._description = self._exchange({0: ("describe", 0, None)})[0]
        return self._description

    def _exchange(self, requests: dict[int, Request]) -> dict[int, Any]:
        """Send all requests, then collect the answers by index; None for what was lost."""
        self._send(requests)
        return self._receive()

    def _send(self, requests: dict[int, Request]) -> None:
        self._under_way = {}
        for index in sorted(requests):
            self._under_way.setdefault(index % len(self._workers), []).append(requests[index])
        for number, batch in self._under_way.items():
            self._workers[number].send(batch)

    def _receive(self) -> dict[int, Any]:
        under_way, self._under_way = self._under_way, {}
        answers: dict[int, Any] = {}
        for number, batch in under_way.items():
            answers.update(self._collect(self._workers[number], batch))
        return answers

    def _collect(self, worker: _Worker, batch: list[Request]) -> dict[int, Any]:
        try:
            replies = worker.receive(self._patience(batch))
        except _WorkerLostError as loss:
            for index in self._hosted_by(worker, batch):
                self._lose(index, loss.reason, loss.message)
            return {index: None for _, index, _ in batch}
        values: dict[int, Any] = {}
        for (_, index, _), (kind, value) in zip(batch, replies, strict=True):
            if kind == "error":
                raise value
            values[index] = value if kind == "ok" else None
            if kind == "lost":
                if self._own_process:
                    worker.close()  # what a failed simulator leaves in its process is not built upon
                self._lose(index, "fault", value)
        return values

    def _patience(self, batch: list[Request]) -> float:
        """Seconds to wait for the answers; only steps are known to be short."""
        steps = all(command == "step" for command, _, _ in batch)
        return self._timeout * len(batch) if steps else max(START_TIMEOUT_SECONDS, self._timeout * len(batch))

    def _hosted_by(self, worker: _Worker, batch: list[Request]) -> list[int]:
        """Environments with an episode under way in a process, and those that were just asked."""
        place = self._workers.index(worker)
        asked = {index for _, index, _ in batch}
        return sorted(asked | {index for index in self._playing if index % len(self._workers) == place})

    def _lose(self, index: int, reason: LossReason, message: str) -> None:
        self._gone.add(index)
        self._in_a_row[index] += 1
        if index in self._playing:
            self.lost.append(LostEpisode(index, self._playing.pop(index), reason, message))
        say_aside(f"environment {index} of {self.task} {_WHAT[reason]}: {message}; its episode is dropped")
        if self._in_a_row[index] >= MAX_LOST_IN_A_ROW:
            raise SimulationError(
                f"environment {index} of {self.task} was lost {MAX_LOST_IN_A_ROW} times in a row; the last time it "
                f"{_WHAT[reason]}: {message}",
                expected="episodes that come to their end",
                fix="`ipv-bench doctor` checks rendering; a slow machine may need a larger envs.step_timeout_seconds",
            )


_WHAT: dict[LossReason, str] = {"died": "died", "hung": "did not answer", "fault": "failed"}


class _WorkerLostError(Exception):
    """A process died or did not answer in time."""

    def __init__(self, reason: LossReason, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


class _Worker:
    """One hosting process; started at the first request, and again after it was lost."""

    def __init__(self, setup: tuple[str, str, EnvConfig, int]) -> None:
        self._setup = setup
        self._process: subprocess.Popen[bytes] | None = None
        self._number = 0

    @property
    def process_id(self) -> int | None:
        """Of the running process; None while there is none."""
        return None if self._process is None else self._process.pid

    def send(self, batch: list[Request]) -> None:
        """Send requests; what goes wrong here shows up in `receive`."""
        if self._process is None:
            self._start()
        self._number += 1
        try:
            self._connection.send((self._number, batch))
        except OSError:
            return

    def receive(self, timeout_seconds: float) -> list[tuple[str, Any]]:
        """Answers to the last requests.

        Raises:
            _WorkerLostError: the process died, or there was no answer in time; it has been killed.
        """
        deadline = time.monotonic() + timeout_seconds
        try:
            while self._connection.poll(max(0.0, deadline - time.monotonic())):
                number, answers = self._connection.recv()
                if number == self._number:  # an older one was left over by an interrupted exchange
                    return list(answers)
        except (EOFError, OSError):
            raise _WorkerLostError("died", self._end(DEATH_SECONDS)) from None
        self._end()
        raise _WorkerLostError("hung", f"no answer within {timeout_seconds:.0f} s")

    def close(self) -> None:
        """Let the process end by itself; kill it when it does not."""
        if self._process is None:
            return
        self._connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_TIMEOUT_SECONDS)
        self._end()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  (closed when the process ends)
        code = "from models.envs.worker_process import main; main()"
        # The parent's search path as it is, and -P: a folder named `models` where the user stands must not win.
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        environment = {"OMP_NUM_THREADS": "1", "LP_NUM_THREADS": "1"} | os.environ | {"PYTHONPATH": paths}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", code, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                env=environment,
            )
        self._connection = Connection(ours.detach())
        self._finalizer = weakref.finalize(self, _kill, self._process)
        self._connection.send(self._setup)

    def _end(self, patience_seconds: float = 0.0) -> str:
        """Kill the process unless it ends by itself, and say how it ended."""
        process, self._process = self._process, None
        assert process is not None
        try:
            status = process.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            status = None
        _kill(process)
        self._finalizer.detach()
        self._connection.close()
        with self._output:
            self._output.seek(0)
            lines = self._output.read().decode(errors="replace").strip().splitlines()
        ended = "killed" if status is None else f"signal {-status}" if status < 0 else f"exit status {status}"
        return f"{ended}, {lines[-1].strip()}" if lines else ended


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
