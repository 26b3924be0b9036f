"""Timing of two things in turn, so that a noisy machine disturbs both alike."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def paired_cpu_seconds(ours: Callable[[], Any], plain: Callable[[], Any], pairs: int) -> dict[str, Any]:
    """CPU seconds of each, alternating, after one warm-up call of each.

    Returns:
        Medians and minima in seconds, and `ratio`: the median over the pairs of plain / ours, with the smallest and
        the largest of them (`ratio_range`).
    """
    times: list[tuple[float, float]] = []
    for index in range(pairs + 1):
        pair = (_cpu_seconds(ours), _cpu_seconds(plain))
        if index:
            times.append(pair)
    mine, theirs = zip(*times, strict=True)
    ratios = [b / a for a, b in times]
    return {
        "ours_s": round(statistics.median(mine), 4),
        "plain_s": round(statistics.median(theirs), 4),
        "ours_min_s": round(min(mine), 4),
        "plain_min_s": round(min(theirs), 4),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "pairs": pairs,
    }


def _cpu_seconds(function: Callable[[], Any]) -> float:
    before = time.process_time()
    function()
    return time.process_time() - before


def show(label: str, result: dict[str, Any]) -> None:
    """One line for a result of `paired_cpu_seconds`."""
    print(f"{label}: ours {result['ours_s']:.3f} s, plain {result['plain_s']:.3f} s, ratio {result['ratio']:.2f}")


def keep_line(result: dict[str, Any], keep: Path | None) -> None:
    """Print a result as the last line, and write it to a file too where one is named."""
    text = json.dumps(result)
    if keep is not None:
        keep.write_text(text + "\n")
    print(text)


def machine() -> dict[str, Any]:
    """Processor, cores, load and torch, as kept beside results."""
    processor = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else ():
        if line.startswith("model name"):
            processor = line.split(":", 1)[1].strip()
            break
    found = {"cpu": processor, "cores": os.cpu_count(), "load": os.getloadavg()[0], "torch": torch.__version__}
    return found | ({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {})
