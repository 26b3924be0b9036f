"""Timing of several things in turn, each in a process of its own: what one sets there does not reach another."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

Make = Callable[[], Callable[[], Any]]
"""Makes what is timed, in the process that times it; to be pickled, so of a module's own functions."""


def leave_memory_alone() -> None:
    """In a side's process: `ipv_bench.allocator` finds a user's setting and changes nothing. (The C library read
    its environment when the process began.)"""
    os.environ["MALLOC_TRIM_THRESHOLD_"] = "its own"


def paired_processes(sides: Mapping[str, Make], pairs: int) -> dict[str, Any]:
    """CPU seconds of each side, in turn, after one warm-up call of each.

    Args:
        sides: "ours", and what it is held against, by name.
        pairs: rounds.

    Returns:
        Medians in seconds by side (`<side>_s`), and for each other side `<side>_ratio`, the median over the rounds of
        its time over ours, with the smallest and the largest (`<side>_ratio_range`).
    """
    spawned = multiprocessing.get_context("spawn")
    channels: dict[str, Connection] = {}
    children = []
    try:
        for name, make in sides.items():
            channels[name], theirs = spawned.Pipe()
            child = spawned.Process(target=_serve, args=(make, theirs), daemon=True)
            child.start()
            theirs.close()
            children.append(child)
        rounds = [{name: _ask(channel) for name, channel in channels.items()} for _ in range(pairs + 1)][1:]
    finally:
        for channel in channels.values():
            channel.close()
        for child in children:
            child.join()
    found: dict[str, Any] = {f"{name}_s": round(statistics.median(one[name] for one in rounds), 4) for name in sides}
    for name in sides:
        if name != "ours":
            ratios = [one[name] / one["ours"] for one in rounds]
            found[f"{name}_ratio"] = round(statistics.median(ratios), 3)
            found[f"{name}_ratio_range"] = [round(min(ratios), 3), round(max(ratios), 3)]
    return {**found, "pairs": pairs}


def _ask(channel: Connection) -> float:
    """One call of a side: its CPU seconds."""
    channel.send(None)
    return float(channel.recv())


def _serve(make: Make, channel: Connection) -> None:
    """In the process of a side: make it, then one timed call for each message, until the channel is closed."""
    once = make()
    while True:
        try:
            channel.recv()
        except EOFError:
            return
        before = time.process_time()
        once()
        channel.send(time.process_time() - before)
