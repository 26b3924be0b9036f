"""How long a request that fails in passing is tried again; not at all once the user asks the process to stop.

Requests wait in threads of their own, which no signal reaches: they look every `LOOK_SECONDS`. Who asks, asks once:
what waits then is given up, what is begun after `be_patient` waits as usual.
"""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK_SECONDS = 0.25
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.3, 10.0
PROGRESS_BYTES = 1 << 16
"""An answer that was cut off after so much is not counted as a failure: a server that gives one byte at a time is."""


_stops = {"asked": 0, "is_on": 0}
"""How often this process was asked to stop, and whether it is stopping. Numbers: handlers of signals take no locks."""


def give_up() -> None:
    """Wait for nothing any more, in no thread; for handlers of signals."""
    _stops["asked"] += 1
    _stops["is_on"] = 1


def be_patient() -> None:
    """Wait again, in requests that begin from now on: what was to be stopped has stopped."""
    _stops["is_on"] = 0


def pause(seconds: float, is_given_up: Callable[[], bool]) -> None:
    """Sleep, shorter where the wait is given up."""
    end = time.monotonic() + seconds
    while not is_given_up() and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, LOOK_SECONDS))


class Patience:
    """Waits longer before each next try, until so many seconds are over since it first failed."""

    def __init__(self) -> None:
        self._done, self._stops = 0, _stops["asked"]
        self._renew()

    def _is_given_up(self) -> bool:
        return bool(_stops["is_on"]) or _stops["asked"] != self._stops

    def _renew(self) -> None:
        self._failed_at: float | None = None
        self._waited, self._pause = 0.0, FIRST_PAUSE_SECONDS

    def wait(self, seconds: float, *, done: int = 0, at_least: float = 0.0) -> bool:
        """Wait before another try.

        Args:
            seconds: the patience.
            done: bytes that have come so far; after `PROGRESS_BYTES` more than before, the patience is a new one.
            at_least: seconds that the server asks to wait.

        Returns:
            False, at once, where the next try would come too late; or where the process is asked to stop.
        """
        if done - self._done >= PROGRESS_BYTES:
            self._done = done
            self._renew()
        now = time.monotonic()
        if self._failed_at is None:
            self._failed_at = now
        next_pause = max(self._pause, at_least)
        # What was waited for counts by itself too: it bounds the tries where a clock stands still.
        if self._is_given_up() or max(now - self._failed_at, self._waited) + next_pause > seconds:
            return False
        pause(next_pause, self._is_given_up)
        self._waited += next_pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        return not self._is_given_up()
