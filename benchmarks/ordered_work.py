"""Work of which some needs other work done first: by so many workers, none of whom waits while some can be begun."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
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
    waiting, undone = list(steps), set(steps)
    running: dict[Future[object], Step] = {}
    with ThreadPoolExecutor(jobs) as pool:
        while waiting or running:
            can_begin = [step for step in waiting if step.after not in undone]
            for step in can_begin[: jobs - len(running)]:
                waiting.remove(step)
                running[pool.submit(step.work)] = step
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                future.result()
                undone.remove(running.pop(future))
