"""The Ray executor: one task per shard on any Ray cluster.

A shard's bytes depend on its task alone, results are small, and files are written under names of their own and renamed;
so a lost node costs only the time of its tasks, which Ray starts again elsewhere. All nodes must see the same source
and output folders. Without `RAY_ADDRESS` a cluster is started on this machine for the time of the job.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from threading import Event
from typing import Any

from ipv_bench.errors import IpvBenchError, OutputError, SourceError, UsageError
from ipv_bench.extras import missing_extras
from pipelines.datasets.prepare_config import SupervisionConfig
from pipelines.jobs.execute import OnItem
from pipelines.jobs.shard_job import PendingShard, first_pass, second_pass
from pipelines.jobs.supervise import DecodeWorker
from pipelines.shards.plan import ShardTask
from pipelines.shards.sample_block import Outcome

MAX_RETRIES = 5
"""How often a task is started again when its node or its process is lost; errors of ours are never retried."""

_PROBE_SECONDS = 20.0

_SHARED = "a folder that all nodes share, under one path"
_MOUNT = "mount it on that node, name a folder that it has, or use `--executor local`"

_Result = tuple[list[Outcome], PendingShard | None]

_KEPT: dict[SupervisionConfig, DecodeWorker] = {}
"""Of a process of Ray's: see `_decoder`."""


class RayExecutor:
    """See `pipelines.jobs.execute.Executor`.

    Args:
        workers: tasks at a time; None takes every core of the cluster.
        limits: of the supervision.

    Raises:
        MissingDependencyError: Ray is not installed.
        UsageError: the cluster cannot be reached.
    """

    def __init__(self, workers: int | None, limits: SupervisionConfig) -> None:
        self._limits = limits
        # Ray's own messages about lost nodes go to stdout whatever the log level is, and come at any time until Ray is
        # left; ours must stay parseable.
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
            self._ray = _connect(workers)
            self._stdout = stack.pop_all()
        cores = int(self._ray.cluster_resources().get("CPU", 1))
        self.workers = min(workers, cores) if workers else cores
        self._in_flight = workers or 2 * cores

    def run(self, tasks: Sequence[ShardTask], on_item: OnItem) -> list[PendingShard]:
        """See `Executor.run`; raises `IpvBenchError` when a task was lost more often than is retried."""
        pending: list[PendingShard] = []
        first = self._remote(_first_pass)
        for outcomes, shard in self._results(first, [(task, self._limits) for task in tasks]):
            for outcome in outcomes:
                on_item(outcome)
            if shard is not None:
                pending.append(shard)
        return sorted(pending, key=lambda shard: shard.task.index)

    def retry(self, pending: Sequence[PendingShard], on_item: OnItem) -> None:
        """See `Executor.retry`."""
        second = self._remote(_second_pass)
        for shard in pending:
            for outcomes, _ in self._results(second, [(shard, self._limits)]):
                for outcome in outcomes:
                    on_item(outcome)

    def close(self) -> None:
        """Leave the cluster, and end it when it was started here."""
        with self._stdout:
            self._ray.shutdown()

    def _remote(self, function: Any) -> Any:
        return self._ray.remote(num_cpus=1, max_retries=MAX_RETRIES, scheduling_strategy="SPREAD")(function)

    def _results(self, remote: Any, arguments: Sequence[tuple[Any, SupervisionConfig]]) -> Iterator[_Result]:
        """Results in the order in which they come; only so many tasks are handed to Ray at a time."""
        todo, running = list(reversed(arguments)), list[Any]()
        try:
            while todo or running:
                while todo and len(running) < self._in_flight:
                    running.append(remote.remote(*todo.pop()))
                done, running = self._ray.wait(running, num_returns=1, timeout=1.0)
                for reference in done:
                    yield self._get(reference)
        finally:
            for reference in running:
                self._ray.cancel(reference, force=True)

    def _get(self, reference: Any) -> _Result:
        try:
            result: _Result = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, IpvBenchError):
                raise error.cause from None
            raise IpvBenchError(
                f"a task failed on the cluster: {error.cause!r}",
                expected="the same version of ipv-bench on every node",
                fix="look at the node's log; finished shards are kept, the same command goes on",
            ) from error
        except self._ray.exceptions.RayError as error:
            raise IpvBenchError(
                f"a task was lost {MAX_RETRIES + 1} times: {str(error).splitlines()[0]}",
                expected="nodes that live through a task",
                fix="check the nodes' memory and disks; finished shards are kept, the same command goes on",
            ) from error
        return result


def _connect(workers: int | None) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS")
    if address is None and "RAY_AUTH_MODE" not in os.environ:
        # Ray listens on all interfaces: a token keeps others out, and in the environment it leaves no file behind.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        import ray
    except ImportError as error:
        raise missing_extras("--executor ray", "ray") from error
    if ray.is_initialized():
        return ray
    _probe(address)
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address is None:
        options["num_cpus"] = workers or len(os.sched_getaffinity(0))
    try:
        ray.init(address=address or "local", **options)  # None would join whatever cluster runs here
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _unreachable(address, error) from error
    return ray


def _probe(address: str | None) -> None:
    """Knock at `host:port` first: Ray itself tries for minutes when nobody listens there."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_SECONDS).close()
        except OSError as error:
            raise _unreachable(address, error) from error


def _unreachable(address: str | None, error: Exception) -> UsageError:
    return UsageError(
        f"the Ray cluster at {address or 'this machine'} cannot be reached: {str(error).splitlines()[0]}",
        expected="a running cluster (`ray start --head` there) of the same Ray version",
        fix="if it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH, or put it "
        "into ~/.ray/auth_token) to the same on this machine and all nodes; RAY_ADDRESS says where the cluster is",
    )


def _first_pass(task: ShardTask, limits: SupervisionConfig) -> _Result:
    """Runs on a node."""
    _check_folders(task)
    outcomes: list[Outcome] = []
    try:
        result = first_pass(task, _decoder(limits), lambda outcome: outcomes.append(_small(outcome)))
    except BaseException:  # what it was at is not known
        _close_decoders()
        raise
    return outcomes, result if isinstance(result, PendingShard) else None


def _decoder(limits: SupervisionConfig) -> DecodeWorker:
    """The decoder of this process of Ray's, kept from shard to shard: to start one costs what decoding hundreds of
    frames. It ends with the process, and that with its job."""
    if limits not in _KEPT:
        _close_decoders()
        _KEPT[limits] = DecodeWorker(limits, Event())
    return _KEPT[limits]


def _close_decoders() -> None:
    while _KEPT:
        _KEPT.popitem()[1].close()


def _second_pass(pending: PendingShard, limits: SupervisionConfig) -> _Result:
    """Runs on a node, alone: what this process kept would only take memory."""
    _close_decoders()
    outcomes: list[Outcome] = []
    worker = DecodeWorker(limits, Event(), limits.retry_factor)
    try:
        second_pass(pending, worker, lambda outcome: outcomes.append(_small(outcome)))
    finally:
        worker.close()
    return outcomes, None


def _small(outcome: Outcome) -> Outcome:
    """Without the frame offsets, which stay in the sidecar."""
    return replace(outcome, samples=tuple(replace(sample, frame_offsets=array("I")) for sample in outcome.samples))


def _check_folders(task: ShardTask) -> None:
    node = os.uname().nodename
    if not os.path.isdir(task.source):  # `Path.is_dir` raises where a disk is away
        raise SourceError(f"node {node} does not see {task.source}", expected=_SHARED, fix=_MOUNT)
    if not os.path.isdir(task.out):
        raise OutputError(f"node {node} does not see {task.out}", expected=_SHARED, fix=_MOUNT)
