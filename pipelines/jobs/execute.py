"""Executors: the same shard tasks on the cores of this machine, or on a Ray cluster.

Both make each shard with `shard_job.first_pass` and bring the pending ones back for `shard_job.second_pass`, so the
bytes do not depend on where and in which order shards are made.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import Protocol

from ipv_bench.errors import InterruptedRunError
from pipelines.datasets.prepare_config import SupervisionConfig
from pipelines.jobs.shard_job import PendingShard, first_pass, second_pass
from pipelines.jobs.supervise import DecodeWorker
from pipelines.shards.plan import ShardTask
from pipelines.shards.sample_block import Outcome

_WAKE_SECONDS = 0.2
OnItem = Callable[[Outcome], None]
_Event = Outcome | PendingShard | BaseException | None


class Executor(Protocol):
    """Runs shard tasks."""

    def run(self, tasks: Sequence[ShardTask], on_item: OnItem) -> list[PendingShard]:
        """First pass over all tasks; `on_item` is told each final outcome, in the calling thread.

        Returns:
            The shards whose machine-dependent items must be tried again.

        Raises:
            OutputError: the output folder cannot be written.
        """

    def retry(self, pending: Sequence[PendingShard], on_item: OnItem) -> None:
        """Second pass, one item at a time with nothing else running."""

    def close(self) -> None:
        """Give back what the executor holds."""


class LocalExecutor:
    """Decoder processes on this machine, each watched by a thread that mostly waits.

    Args:
        workers: number of decoder processes.
        limits: of the supervision.
    """

    def __init__(self, workers: int, limits: SupervisionConfig) -> None:
        self._workers, self._limits = workers, limits
        self._stop = Event()

    def run(self, tasks: Sequence[ShardTask], on_item: OnItem) -> list[PendingShard]:
        """See `Executor.run`."""
        todo: queue.SimpleQueue[ShardTask] = queue.SimpleQueue()
        for task in tasks:
            todo.put(task)
        events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        threads = [
            Thread(target=self._serve, args=(todo, events), daemon=True) for _ in range(min(self._workers, len(tasks)))
        ]
        for thread in threads:
            thread.start()
        pending: list[PendingShard] = []
        running = len(threads)
        try:
            while running:
                try:
                    event = events.get(timeout=_WAKE_SECONDS)  # short, so that Ctrl-C is noticed
                except queue.Empty:
                    continue
                if event is None:
                    running -= 1
                elif isinstance(event, Outcome):
                    on_item(event)
                elif isinstance(event, PendingShard):
                    pending.append(event)
                else:
                    raise event
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        self._stop.clear()
        return sorted(pending, key=lambda shard: shard.task.index)

    def _serve(self, todo: queue.SimpleQueue[ShardTask], events: queue.SimpleQueue[_Event]) -> None:
        worker = DecodeWorker(self._limits, self._stop)
        try:
            while not self._stop.is_set():
                result = first_pass(todo.get_nowait(), worker, events.put)
                if isinstance(result, PendingShard):
                    events.put(result)
        except queue.Empty:
            pass
        except InterruptedRunError:
            pass  # another thread, or Ctrl-C in the main one, has said why
        except BaseException as error:  # noqa: BLE001  (raised again in the main thread)
            events.put(error)
        finally:
            worker.close()
            events.put(None)

    def retry(self, pending: Sequence[PendingShard], on_item: OnItem) -> None:
        """See `Executor.retry`."""
        for shard in pending:
            worker = DecodeWorker(self._limits, self._stop, self._limits.retry_factor)
            try:
                second_pass(shard, worker, on_item)
            finally:
                worker.close()

    def close(self) -> None:
        """See `Executor.close`; nothing outlives `run` and `retry`."""
