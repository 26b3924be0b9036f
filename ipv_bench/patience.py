"""How long a request that fails in passing is tried again."""

from __future__ import annotations

import time

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.3, 10.0
PROGRESS_BYTES = 1 << 16
"""An answer that was cut off after so much is not counted as a failure: a server that gives one byte at a time is."""


class Patience:
    """Waits longer before each next try, until so many seconds are over since it first failed."""

    def __init__(self) -> None:
        self._done = 0
        self._renew()

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
            False, at once, where the next try would come too late.
        """
        if done - self._done >= PROGRESS_BYTES:
            self._done = done
            self._renew()
        now = time.monotonic()
        if self._failed_at is None:
            self._failed_at = now
        pause = max(self._pause, at_least)
        # What was waited for counts by itself too: it bounds the tries where a clock stands still.
        if max(now - self._failed_at, self._waited) + pause > seconds:
            return False
        time.sleep(pause)
        self._waited += pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        return True
