"""Work of which some needs other work done first: by so many workers, none of whom waits while some can be begun."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Step:
    """A piece of work.

    Attributes:
        work: is called once.
        after: must be done before; one that is not among the steps counts as done.
    """

    work: Callable[[], object]
    after: Step | None = None


def do_in_order(jobs: int, steps: Sequence[Step]) -> None:
    """Do all steps, so many at a time: who is free takes the first one that can be begun.

    The first that fails, or Ctrl-C, ends it: what runs is waited for, nothing more is begun, and it is raised here.
    """
    plan = _Plan(steps)
    with ThreadPoolExecutor(jobs) as pool:
        workers = [pool.submit(plan.work) for _ in range(jobs)]
        try:
            for worker in as_completed(workers):
                worker.result()
        finally:
            plan.stop()


class _Plan:
    """What waits, what is not done, and whether more is begun; shared by the workers."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._turn = threading.Condition()
        self._waiting, self._undone = list(steps), set(steps)
        self._stopped = False

    def work(self) -> None:
        """Of one worker: step by step, until nothing is left or one failed."""
        while (step := self._next()) is not None:
            done = False
            try:
                step.work()
                done = True
            finally:
                if not done:
                    self.stop()
            with self._turn:
                self._undone.remove(step)
                self._turn.notify_all()

    def stop(self) -> None:
        """Nothing more is begun."""
        with self._turn:
            self._stopped = True
            self._turn.notify_all()

    def _next(self) -> Step | None:
        with self._turn:
            while self._waiting and not self._stopped:
                for step in self._waiting:
                    if step.after not in self._undone:
                        self._waiting.remove(step)
                        return step
                self._turn.wait()
        return None
