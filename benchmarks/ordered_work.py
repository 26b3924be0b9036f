"""Work of which some needs other work done first: by so many workers, none of whom waits while some can be begun.

What fails ends nothing but what needs it: a night of runs is not lost for one of them.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from one_command import OutOfTimeError


@dataclass(frozen=True, eq=False)
class Step:
    """A piece of work.

    Attributes:
        work: is called once.
        after: must be done before; those that are not among the steps count as done.
        name: what is made, for people.
    """

    work: Callable[[], object]
    after: tuple[Step, ...] = ()
    name: str = ""


class FailedError(Exception):
    """Some steps failed; all that did not need them was done, unless the time was over before.

    Attributes:
        failed: name of each step that failed → what it raised.
        not_begun: names of those that needed one of them.
    """

    def __init__(
        self, failed: Mapping[Step, BaseException], not_begun: Sequence[Step], why: OutOfTimeError | None
    ) -> None:
        self.failed = {step.name: error for step, error in failed.items()}
        self.not_begun = [step.name for step in not_begun]
        lines = [f"{len(failed)} failed:", *(f"  {name}: {told(error)}" for name, error in self.failed.items())]
        if not_begun:
            lines += [f"{len(not_begun)} need them and were not begun:", *(f"  {name}" for name in self.not_begun)]
        rest = f"{why}, and more is to be made" if why else "the rest is done"
        super().__init__("\n".join([*lines, f"{rest}; what failed is missing, and the same command tries it again"]))


def told(error: BaseException) -> str:
    """What was raised, in a line."""
    if isinstance(error, subprocess.CalledProcessError):
        return f"exit status {error.returncode} of `{' '.join(map(str, error.cmd))}`"
    return str(error) if isinstance(error, SystemExit) else f"{type(error).__name__}: {error}"


def do_in_order(jobs: int, steps: Sequence[Step]) -> None:
    """Do all steps, so many at a time: who is free takes the first one that can be begun.

    Args:
        jobs: workers; 0: one after the other in this thread.
        steps: each once.

    Raises:
        FailedError: some failed. All others were done, but for those that need them.
        OutOfTimeError: the time is over: what ran is waited for, nothing more is begun. So it is after Ctrl-C.
    """
    waiting, undone = list(steps), set(steps)
    running: dict[Future[object], Step] = {}
    failed: dict[Step, BaseException] = {}
    over: OutOfTimeError | None = None
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        while True:
            ready = [] if over else [step for step in waiting if undone.isdisjoint(step.after)]
            for step in ready[: max(1, jobs) - len(running)]:
                waiting.remove(step)
                running[pool.submit(step.work) if jobs else _done(step.work)] = step
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                step = running.pop(future)
                try:
                    future.result()
                    undone.remove(step)
                except OutOfTimeError as error:
                    over = error
                except (Exception, SystemExit) as error:  # noqa: BLE001  (whatever it was, the other runs go on; it is told)
                    failed[step] = error
                    print(f"{step.name} failed: {told(error)}; what does not need it goes on", file=sys.stderr)
    if failed:
        raise FailedError(failed, [step for step in waiting if _needs(step, failed)], over)
    if over:
        raise over


def _done(work: Callable[[], object]) -> Future[object]:
    """What a pool would give, of work that was done here and now."""
    future: Future[object] = Future()
    try:
        future.set_result(work())
    except (Exception, SystemExit) as error:  # noqa: BLE001  (raised where the result is asked for)
        future.set_exception(error)
    return future


def _needs(step: Step, failed: Mapping[Step, Any]) -> bool:
    return any(one in failed or _needs(one, failed) for one in step.after)


def side_by_side(jobs: int, works: Mapping[str, Callable[[], object]]) -> None:
    """Work of which none needs other, by name; see `do_in_order`."""
    do_in_order(jobs, [Step(work, name=name) for name, work in works.items()])


def as_far_as_it_goes(experiment: Callable[[], object]) -> int:
    """Do it, and print why it ended where that was too soon; the exit status that its script is to end with."""
    try:
        experiment()
    except FailedError as error:
        print(error, file=sys.stderr)
        return 1
    except OutOfTimeError as why:
        print(f"{why}; the same command goes on", file=sys.stderr)
        return 0 if why.is_planned else 130
    return 0
