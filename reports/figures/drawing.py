"""Draws planned figures: in several processes, while the report goes on computing, and only what has changed."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import IO

from reports.figures.drawn import DrawnFigure, PlannedFigure, values_csv
from reports.figures.kept_drawings import KeptDrawings
from reports.figures.style import render

WORTH_A_PROCESS = 12
"""Panels; fewer are drawn before another process has started."""

MOST_PROCESSES = 8


def draw(plan: PlannedFigure, formats: Sequence[str]) -> dict[str, bytes]:
    """One figure's files; the page's SVG is always among them. The same in every process."""
    return render(plan.plot.draw(), plan.name, sorted({*formats, "svg"}))


class Drawing:
    """Draws figures as they are planned.

    Args:
        formats: files that are wanted, of `FORMATS`.
        processes: how many draw at once, this one among them; 0: one per processor that we may use.
        kept: drawings of an earlier report.
    """

    def __init__(self, formats: Sequence[str], processes: int = 0, kept: KeptDrawings | None = None) -> None:
        self._formats = tuple(formats)
        self._kept = kept or KeptDrawings(None, self._formats)
        self._others = min(processes or _processors(), MOST_PROCESSES) - 1
        self._waiting: queue.SimpleQueue[PlannedFigure] = queue.SimpleQueue()
        self._panels = 0
        self._files: dict[str, Mapping[str, bytes]] = {}
        self._threads: list[threading.Thread] = []
        self._closed = threading.Event()

    def __enter__(self) -> Drawing:
        return self

    def __exit__(self, *_: object) -> None:
        """End the other processes, also when the report fails half-way."""
        self._closed.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()
        for thread in self._threads:
            thread.join()

    def add(self, plan: PlannedFigure) -> None:
        """Plan a figure; it may be drawn from now on."""
        earlier = self._kept.get(plan)
        if earlier is not None:
            self._files[plan.name] = earlier
            return
        self._panels += plan.plot.size
        self._waiting.put(plan)
        if self._panels > WORTH_A_PROCESS and not self._threads:
            self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(self._others)]
            for thread in self._threads:
                thread.start()

    def finish(self, plans: Sequence[PlannedFigure]) -> list[DrawnFigure]:
        """All figures, drawn, in the order given."""
        self._closed.set()
        self._draw_here()
        for thread in self._threads:
            thread.join()
        self._draw_here()  # what a process that died had taken
        found = []
        for plan in plans:
            files = dict(self._files[plan.name])
            self._kept.keep(plan, files)
            page_svg = files["svg"]
            wanted = {kind: data for kind, data in files.items() if kind in self._formats}
            wanted["csv"] = values_csv(plan.plot)
            found.append(DrawnFigure(plan.name, plan.title, plan.caption, wanted, page_svg, plan.made_from))
        return found

    def _draw_here(self) -> None:
        while True:
            try:
                plan = self._waiting.get_nowait()
            except queue.Empty:
                return
            self._files[plan.name] = draw(plan, self._formats)

    def _serve(self) -> None:
        """Give plans to one process, one after the other; a plan that it fails on is drawn here instead."""
        worker = _start()
        while worker is not None:
            try:
                plan = self._waiting.get(timeout=0.05)
            except queue.Empty:
                if self._closed.is_set():
                    break
                continue
            files = _ask(worker, plan, self._formats)
            if files is None:
                self._waiting.put(plan)
                break
            self._files[plan.name] = files
        if worker is not None:
            _stop(worker)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start() -> subprocess.Popen[bytes] | None:
    """A process that draws. Not `multiprocessing`: that runs a caller's script again, or forks its threads."""
    paths = os.pathsep.join(path for path in sys.path if path)
    # Drawing is no work for a BLAS, and an interrupt is the parent's: the pipe's end ends the process.
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "reports.figures.drawing_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    except OSError:
        return None


def _stop(worker: subprocess.Popen[bytes]) -> None:
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    try:
        worker.wait(timeout=10)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def _ask(worker: subprocess.Popen[bytes], plan: PlannedFigure, formats: Sequence[str]) -> dict[str, bytes] | None:
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        write_message(worker.stdin, (plan, tuple(formats)))
        found = read_message(worker.stdout)
    except (OSError, EOFError, pickle.PickleError):
        return None
    return found if isinstance(found, dict) else None


def write_message(pipe: IO[bytes], message: object) -> None:
    """Send one object to the other end; both ends are ours."""
    pickle.dump(message, pipe, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.flush()


def read_message(pipe: IO[bytes]) -> object:
    """The next object from the other end.

    Raises:
        EOFError: it was closed.
    """
    return pickle.load(pipe)
