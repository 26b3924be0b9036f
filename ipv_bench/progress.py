"""Progress: Rich bars on a terminal, one plain line every 30 s elsewhere, nothing with `--quiet`.

Progress goes to stderr; results go to stdout through `say`, so that output can be piped.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from ipv_bench.streams import printable

PLAIN_EVERY_SECONDS = 30.0

PACE_OF_SECONDS = 300.0
"""Rates, and the time left, are told by what went by in this time."""

MARK_EVERY_SECONDS = 5.0

_quiet = False


def set_quiet(quiet: bool) -> None:
    """Silence progress and `say`; errors are still printed. Set once by the command line."""
    global _quiet
    _quiet = quiet


def say(text: str) -> None:
    """Print a line of results to stdout, unless `--quiet`."""
    if not _quiet:
        sys.stdout.write(f"{printable(text)}\n")  # one write: lines of several threads stay lines
        sys.stdout.flush()


def say_aside(text: str) -> None:
    """Print a line about the results to stderr, unless `--quiet`: where stdout may be JSON for a program."""
    if not _quiet:
        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()


class Bar(Protocol):
    """A running progress display."""

    def advance(self, amount: float = 1, **rates: float) -> None:
        """Move on by `amount` units; each keyword is a second quantity, shown per second (frames=25)."""

    def describe(self, text: str) -> None:
        """Replace the text shown beside the bar."""


class _SilentBar:
    def advance(self, amount: float = 1, **rates: float) -> None:
        return

    def describe(self, text: str) -> None:
        return


class _Mark(NamedTuple):
    """What was done at a time."""

    seconds: float
    done: float
    extra: dict[str, float]


class _Rates:
    """Totals of what went by, and their rates per second over the last minutes.

    Work changes its pace: random episodes come before the updates, short files before long ones. So the time left is
    told by the pace of late, and that of the beginning is forgotten.
    """

    def __init__(self, total: float | None, unit: str, done: float) -> None:
        self.total, self.unit, self.done = total, unit, done
        self.extra: dict[str, float] = {}
        self._marks = deque([_Mark(time.monotonic(), done, {})])

    def add(self, amount: float, rates: dict[str, float]) -> None:
        self.done += amount
        for name, value in rates.items():
            self.extra[name] = self.extra.get(name, 0.0) + value
        now = time.monotonic()
        if now - self._marks[-1].seconds >= MARK_EVERY_SECONDS:
            self._marks.append(_Mark(now, self.done, dict(self.extra)))
        while len(self._marks) > 1 and now - self._marks[1].seconds >= PACE_OF_SECONDS:
            self._marks.popleft()

    def text(self) -> str:
        since = self._marks[0]
        seconds = max(time.monotonic() - since.seconds, 1e-9)
        speed = (self.done - since.done) / seconds
        parts = [f"{speed:.3g} {self.unit}/s"]
        parts += [
            f"{(value - since.extra.get(name, 0.0)) / seconds:.3g} {name}/s" for name, value in self.extra.items()
        ]
        if self.total and speed > 0:
            left = max(self.total - self.done, 0) / speed
            parts.append(f"{_clock(left)} left")
        return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


class _PlainBar:
    def __init__(self, title: str, rates: _Rates) -> None:
        self._title, self._rates, self._text = title, rates, ""
        self._last = time.monotonic()

    def advance(self, amount: float = 1, **rates: float) -> None:
        self._rates.add(amount, rates)
        if time.monotonic() - self._last >= PLAIN_EVERY_SECONDS:
            self._last = time.monotonic()
            of = f"/{self._rates.total:g}" if self._rates.total else ""
            text = f" {self._text}" if self._text else ""
            print(
                f"{self._title}: {self._rates.done:g}{of} ({self._rates.text()}){text}",
                file=sys.stderr,
                flush=True,
            )

    def describe(self, text: str) -> None:
        self._text = text


class _RichBar:
    def __init__(self, progress: Any, task: Any, rates: _Rates) -> None:
        self._progress, self._task, self._rates, self._text = progress, task, rates, ""

    def advance(self, amount: float = 1, **rates: float) -> None:
        self._rates.add(amount, rates)
        self._progress.update(self._task, completed=self._rates.done, rates=f"{self._rates.text()} {self._text}")

    def describe(self, text: str) -> None:
        self._text = text


@contextmanager
def progress(title: str, total: float | None, unit: str, done: float = 0) -> Iterator[Bar]:
    """Show the progress of a loop.

    Args:
        title: what is being done.
        total: how many units there are, or None when unknown.
        unit: plural name of a unit ("videos", "updates", "env steps").
        done: units that an earlier, interrupted run already finished.
    """
    if _quiet:
        yield _SilentBar()
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = [
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rates]}"),
        ]
        with Progress(*columns, console=Console(stderr=True)) as display:
            task = display.add_task(title, total=total, completed=int(done), rates="")
            yield _RichBar(display, task, _Rates(total, unit, done))
    else:
        yield _PlainBar(title, _Rates(total, unit, done))
