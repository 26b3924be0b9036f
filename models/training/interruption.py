"""SIGINT and SIGTERM as a flag that a training loop reads between two updates; servers are waited for no longer."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from ipv_bench.patience import be_patient, give_up


class StopRequest:
    """While entered, the first SIGINT or SIGTERM only sets `requested`; a second SIGINT interrupts at once.

    So a loop can finish its update, save, and leave with `InterruptedRunError`. Outside the main thread, where Python
    delivers no signals, it does nothing.

    Args:
        reads_too: reads that wait for a server which is away fail from then on, in all threads.
    """

    def __init__(self, *, reads_too: bool = True) -> None:
        self.requested = ""
        """Name of the signal that arrived; empty until then."""
        self._reads_too = reads_too
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self.requested:
            be_patient()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = signal.Signals(number).name
        if self._reads_too:
            give_up()
